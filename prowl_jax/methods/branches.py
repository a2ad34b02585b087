"""What trajectories are paid that began in the same state, and what that state had to say in it."""

import functools

import jax
import jax.numpy as jnp

from prowl_jax.metrics.intraclass import intraclass
from prowl_jax.rl.branches import relative


@functools.partial(jax.jit, static_argnames="budget")
def weigh_branches(reward, valid, budget):
    """Rewards ``[B]`` as ``budget.branch_baseline`` says (``rl.branches.relative``), and what their start decides.

    Returns:
      (reward ``[B]``, rows that are learned from ``[B]``, metrics: ``reward_of_start``, the share of the reward's
      variance that the state decides in which branches begin (``metrics.intraclass``), ``reward_between_starts`` and
      ``reward_within_starts``, its two parts, and with the reference in front ``reward_over_reference``, what the
      others' is above it in the mean).
    """
    size, baseline = budget.branches, budget.branch_baseline
    own = reward, valid
    if baseline == "reference":  # another policy's row is no sibling
        own = tuple(x.reshape(-1, size)[:, 1:].reshape(-1) for x in own)
    metrics = {}
    if size - (baseline == "reference") > 1:
        parts = intraclass(own[0], size - (baseline == "reference"), own[1])
        metrics["reward_of_start"] = parts["intraclass"]
        metrics |= {f"reward_{name}_starts": parts[name] for name in ("between", "within")}
    worth, learned = relative(reward, valid, size, baseline)
    if baseline == "reference":
        metrics["reward_over_reference"] = jnp.sum(worth) / jnp.maximum(learned.sum(), 1)
    return worth, learned, metrics
