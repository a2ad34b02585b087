"""How fast the voxel world is: the benchmark's row ``voxel_steps_per_s``."""

import functools
import statistics
import time

import jax
import numpy as np
from jax.sharding import AxisType, PartitionSpec

from prowl_jax.envs.device import keys
from prowl_jax.envs.voxel.tasks import make_world
from prowl_jax.envs.voxel.world import SPEC


def steps_per_second(num_envs=256, *, steps=16, repeats=10, task="wander", **settings):
    """Median environment steps a second, frames included, on all of JAX's devices.

    Each device steps its share of the environments; ``num_envs`` divides by their number. Random
    actions, ``steps`` steps in one scan under one ``jit``; the frames are summed, so that none is left
    out and none has to be kept. Compilation does not count.
    """
    env = make_world(task, **settings)
    mesh = jax.make_mesh((len(jax.devices()),), ("devices",), axis_types=(AxisType.Auto,))
    own, whole = PartitionSpec("devices"), PartitionSpec()

    def everywhere(function, inputs, outputs, **options):
        mapped = jax.shard_map(function, mesh=mesh, in_specs=inputs, out_specs=outputs, check_vma=False)
        return jax.jit(mapped, **options)

    reset = everywhere(lambda env, keys: jax.vmap(env.reset)(keys)[0], (whole, own), own)
    play = everywhere(functools.partial(_play, steps=steps), (whole, own, whole), (own, own), donate_argnums=1)
    state = reset(env, keys(np.arange(num_envs), num_envs))
    rates = []
    for i in range(repeats + 1):
        begin = time.perf_counter()
        state, _ = jax.block_until_ready(play(env, state, jax.random.key(i)))
        rates.append(num_envs * steps / (time.perf_counter() - begin))
    return statistics.median(rates[1:])


def _play(env, state, key, *, steps):
    """``steps`` random steps of one device's environments: (state, sum of all pixels ``[1]``)."""
    sizes = np.array(SPEC.sizes)

    def body(state, key):
        actions = jax.random.randint(key, (len(state.age), len(sizes)), 0, sizes)
        state, step = jax.vmap(env.step)(state, actions)
        return state, step.frame.sum(dtype=np.uint32)

    key = jax.random.fold_in(key, jax.lax.axis_index("devices"))
    state, sums = jax.lax.scan(body, state, jax.random.split(key, steps))
    return state, sums.sum()[None]
