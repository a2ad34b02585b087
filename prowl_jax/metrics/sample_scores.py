"""Scores of several samples beside the one thing that really came: they do not reward the blurred mean.

The expected squared error of a sample is ``|bias|^2 + tr(true covariance) + tr(model's covariance)``: a root mean
square error is lowest for a model that always answers the mean. Here X_1 ... X_k are samples of the model, y is what
came, and lengths are root mean squares over D, so that pixels of any number compare.
"""

import jax.numpy as jnp


def energy_score(samples, real):
    """Energy score (Gneiting and Raftery, JASA 2007, section 4.2), unbiased; of all models the true one has the least.

    ``1/k sum_j ||X_j - y|| - 1/(2 k (k - 1)) sum_{i != j} ||X_i - X_j||``

    Args:
      samples: float ``[k, ..., D]``, k at least 2. real: float ``[..., D]``.

    Returns:
      float ``[...]``; with k equal samples it is their error.

    Raises:
      ValueError: fewer than two samples.
    """
    k = _count(samples)
    away = jnp.mean(_length(samples - real), axis=0)
    # Every ordered pair lies at one of these distances around the circle.
    apart = sum(jnp.mean(_length(samples - jnp.roll(samples, j, 0)), axis=0) for j in range(1, k))
    return away - apart / (2 * (k - 1))


def spread_corrected_regret(samples, real):
    """Squared error of the mean of the samples, without what a calibrated model cannot help; may be negative.

    ``||Xbar - y||^2 - (1 + 1/k) s^2`` with ``s^2 = 1/(k - 1) sum_j ||X_j - Xbar||^2``. Its expectation is
    ``|bias|^2 + tr(true covariance) - tr(model's covariance)``: 0 for a model that draws from the truth, however much
    chance there is in it.

    Args and errors: as ``energy_score``. Returns float ``[...]``, in squares of the samples' unit.
    """
    k = _count(samples)
    middle = jnp.mean(samples, axis=0)
    spread = jnp.sum(jnp.mean(jnp.square(samples - middle), axis=-1), axis=0) / (k - 1)
    return jnp.mean(jnp.square(middle - real), axis=-1) - (1 + 1 / k) * spread


def _count(samples):
    if len(samples) < 2:
        raise ValueError(f"a spread needs at least two samples, got {len(samples)}")
    return len(samples)


def _length(x):
    return jnp.sqrt(jnp.mean(jnp.square(x), axis=-1))
