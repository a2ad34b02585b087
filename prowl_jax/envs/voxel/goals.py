"""What there is to gain in the world of blocks: rewards of a step, and when an episode is over, from the true state.

A goal is told of every step: ``info["reward"]`` and ``info["over"]``. Both hang on two states and the action between
them alone, so that a network that sees two frames can learn to say them (``models.reward_heads``).
"""

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp

from prowl_jax.envs.voxel.blocks import LOG, block_of
from prowl_jax.envs.voxel.cast import look_up


@dataclasses.dataclass(frozen=True)
class Goal:
    """A reward.

    Attributes:
      name: what the command line calls it. description: one line for reports. unit: of a return.
      reward: ``f(before, after, events) -> float32`` of the ``world.State`` before and after a step and its events.
      over: ``f(before, after, events) -> bool``, whether the step ends the episode.
    """

    name: str
    description: str
    unit: str
    reward: Callable
    over: Callable


def _metres(before, after, events):
    del events
    return jnp.linalg.norm((after.body.position - before.body.position)[:2])


def _mishap(before, after, events):
    del before
    return events["fell"] | after.submerged


def _log_broken(before, after, events):
    del after
    return (events["broke"] & (block_of(look_up(before.world, before.aim.cell)) == LOG)).astype(jnp.float32)


def _never(before, after, events):
    del before, after, events
    return jnp.bool_(False)


GOALS = {
    goal.name: goal
    for goal in (
        Goal(
            "travel",
            "metres moved, level; a deep fall or a head under water ends the episode",
            "m",
            _metres,
            _mishap,
        ),
        Goal("gather_logs", "logs broken out of trees", "logs", _log_broken, _never),
    )
}
"""name -> ``Goal``. ``travel`` counts the way and not the distance: of two frames the start cannot be seen."""
