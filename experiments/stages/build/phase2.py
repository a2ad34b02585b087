"""What phase 2 is made of, from a configuration."""

from experiments.stages.build.environment import frame_shape, spec_of
from prowl_jax.pat.buffer import Scoring
from prowl_jax.pat.priority import Priority
from prowl_jax.pat.rescoring import Rescoring
from prowl_jax.rl.ppo import PPOConfig
from prowl_jax.train.adversary import Adversary
from prowl_jax.train.curriculum import Curriculum
from prowl_jax.train.disagreement import Ensemble


def arms(config):
    """The configured arms of phase 2; none where there are only recordings and no live environment."""
    return () if config.env.name == "recordings" else tuple(config.arms)


def make_curriculum(config):
    """Settings of the phase-2 loop; the context is one window less one chunk."""
    p, w = config.phase2, config.world_model
    return Curriculum(
        context=w.window - w.chunk,
        horizon=p.horizon,
        window=w.window,
        updates=p.updates,
        batch=p.batch,
        pat_share=p.pat_share,
        score_batch=min(p.trajectories, 32),
        ema_decay=p.ema_decay,
        scoring=Scoring(lambda_afs=p.lambda_afs, delta_scale=p.delta_scale),
        priority=Priority(p.priority, p.temperature, p.staleness),
        rescoring=Rescoring(p.rescore, p.rescore_age, p.rescore_rows),
    )


def make_adversary(config):
    """How the adversary learns."""
    a = config.adversary
    return Adversary(
        ppo=PPOConfig(a.clip, a.value_cost, a.entropy_cost, a.kl_cost),
        epochs=a.epochs,
        minibatches=a.minibatches,
        lambda_=a.lambda_,
        final_kl_cost=None if a.final_kl_cost < 0 else a.final_kl_cost,
        cycles=config.phase2.cycles,
        kl_bound=None if a.kl_bound < 0 else a.kl_bound,
    )


def make_ensemble(config):
    """The ensemble whose disagreement rewards the arm of that name."""
    e = config.adversary.ensemble
    sizes, channels = spec_of(config).sizes, config.autoencoder.channels
    height, width = (side // 8 for side in frame_shape(config)[:2])
    return Ensemble((height, width, channels), sizes, e.members, e.width, e.learning_rate)
