"""Rewards that methods may ask for, from a configuration: those of nothing, and those whose weights are there."""

import functools

from experiments.run.config_file import UsageError
from experiments.stages.arms import ARMS, configured
from experiments.stages.build.base import load_base
from experiments.stages.build.environment import spec_of
from experiments.stages.build.judges import load_lpips, make_inverse_dynamics
from experiments.stages.build.world_model import make_world_model
from prowl_jax.metrics.lpips import lpips
from prowl_jax.rewards import OF_BRANCHES, OF_JUDGE, REWARDS
from prowl_jax.rewards import inverse_dynamics as judged
from prowl_jax.rewards.best_of import BestOf
from prowl_jax.rewards.similarity import make_group_similarity, make_similarity

SEEN = 8
"""Frames before a chunk that the judge sees at most: alone, a chunk of one frame has nothing around its step."""

KEYS = {"nft": "nft.reward", "grpo": "grpo.reward", "best_of_n": "best_of_n.best_by"}
KEYS |= {"prowl_nft": KEYS["nft"], "prowl_grpo": KEYS["grpo"]}
"""Method -> the key that names its reward."""


def has_judge(config):
    """Whether there is a model that reads actions: trained, of VPT's weights, or brought by the base model."""
    return bool(config.inverse_dynamics.steps) or has_given_judge(config)


def has_given_judge(config):
    """Whether it is there before anything is trained."""
    if config.inverse_dynamics.weights:
        return True
    return bool(config.base) and load_base(config.base).inverse_dynamics is not None


def make_rewards(config):
    """name -> reward, as of ``methods.base.Shared``: LPIPS is a term of similarity where its weights are given."""
    rewards = {**REWARDS, **OF_BRANCHES, **lpips_rewards(config)}
    if has_judge(config):
        model, sizes = make_inverse_dynamics(config), spec_of(config).sizes
        rewards |= {name: judged.make_inverse_dynamics(model, sizes, name == judged.WHOLE) for name in OF_JUDGE}
    return rewards


def make_used_world_model(config):
    """The world model as it is used: with the choice of ``world_model.best_of`` among its dreams.

    Its parameters need the judge's: ``stages.inverse_dynamics.with_judge``.
    """
    model, dreams = make_world_model(config), config.world_model.best_of
    return model if dreams == 1 else choosing(model, make_inverse_dynamics(config), dreams)


def choosing(model, judge, dreams):
    """``BestOf`` of a world model and a judge of its actions, who sees all that a dream begins with."""
    return BestOf(model, judged.make_inverse_dynamics(judge, model.action_sizes, before=SEEN), dreams)


def lpips_rewards(config):
    """The rewards of similarity with LPIPS among their terms, where its weights are given."""
    if not config.metrics.lpips_weights or config.dry_run:
        return {}
    distance = functools.partial(lpips, *load_lpips(config))
    makes = {"similarity": make_similarity, "group_similarity": make_group_similarity}
    return {name: make(distance=distance) for name, make in makes.items()}


def check_rewards(config):
    """UsageError of one line where an arm, or the choice among dreams, asks a judge that is not there."""
    asked = {f"world_model.best_of={config.world_model.best_of}"} if config.world_model.best_of > 1 else set()
    for arm in config.arms:
        key = KEYS.get(ARMS[arm].method)
        if key is not None:
            group, name = key.split(".")
            reward = configured(config, arm)[group][name]
            asked |= {f"{key}={reward}"} if reward in OF_JUDGE else set()
    if asked and not has_judge(config):
        raise UsageError(
            f"{', '.join(sorted(asked))}: there is no model that reads actions; set inverse_dynamics.steps to more "
            "than 0, name inverse_dynamics.weights of VPT's, or a base that brings one"
        )
