"""Where policies of a dream run act: the real environment with its goal, and dreams of it by any world model."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from experiments.dreams.heads import make_heads
from experiments.dreams.settings import THETA_0
from experiments.run.config_file import UsageError
from experiments.stages import build, phase2
from experiments.stages.clip_stores import open_store, split
from experiments.stages.world_model import load_world_model
from prowl_jax import zoo
from prowl_jax.data.feeder import batch_starts
from prowl_jax.envs.device import keys
from prowl_jax.envs.dream import DreamEnv


def real_env(config):
    """The real environment of the run's task, a ``DeviceEnv`` or a ``HostEnv``, with its goal and limit of steps."""
    environment, d = build.make_environment(config), config.dream
    if environment.on_device():
        return environment.make_rewarded(config.env.task, d.goal, d.steps)
    return environment.make_rewarded_host(config.env.task, d.goal, d.steps, config.env.num_envs)


def dream_env(base, config, params, head_params, temperature=1.0, world_model=None):
    """A ``DreamEnv`` that begins in contexts of the training demonstrations.

    Args:
      base: the ``Run`` that holds them. params: of the world model, the configured one unless ``world_model`` is.
    """
    model = world_model or build.make_world_model(config)
    store, length = open_store(base), build.make_budget(config).context
    episodes = split(base, store)[0]
    starts = store.offsets[episodes] if config.dream.beginnings else store.starts(episodes, length)
    clips = store.gather(batch_starts(config.seed, 0, starts, config.dream.contexts), length)
    own = {name: params[name] for name in ("dit", "autoencoder", "latent_mean", "latent_std")}
    latents = jax.jit(model.encode)(own, clips.frames)
    return DreamEnv(
        jax.tree.map(jnp.asarray, own), head_params, latents, jnp.asarray(clips.actions), jnp.float32(temperature),
        model, make_heads(config), build.spec_of(config), build.frame_shape(config), config.dream.steps,
        jnp.float32(config.dream.dropout), config.dream.masks if config.dream.dropout else "",
    )  # fmt: skip


def with_temperature(env, temperature):
    """The same dreams at another temperature: the same program."""
    return dataclasses.replace(env, temperature=jnp.float32(temperature))


def world_models(base, config):
    """Name -> (model, params) of every world model that ranks: theta_0, the arms of the run, and further weights.

    Raises:
      UsageError: weights that are for something else.
    """
    own = build.make_world_model(config)
    found = {THETA_0: (own, load_world_model(base))}
    found |= {arm: (own, phase2.load_arm(base, arm).params) for arm in build.arms(config)}
    for name in config.dream.world_models:
        try:
            theirs = zoo.load(name)
        except ValueError as error:
            raise UsageError(f"dream.world_models: {name}: {error}") from None
        if theirs.spec != build.spec_of(config) or tuple(theirs.frame_shape) != build.frame_shape(config):
            raise UsageError(f"dream.world_models: {name} is for other frames or actions than the run's")
        needs, there = getattr(theirs.world_model, "context", 1), build.make_budget(config).context
        if needs > there:
            raise UsageError(f"dream.world_models: {name} begins with {needs} frames, the run's dreams with {there}")
        found[name] = theirs.world_model, theirs.params
    return found


def episode_keys(config, count, which):
    """Keys ``[count]`` of episodes to measure in, the same for every policy; ``which`` tells real from dreamt ones."""
    return keys(np.random.SeedSequence([config.seed, 9000 + which]).generate_state(count), count)
