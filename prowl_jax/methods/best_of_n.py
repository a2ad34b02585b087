"""Best of N: of N dreams of one context keep the best by a reward, and train on it as on data.

The least that learning from a reward can be, and the question to ask before any reinforcement learning: if the best of
eight dreams moves no figure, its reward will teach nothing. No policy acts; contexts and actions are demonstrations'.
"""

import dataclasses
from collections import ChainMap
from typing import Any

import jax
import jax.numpy as jnp

from prowl_jax.methods.base import Method, Needs, State, training_cost
from prowl_jax.methods.dreamt_branches import reward_named
from prowl_jax.rewards import ERRORS, OF_BRANCHES, OF_JUDGE, REWARDS
from prowl_jax.rewards.dream import group, make_dream, make_shown
from prowl_jax.settings import COUNT, SOME_SHARE, check, one_of, setting
from prowl_jax.train.sharding import program
from prowl_jax.train.state import init_state
from prowl_jax.train.world_model import make_fine_tune, make_update
from prowl_jax.types import Batch, RealClip

NAMES = ChainMap(dict.fromkeys(OF_JUDGE), OF_BRANCHES, REWARDS)
"""Rewards that may choose."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings.

    Attributes:
      dreams: N, of each context.
      best_by: the reward, a name of ``Shared.rewards``; of one in ``rewards.ERRORS`` the lowest is the best.
      dream_share: share of a batch that are dreams, 0.5 as PROWL's share of trajectories; the rest are demonstrations.
    """

    dreams: int = setting(8, "N, of each context", COUNT)
    best_by: str = setting("regret", "the reward that the best is chosen by", one_of(NAMES))
    dream_share: float = setting(0.5, "share of a batch that are dreams", SOME_SHARE, source="as PROWL's share")

    def __post_init__(self):
        check(self, "best_of_n")


@dataclasses.dataclass(frozen=True)
class Programs:
    """The compiled parts of a cycle."""

    choose: Any = program(("batches", "whole"))
    fine_tune: Any = program(("theta", "whole", "whole"), donates=(0,))


class BestOfN(Method):
    """See the module's docstring, and ``base.Method`` for what its functions answer."""

    Config = Config

    def make_programs(self):
        """The parts of a cycle."""
        update = make_update(self.shared.loss, self.shared.optimizer, ema_decay=self.shared.budget.ema_decay)
        return Programs(make_choose(self.config, self.shared), make_fine_tune(update))

    def needs(self):
        """A clip for each row of a batch, long enough to dream from."""
        return Needs(self.shared.budget.batch, self.shared.budget.clip, acts=False)

    @property
    def checks(self):
        """The mean reward of the dreams, and that of the chosen ones."""
        return (self.config.best_by, f"{self.config.best_by}_of_best")

    def rewards_asked(self):
        """The one that chooses."""
        return (self.config.best_by,)

    def init(self, start, key):
        """theta_0."""
        return State(init_state(start.trained, self.shared.optimizer), jnp.zeros((), jnp.int32))

    def cycle(self, state, start, source, key):
        """Dream, keep the best, train on it; see ``base.Method.cycle``."""
        dream_key, tune_key = jax.random.split(key)
        params = self.world_model_params(state, start)
        batches, chosen = self.programs.choose(params, source.demonstrations(), dream_key)
        theta, _, trained = self.programs.fine_tune(
            state.theta, start.fixed["dit"], None, batches, tune_key, state.cycle
        )
        return State(theta, state.cycle + 1), {**chosen, "world_model_loss": trained["loss"]}

    def spent(self):
        """All N dreams of every context count."""
        budget, rows = self.shared.budget, dream_rows(self.config, self.shared.budget)
        dreamt = budget.updates * rows * self.config.dreams * budget.horizon
        return {**training_cost(self.shared), "environment_steps": 0, "dreamt_latents": dreamt}

    def calls(self, state, start, trajectory, demonstrations, key):
        """See ``base.Method.calls``."""
        params = jax.eval_shape(self.world_model_params, state, start)
        batches = jax.eval_shape(self.programs.choose, params, demonstrations, key)[0]
        return {
            "choose": (params, demonstrations, key),
            "fine_tune": (state.theta, start.fixed["dit"], None, batches, key, state.cycle),
        }


def dream_rows(config, budget):
    """Rows of a batch that are dreams, at least one."""
    return max(1, round(config.dream_share * budget.batch))


def make_choose(config, shared):
    """``choose(params, clips, key) -> (batches, metrics)``: the first rows of each batch dreamt, all cut to windows.

    ``clips`` is a ``Batch`` with leaves ``[updates, batch, ...]`` of ``budget.clip`` latents, and so is what comes out,
    of ``budget.window``: of demonstrations the first ones, of a context with its best dream the last.
    """
    budget, model = shared.budget, shared.world_model
    rows, reward = dream_rows(config, budget), reward_named(config.best_by, "best_of_n.best_by", shared)
    dreams = group(make_dream(model, budget.context, shared.flow), config.dreams)
    shown = make_shown(model, budget.context, shared.flow)
    first, time = budget.clip - budget.window, model.frames_of(budget.window)

    def best(params, clips, key):
        dreamt = dreams(params, key, shown(params, RealClip(clips.latents, clips.actions)))
        scores = reward(params, dreamt)  # [rows, N]
        worth = -scores if config.best_by in ERRORS else scores
        chosen = jnp.arange(rows), jnp.argmax(worth, axis=1)
        latents = jnp.concatenate([clips.latents[:, : budget.context], dreamt.latents[chosen]], axis=1)[:, first:]
        figures = {config.best_by: scores.mean(), f"{config.best_by}_of_best": scores[chosen].mean()}
        return Batch(latents, clips.actions[:, model.stride * first :][:, :time]), figures

    def one_batch(params, clips, key):
        dreamt, figures = best(params, jax.tree.map(lambda x: x[:rows], clips), key)
        real = Batch(clips.latents[rows:, : budget.window], clips.actions[rows:, :time])
        return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), dreamt, real), figures

    def choose(params, clips, key):
        keys = jax.random.split(key, budget.updates)
        batches, figures = jax.lax.map(lambda one: one_batch(params, *one), (clips, keys))
        return batches, jax.tree.map(jnp.mean, figures)

    return choose
