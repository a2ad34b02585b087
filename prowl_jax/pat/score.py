"""What a trajectory is worth: PROWL's composite score (arXiv 2605.18803, section on scores).

    score(tau) = z_B(l_regret) + lambda_AFS z_B(l_AFS) + delta_scale * Delta l_regret

z_B is the z-score over the buffer. Delta l_regret = l_regret now - l_regret at the previous
rescore: negative where the world model got better, so that solved trajectories sink. This
is the opposite sign of a "learning progress" reward, and it is not standardised: it lives
on the scale of the raw regret.
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
    """Running mean and deviation of (regret, AFS), exact in one pass.

    Attributes:
      count: int32 scalar, how many pairs were seen.
      mean: float32 ``[2]``.
      m2: float32 ``[2]``, the sum of squared distances from the mean.
    """

    count: jax.Array
    mean: jax.Array
    m2: jax.Array


def welford_init():
    """Statistics of nothing."""
    return Welford(jnp.zeros((), jnp.int32), jnp.zeros(2), jnp.zeros(2))


def welford_update(stats, values, valid):
    """Take in a batch: the pairwise merge of Chan, Golub and LeVeque (1979).

    Args:
      stats: ``Welford``.
      values: float ``[B, 2]``, rows of (regret, AFS).
      valid: bool ``[B]``; other rows are left out, whatever they hold.

    Returns:
      ``Welford`` of everything seen so far, however it was cut into batches.
    """
    chex.assert_shape(values, (None, 2))
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
    """Mean and sum of squared distances of the valid rows: float ``[B, 2]`` -> two ``[2]``."""
    valid = valid[:, None]
    count = jnp.maximum(jnp.sum(valid), 1)
    mean = jnp.sum(jnp.where(valid, values, 0.0), axis=0) / count
    m2 = jnp.sum(jnp.where(valid, jnp.square(values - mean), 0.0), axis=0)
    return mean, m2


def z_score(x, mean, std, epsilon=1e-6):
    """How many deviations ``x`` lies above the mean; ``std`` is taken as at least ``epsilon``."""
    return (x - mean) / jnp.maximum(std, epsilon)


def composite_score(regret, afs, progress, mean, std, lambda_afs=0.10, delta_scale=1.0, epsilon=1e-6):
    """score = z(regret) + lambda_AFS z(AFS) + delta_scale * Delta; larger is replayed more.

    Args:
      regret: float ``[...]``, l_regret.
      afs: float ``[...]``, l_AFS in pixels.
      progress: float ``[...]``, Delta = regret now - regret at the previous rescore; 0 for a
        fresh trajectory.
      mean: float ``[2]``, of (regret, AFS) over the buffer.
      std: float ``[2]``, their deviations.
      lambda_afs: 0.10 or 0.25 in the paper.
      delta_scale: 1 in the paper.
      epsilon: least deviation.

    Returns:
      float ``[...]``.
    """
    z_regret = z_score(regret, mean[0], std[0], epsilon)
    z_afs = z_score(afs, mean[1], std[1], epsilon)
    return z_regret + lambda_afs * z_afs + delta_scale * progress
