"""Rewards of branches: what several trajectories from one and the same state are worth beside each other.

What they share, how hard the place is and what the dream's noise does there, drops out: the reward of a branch is how
much more it found than its siblings (the group's mean as baseline: GRPO, arXiv 2402.03300, section 4.1.1), or than the
reference policy in its place (as PAIRED's regret is against an antagonist, arXiv 2012.02096).

Rows lie group by group: branches ``k g .. k g + k - 1`` of ``[B]`` began in the g-th state.
"""

import chex
import jax.numpy as jnp

BASELINES = ("none", "siblings", "scaled", "reference")
"""``scaled``: against siblings, over the group's deviation. ``reference``: the first of each group is its row."""


def relative(reward, valid, size, baseline):
    """Rewards against what else began in the same state.

    Args:
      reward: float ``[B]``. valid: bool ``[B]``; other rows count nowhere. size: k, which divides B.
      baseline: one of ``BASELINES``.

    Returns:
      (float32 ``[B]``, 0 where it is not learned from; bool ``[B]``, which rows are: valid ones that had somebody to
      be compared with, and never the reference's own).

    Raises:
      ValueError: a baseline that there is not, or one of groups of a single row.
    """
    if baseline not in BASELINES:
        raise ValueError(f"no baseline {baseline!r} of branches; there are {', '.join(BASELINES)}")
    chex.assert_equal_shape([reward, valid])
    if baseline == "none":
        return reward, valid
    if size < 2:
        raise ValueError(f"the baseline {baseline!r} needs at least two branches of a state, not {size}")
    groups, known = (jnp.asarray(x).reshape(-1, size) for x in (reward, valid))
    if baseline == "reference":
        learned = known & known[:, :1] & (jnp.arange(size) > 0)
        worth = groups - groups[:, :1]
    else:
        count = known.sum(1, keepdims=True)
        worth = groups - jnp.sum(jnp.where(known, groups, 0.0), 1, keepdims=True) / jnp.maximum(count, 1)
        learned = known & (count > 1)
        if baseline == "scaled":
            square = jnp.sum(jnp.where(known, jnp.square(worth), 0.0), 1, keepdims=True) / jnp.maximum(count, 1)
            worth = worth / (jnp.sqrt(square) + 1e-4)
    return jnp.where(learned, worth, 0.0).reshape(-1), learned.reshape(-1)
