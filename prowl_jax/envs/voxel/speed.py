"""How fast the voxel world is: the benchmark's row ``voxel_steps_per_s``."""

import functools
import statistics
import time

import jax
import numpy as np

from prowl_jax.envs.device import keys
from prowl_jax.envs.voxel.tasks import make_world
from prowl_jax.envs.voxel.world import SPEC


def steps_per_second(num_envs=256, *, steps=16, repeats=5, task="wander", **settings):
    """Median environment steps a second, frames included, on JAX's default device.

    Random actions, ``steps`` steps of ``num_envs`` environments in one scan under one ``jit``; the
    frames are summed, so that none is left out and none has to be kept. Compilation does not count.
    """
    env = make_world(task, **settings)
    state, _ = jax.jit(jax.vmap(env.reset))(keys(np.arange(num_envs), num_envs))
    play = jax.jit(functools.partial(_play, steps=steps), donate_argnums=1)
    rates = []
    for i in range(repeats + 1):
        begin = time.perf_counter()
        state, _ = jax.block_until_ready(play(env, state, jax.random.key(i)))
        rates.append(num_envs * steps / (time.perf_counter() - begin))
    return statistics.median(rates[1:])


def _play(env, state, key, *, steps):
    """``steps`` random steps: (state, sum of all pixels)."""
    sizes = np.array(SPEC.sizes)

    def body(state, key):
        actions = jax.random.randint(key, (len(state.age), len(sizes)), 0, sizes)
        state, step = jax.vmap(env.step)(state, actions)
        return state, step.frame.sum(dtype=np.uint32)

    state, sums = jax.lax.scan(body, state, jax.random.split(key, steps))
    return state, sums.sum()
