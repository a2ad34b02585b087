"""What a trajectory is worth: PROWL's composite score (arXiv 2605.18803, section on scores).

    score(tau) = z_B(l_regret) + lambda_AFS z_B(l_AFS) + delta_scale * Delta l_regret

in general a weighted sum over raw scores r_i, each known by its name (``buffer.Scoring``):

    score(tau) = sum_i w_i z_B(r_i) + sum_i d_i Delta r_i

z_B is the z-score over the buffer. Delta r_i = r_i now - r_i at the previous rescore: of the regret
negative where the world model got better, so that solved trajectories sink. This
is the opposite sign of a "learning progress" reward, and it is not standardised: it lives
on the scale of the raw score.
"""

import chex
import jax
import jax.numpy as jnp

from prowl_jax.types import pytree


def latent_regret(predicted, real):
    """l_regret, the root mean square error of predicted latents.

    l_regret = sqrt( 1 / (H C N_lat) * sum_t ||z_t^pred - z_t^real||^2 )

    Args:
      predicted: float ``[..., H, h, w, C]``, the ``H`` predicted latent frames, normalised.
      real: the same shape, the encoded real frames.

    Returns:
      float32 ``[...]``, in deviations of the latents.
    """
    chex.assert_equal_shape([predicted, real])
    error = predicted.astype(jnp.float32) - real.astype(jnp.float32)
    return jnp.sqrt(jnp.mean(jnp.square(error), axis=(-4, -3, -2, -1)))


@pytree
class Welford:
    """Running mean and deviation of R raw scores, exact in one pass.

    Attributes:
      count: int32 scalar, how many trajectories were seen.
      mean: float32 ``[R]``.
      m2: float32 ``[R]``, the sum of squared distances from the mean.
    """

    count: jax.Array
    mean: jax.Array
    m2: jax.Array


def welford_init(size):
    """Statistics of nothing, for ``size`` raw scores."""
    return Welford(jnp.zeros((), jnp.int32), jnp.zeros(size), jnp.zeros(size))


def welford_update(stats, values, valid):
    """Take in a batch: the pairwise merge of Chan, Golub and LeVeque (1979).

    Args:
      stats: ``Welford``.
      values: float ``[B, R]``, a row of raw scores for each trajectory.
      valid: bool ``[B]``; other rows are left out, whatever they hold.

    Returns:
      ``Welford`` of everything seen so far, however it was cut into batches.
    """
    chex.assert_shape(values, (None, stats.mean.size))
    chex.assert_equal_shape_prefix([values, valid], 1)
    mean, m2 = moments(values, valid)
    count = jnp.sum(valid, dtype=jnp.int32)
    total = stats.count + count
    n_old, n_new, n = (x.astype(jnp.float32) for x in (stats.count, count, jnp.maximum(total, 1)))
    distance = mean - stats.mean
    return Welford(
        count=total,
        mean=stats.mean + distance * n_new / n,
        m2=stats.m2 + m2 + jnp.square(distance) * n_old * n_new / n,
    )


def moments(values, valid):
    """Mean and sum of squared distances of the valid rows: float ``[B, R]`` -> two ``[R]``."""
    valid = valid[:, None]
    count = jnp.maximum(jnp.sum(valid), 1)
    mean = jnp.sum(jnp.where(valid, values, 0.0), axis=0) / count
    m2 = jnp.sum(jnp.where(valid, jnp.square(values - mean), 0.0), axis=0)
    return mean, m2


def z_score(x, mean, std, epsilon=1e-6):
    """How many deviations ``x`` lies above the mean; ``std`` is taken as at least ``epsilon``."""
    return (x - mean) / jnp.maximum(std, epsilon)


def composite_score(raw, changes, mean, std, weights, change_weights, epsilon=1e-6):
    """score = sum_i w_i z(r_i) + sum_i d_i Delta r_i; larger is replayed more.

    Args:
      raw: name -> float ``[...]``, the raw scores.
      changes: name -> float ``[...]``, Delta = the raw score now - at the previous rescore; 0 for a fresh trajectory.
      mean: float ``[R]`` over the buffer, of the raw scores in the order of ``weights``.
      std: float ``[R]``, their deviations.
      weights: pairs (name, w): (("regret", 1.0), ("afs", 0.10 or 0.25)) in the paper.
      change_weights: pairs (name, d): (("regret", 1.0),) in the paper.
      epsilon: least deviation.

    Returns:
      float ``[...]``.
    """
    terms = [w * z_score(raw[name], mean[i], std[i], epsilon) for i, (name, w) in enumerate(weights)]
    return sum(terms[1:] + [d * changes[name] for name, d in change_weights], terms[0])
