"""What phase 2 is made of, from a configuration: the parts that its arms share, and the ``Method`` of each."""

import dataclasses

from experiments.stages.arms import ARMS, configured
from experiments.stages.build.environment import action_maps, frame_shape, spec_of
from experiments.stages.build.judges import make_flow
from experiments.stages.build.policy import make_policy
from experiments.stages.build.rewards import make_rewards
from experiments.stages.build.world_model import make_loss, make_world_model
from prowl_jax.envs.registry import ENVIRONMENTS
from prowl_jax.methods import METHODS, prowl
from prowl_jax.methods.base import Budget, Shared, equal_trajectories
from prowl_jax.models.error_head import ErrorHead
from prowl_jax.pat.buffer import Scoring
from prowl_jax.pat.priority import Priority
from prowl_jax.pat.rescoring import Rescoring
from prowl_jax.rewards.disagreement import Ensemble
from prowl_jax.rl.ppo import PPOConfig
from prowl_jax.settings import COUNT, POSITIVE, SHARE, Check, one_of, read, setting, settings_of
from prowl_jax.train.adversary import Adversary
from prowl_jax.train.state import Optimizer


@dataclasses.dataclass(frozen=True)
class Phase2Settings:
    """How phase 2 runs."""

    program: str = setting(
        "host", "or device: whole cycles under one jit, where the environment is on the device",
        one_of(("host", "device")),
    )  # fmt: skip
    cycles_per_call: int = setting(1, "of the device program", COUNT)
    include: str = setting("", "trajectories that the buffer begins with, as a page of experiments.play writes them")
    oracle: str = setting(
        "", "a network that was trained on everything, a study's oracles/NAME.npz or weights as of base: what regret "
        "it has too cannot be reduced"
    )  # fmt: skip
    keep_cycles: tuple = setting(
        (), "cycles after which an arm is kept, small, beside its checkpoints (cycles/ARM in the run)",
        Check(lambda v: all(cycle >= 1 for cycle in v), "are not whole numbers of at least 1"),
    )  # fmt: skip
    checkpoint_every: int = setting(
        1, "cycles, of the host program: what is stopped goes on from there; the last is saved too", COUNT
    )
    overlap: bool = setting(True, "collect for the next cycle while this one trains: the same numbers, sooner")


@dataclasses.dataclass(frozen=True)
class Phase2Optimizer(Optimizer):
    """Of the world model in phase 2, over all cycles; the rate rises for half a cycle."""

    learning_rate: float = setting(1e-4, "the highest rate of AdamW", POSITIVE)
    warm_up: int = 0
    final: float = setting(0.1, "share of the rate left at the end; 1: constant", SHARE)


def arms(config):
    """The configured arms of phase 2; none where the environment cannot be acted in."""
    return tuple(config.arms) if ENVIRONMENTS[config.env.name].acts() else ()


def make_budget(config):
    """What every arm of phase 2 may spend; the context is one window less one chunk."""
    p, w = config.phase2, config.world_model
    sizes = {"context": w.window - w.chunk, "window": w.window, "score_batch": min(p.trajectories, 32)}
    budget = read(Budget, p, **sizes)
    if not budget.equal_steps or budget.branches == 1:
        return budget
    steps = make_world_model(config).frames_of(budget.clip) - 1
    parts = config.adversary.minibatches
    equal = equal_trajectories(budget.trajectories, budget.branches, warm_up=p.warm_up, steps=steps, parts=parts)
    return dataclasses.replace(budget, trajectories=equal)


def phase2_optimizer(config, updates=None, cycles=None):
    """The optimiser of the world model in phase 2; ``updates`` a cycle and ``cycles`` are the configured ones."""
    updates, cycles = updates or config.phase2.updates, cycles or config.phase2.cycles
    return read(Phase2Optimizer, config.phase2, warm_up=updates // 2).over(updates * cycles)


def make_shared(config, world_model=None):
    """What every arm is made from; ``world_model`` in the configured one's place."""
    world_model = world_model or make_world_model(config)
    return Shared(
        world_model=world_model,
        frame_shape=frame_shape(config),
        loss=make_loss(config, world_model),
        optimizer=phase2_optimizer(config),
        flow=make_flow(config),
        budget=make_budget(config),
        policy=make_policy(config),
        to_env=action_maps(config)[0],
        rewards=make_rewards(config),
    )


def make_method(config, arm, world_model=None):
    """The ``Method`` of an arm; ``config`` is the run's, ``world_model`` as in ``make_shared``."""
    config, row = configured(config, arm), ARMS[arm]
    settings = dataclasses.replace(method_settings(config, row.method), **row.own)
    return METHODS[row.method](settings, make_shared(config, world_model))


def method_settings(config, name):
    """A method's ``Config``: PROWL's from several groups, any other's from the group of its name."""
    if name == "prowl":
        return prowl_settings(config)
    if name in HUNTED:
        learner = name.removeprefix("prowl_")
        return prowl_settings(config, METHODS[name].Config, branching=method_settings(config, learner))
    return read(METHODS[name].Config, config.get(name, {}))


def prowl_settings(config, cls=prowl.Config, **more):
    """PROWL's own settings, ``config`` as the arm wants it; or those of what builds on it, with what it has more."""
    p = config.phase2
    weights, changes = read(prowl.Composite, p).weights
    return read(
        cls,
        p,
        scoring=read(Scoring, p, weights=weights, changes=changes),
        priority=read(Priority, p),
        rescoring=read(Rescoring, p),
        adversary=make_adversary(config),
        ensemble=make_ensemble(config),
        error_head=make_error_head(config),
        **more,
    )


def passive_rows(config):
    """Rows of PROWL's batches that are demonstrations."""
    return config.phase2.batch - prowl_settings(config).pat_rows(config.phase2.batch)


def make_adversary(config):
    """How the adversary learns."""
    return read(
        Adversary, config.adversary, ppo=read(PPOConfig, config.adversary), cycles=config.phase2.cycles
    )


def make_ensemble(config):
    """The ensemble whose disagreement may be a reward."""
    latent = make_world_model(config).latent_shape(frame_shape(config))
    return read(Ensemble, config.adversary.ensemble, latent_shape=latent, action_sizes=spec_of(config).sizes)


HUNTED = tuple(name for name, method in METHODS.items() if issubclass(method, prowl.Prowl) and name != "prowl")
"""Methods that build on PROWL's settings, named ``prowl_`` and what learns."""


def make_error_head(config):
    """The head that says how wrong a dream is, which may be a reward."""
    return read(ErrorHead, config.adversary.error_head, action_sizes=spec_of(config).sizes)


METHOD_GROUPS = {
    name: (method.Config,)
    for name, method in METHODS.items()
    if name not in ("prowl", *HUNTED) and settings_of(method.Config)
}
"""Group -> the class whose settings it holds, of the methods that have settings of their own."""
"""Method -> ``f(config)``, its settings where the configuration has keys for them; of others an arm's ``own`` alone."""
