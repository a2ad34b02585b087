"""Learners in an environment with rewards, dreamt or real: rounds with checkpoints, figures and going on."""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from experiments.run import divergence, interruption
from experiments.run.progress import Progress
from experiments.stages import build
from prowl_jax.envs.base import HostEnv
from prowl_jax.methods.dream_policy import Evolution, Imagination, make_evolution, make_ppo_step, make_returns
from prowl_jax.models.policies.linear import LinearController
from prowl_jax.rl.pmpo import PMPOConfig
from prowl_jax.rl.ppo import PPOConfig
from prowl_jax.settings import read
from prowl_jax.train.checkpoint import Checkpoints
from prowl_jax.train.state import init_state


@dataclasses.dataclass(frozen=True)
class Actor:
    """Who can be measured: a policy (hashable) and its parameters."""

    policy: Any
    params: Any


def rounds(run, stage, state, step, count, every=None):
    """Do ``step(state, key) -> (state, metrics)`` until ``count`` rounds are done, from the last checkpoint on.

    A checkpoint is written ``every`` so many rounds (None: as the configuration says).

    Round i draws from ``fold_in(stage_key(stage), i)``, so a run that goes on does what an unbroken one does.

    Raises:
      BadNumbers: a figure or the state is not finite. Terminated: after SIGTERM; the last round is saved.
    """
    config, metrics, every = run.config, {}, every or run.config.checkpoint_every
    key = build.stage_key(config, stage)
    with (
        Checkpoints(run.checkpoints(stage), config.checkpoint_keep) as checkpoints,
        interruption.after_the_step(),
        Progress(stage, count) as progress,
    ):
        first, saved, _ = checkpoints.resume(state)
        # Where a first state's arrays are not all laid out alike, the second round would compile all of it again.
        state = jax.device_put(saved if first else state, jax.local_devices()[0])
        run.log.truncate(stage=stage, step=first)
        for i in range(first, count):
            state, metrics = step(state, jax.random.fold_in(key, i))
            at_checkpoint, stop = (i + 1) % every == 0 or i + 1 == count, interruption.asked()
            if at_checkpoint or stop or (i + 1) % config.log_every == 0:
                metrics = {name: float(value) for name, value in metrics.items()}
                if not (divergence.all_finite(state) and all(map(math.isfinite, metrics.values()))):
                    raise divergence.BadNumbers(f"{stage}: the state of round {i + 1} is not finite", i, [])
                run.log.write(stage=stage, step=i + 1, **metrics)
                progress.update(i + 1, **{name: metrics[name] for name in ("return",)})
            if at_checkpoint or stop:
                checkpoints.save(i + 1, state, {}, loss=metrics["loss"])
            if stop:
                raise interruption.Terminated
    return state


def learn_ppo(run, stage, env, reference):
    """An ``Actor`` that PPO made of the cloned policy ``reference`` in ``env``."""
    settings, policy = _imagination(run.config), build.make_policy(run.config)
    step = _ppo_step(policy, settings, isinstance(env, HostEnv))
    state = init_state(policy.with_fresh_value(reference), settings.optimizer)
    state = rounds(run, stage, state, lambda state, key: step(state, env, reference, key), settings.updates)
    return Actor(policy, state.params)


def learn_cma(run, stage, env, controller):
    """An ``Actor`` that CMA-ES found: the blank ``controller`` (an ``Actor``) with a map."""
    settings = read(Evolution, run.config.dream.evolution)
    init, step, params_of = _evolution(controller.policy, settings, run.config.dream.steps)
    state = init(controller.params, build.stage_key(run.config, f"{stage} init"))

    def generation(state, key):
        return step(state, controller.params, env, key)

    state = rounds(run, stage, state, generation, settings.generations, every=1)  # long ones, of a small state
    return Actor(controller.policy, params_of(state, controller.params))


def blank_controller(config, model, world_model_params, frames):
    """The ``Actor`` that CMA-ES begins with, seeing the components of real ``frames`` uint8 ``[n, H, W, 3]``."""
    components = config.dream.evolution.components
    spec, live = build.spec_of(config), build.make_environment(config).live_factors(config.env.task)
    rests = tuple(None if name in live else int(rest) for name, rest in zip(spec.names, spec.null, strict=True))
    controller = LinearController(spec.sizes, components, model, rests if live else ())
    return Actor(controller, controller.init(world_model_params, frames))


def random_actor(config, reference):
    """An ``Actor`` that draws every factor uniformly: the cloned policy with blank logits, so the same program."""
    blank = {**reference, "logits": jax.tree.map(jnp.zeros_like, reference["logits"])}
    return Actor(build.make_policy(config), blank)


@functools.cache
def returns_program(policy, steps, host=False):
    """``methods.dream_policy.make_returns``, jitted: one for all actors of a kind in all environments of a kind."""
    return make_returns(policy, steps, host) if host else jax.jit(make_returns(policy, steps))


_ppo_step = functools.cache(make_ppo_step)
_evolution = functools.cache(make_evolution)


def _imagination(config):
    settings = config.dream.ppo
    return read(Imagination, settings, ppo=read(PPOConfig, settings), pmpo=read(PMPOConfig, settings))
