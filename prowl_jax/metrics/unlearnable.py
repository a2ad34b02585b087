"""How much of what is replayed is beyond learning: high error, and nothing of it that a better model would not have."""

import chex
import jax.numpy as jnp

LEAST = 0.05
"""Share of its regret that must be reducible for a clip to count as learnable."""


def unlearnable(regret, reducible, valid, high):
    """Of a set of clips, where the oracle is known.

    Args:
      regret: float ``[n]``. reducible: float ``[n]``, regret minus the oracle's on the same clip. valid: bool ``[n]``.
      high: float scalar, regret from which on a clip is hard: the mean of all that was ever found, say.

    Returns:
      dict of float32 scalars: ``unlearnable``, the share of clips that are hard and of whose regret less than
      ``LEAST`` is reducible; ``hard``, the share of hard ones; ``reducible_share``, all that is reducible (where it is
      above 0) over all regret. All 0 of no clips.
    """
    chex.assert_equal_shape([regret, reducible, valid])
    count = jnp.maximum(valid.sum(), 1).astype(jnp.float32)
    hard = valid & (regret >= high)
    lost = hard & (reducible < LEAST * regret)
    total = jnp.sum(jnp.where(valid, regret, 0.0))
    mendable = jnp.sum(jnp.where(valid, jnp.maximum(reducible, 0.0), 0.0))
    share = jnp.where(total > 0, mendable / jnp.where(total > 0, total, 1.0), 0.0)
    return {"unlearnable": lost.sum() / count, "hard": hard.sum() / count, "reducible_share": share}
