"""What phase 2 is made of, from a configuration: the parts that its arms share, and the ``Method`` of each."""

import dataclasses

from experiments.stages.arms import ARMS, configured
from experiments.stages.build.environment import action_maps, frame_shape, spec_of
from experiments.stages.build.judges import make_flow
from experiments.stages.build.policy import make_policy
from experiments.stages.build.world_model import make_loss, make_world_model
from prowl_jax.methods import METHODS, prowl
from prowl_jax.methods.base import Budget, Shared
from prowl_jax.pat.buffer import Scoring
from prowl_jax.pat.priority import Priority
from prowl_jax.pat.rescoring import Rescoring
from prowl_jax.rewards.disagreement import Ensemble
from prowl_jax.rl.ppo import PPOConfig
from prowl_jax.train.adversary import Adversary
from prowl_jax.train.state import make_optimizer


def arms(config):
    """The configured arms of phase 2; none where there are only recordings and no live environment."""
    return () if config.env.name == "recordings" else tuple(config.arms)


def make_budget(config):
    """What every arm of phase 2 may spend; the context is one window less one chunk."""
    p, w = config.phase2, config.world_model
    return Budget(
        context=w.window - w.chunk,
        horizon=p.horizon,
        window=w.window,
        updates=p.updates,
        batch=p.batch,
        trajectories=p.trajectories,
        warm_up=p.warm_up,
        cycles=p.cycles,
        score_batch=min(p.trajectories, 32),
        ema_decay=p.ema_decay,
    )


def phase2_optimizer(config):
    """The optimiser of the world model in phase 2."""
    p = config.phase2
    return make_optimizer(p.learning_rate, p.updates * p.cycles, warm_up=p.updates // 2, final=0.1)


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
    )


def make_method(config, arm, world_model=None):
    """The ``Method`` of an arm; ``config`` is the run's, ``world_model`` as in ``make_shared``."""
    config, row = configured(config, arm), ARMS[arm]
    settings = SETTINGS[row.method](config) if row.method in SETTINGS else METHODS[row.method].Config()
    return METHODS[row.method](dataclasses.replace(settings, **row.own), make_shared(config, world_model))


def prowl_settings(config):
    """PROWL's own settings; ``config`` as the arm wants it."""
    p, a = config.phase2, config.adversary
    return prowl.Config(
        pat_share=p.pat_share,
        capacity=p.capacity,
        scoring=Scoring({"regret": 1.0, "afs": p.lambda_afs}, {"regret": p.delta_scale}),
        priority=Priority(p.priority, p.temperature, p.staleness),
        rescoring=Rescoring(p.rescore, p.rescore_age, p.rescore_rows),
        adversary=make_adversary(config),
        ensemble=make_ensemble(config),
        ensemble_steps=a.ensemble.steps,
    )


def passive_rows(config):
    """Rows of PROWL's batches that are demonstrations."""
    return config.phase2.batch - prowl_settings(config).pat_rows(config.phase2.batch)


def make_adversary(config):
    """How the adversary learns."""
    a = config.adversary
    return Adversary(
        learning_rate=a.learning_rate,
        ppo=PPOConfig(a.clip, a.value_cost, a.entropy_cost, a.kl_cost),
        epochs=a.epochs,
        minibatches=a.minibatches,
        lambda_=a.lambda_,
        final_kl_cost=None if a.final_kl_cost < 0 else a.final_kl_cost,
        cycles=config.phase2.cycles,
        kl_bound=None if a.kl_bound < 0 else a.kl_bound,
    )


def make_ensemble(config):
    """The ensemble whose disagreement may be a reward."""
    e = config.adversary.ensemble
    sizes, channels = spec_of(config).sizes, config.autoencoder.channels
    height, width = (side // 8 for side in frame_shape(config)[:2])
    return Ensemble((height, width, channels), sizes, e.members, e.width, e.learning_rate)


SETTINGS = {"prowl": prowl_settings}
"""Method -> ``f(config)``, its settings where the configuration has keys for them; of others an arm's ``own`` alone."""
