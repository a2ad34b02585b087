"""DiffusionNFT (arXiv 2509.16117) in the form of x0: pulled towards good samples, pushed away from bad ones.

    x+ = (1 - beta) x_old + beta x_new        x- = (1 + beta) x_old - beta x_new
    L  = A_max / beta (r |x+ - x0|^2 / w+ + (1 - r) |x- - x0|^2 / w-)
    r  = clip(A / (2 A_max) + 1/2, 0, 1)      w = detached mean |x - x0| of a sample, at least 1e-5

x0 is a clean sample of the old policy, x_old and x_new what the old and the trained network make of it when it is
noised; A its advantage. No likelihood is asked for and no gradient flows through a sampler, so any will do. Since
x0 = z - sigma v is linear in v, mixing velocities is the same (NVlabs/DiffusionNFT, read; PersistWorld, arXiv
2603.25685, takes x0).
"""

import chex
import jax
import jax.numpy as jnp

DECAYS = (1, 2)
"""Types of ``old_decay``."""


def optimality(advantages, largest):
    """r in 0..1 of advantages, any shape: 1/2 where a sample is as good as its siblings; ``largest`` is A_max."""
    return jnp.clip(advantages / (2.0 * largest) + 0.5, 0.0, 1.0)


def contrastive_loss(new, old, x0, positive, beta):
    """The loss of each sample over A_max.

    Args:
      new, old: float ``[B, ...]``, x0 as the trained and the old network predict it; ``old`` is detached here.
      x0: float ``[B, ...]``, the samples. positive: r, float ``[B]``. beta: above 0.

    Returns:
      float ``[B]``.
    """
    chex.assert_equal_shape([new, old, x0])
    chex.assert_rank(positive, 1)
    old, axes = jax.lax.stop_gradient(old), tuple(range(1, x0.ndim))

    def error(x):
        weight = jnp.maximum(jnp.mean(jnp.abs(x - x0), axis=axes), 1e-5)
        return jnp.mean(jnp.square(x - x0), axis=axes) / jax.lax.stop_gradient(weight)

    towards = error((1.0 - beta) * old + beta * new)
    away = error((1.0 + beta) * old - beta * new)
    return (positive * towards + (1.0 - positive) * away) / beta


def old_decay(step, kind):
    """How much the old policy keeps of itself after an update: old <- d old + (1 - d) theta.

    Args:
      step: updates done. kind: 1, ``min(.001 step, .5)``; 2, 0 for 75 steps and then ``.0075 (step - 75)`` up to .999.
    """
    if kind == 1:
        return jnp.minimum(0.001 * step, 0.5)
    return jnp.clip(0.0075 * (step - 75.0), 0.0, 0.999)
