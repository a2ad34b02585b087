"""Passive fine-tuning: phase 1 goes on. The control of every method that learns from rewards: as many tokens, no more.

Nobody acts and nothing is dreamt. (``Prowl`` with ``pat_share=0`` learns the same, and pays for acting and scoring.)
"""

import dataclasses
from typing import Any

import jax.numpy as jnp

from prowl_jax.methods.base import Method, Needs, State, training_cost
from prowl_jax.train.sharding import program
from prowl_jax.train.state import init_state
from prowl_jax.train.world_model import make_fine_tune, make_update


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings: none."""


@dataclasses.dataclass(frozen=True)
class Programs:
    """The compiled part of a cycle."""

    fine_tune: Any = program(("theta", "whole", "whole"), donates=(0,))


class FineTune(Method):
    """See the module's docstring, and ``base.Method`` for what its functions answer."""

    Config = Config

    def make_programs(self):
        """The updates of a cycle in one program."""
        update = make_update(self.shared.loss, self.shared.optimizer, ema_decay=self.shared.budget.ema_decay)
        return Programs(make_fine_tune(update))

    def needs(self):
        """A window for each row of a batch."""
        return Needs(self.shared.budget.batch, self.shared.budget.window, acts=False)

    def init(self, start, key):
        """theta_0."""
        return State(init_state(start.trained, self.shared.optimizer), jnp.zeros((), jnp.int32))

    def cycle(self, state, start, source, key):
        """Train on the demonstrations of this cycle."""
        theta, _, trained = self.programs.fine_tune(
            state.theta, start.fixed["dit"], None, source.demonstrations(), key, state.cycle
        )
        return State(theta, state.cycle + 1), {"world_model_loss": trained["loss"]}

    def spent(self):
        """Nothing but training."""
        return {**training_cost(self.shared), "environment_steps": 0, "dreamt_latents": 0}

    def calls(self, state, start, trajectory, demonstrations, key):
        """See ``base.Method.calls``."""
        return {"fine_tune": (state.theta, start.fixed["dit"], None, demonstrations, key, state.cycle)}
