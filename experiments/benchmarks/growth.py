"""Growth: time and memory against size, and the exponent of the power law that fits them.

A row's value is the exponent, its ``against`` the points. Memory is the compiler's account of what a
program needs beside its arguments; a buffer's is the buffer. --quick takes two small points a row.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks import timing
from experiments.benchmarks.buffer import DeviceBuffer, example_item
from experiments.benchmarks.timing import Row
from experiments.configs import quickstart
from experiments.stages import build
from prowl_jax.envs.device import keys
from prowl_jax.envs.voxel.tasks import make_world
from prowl_jax.train.state import init_state
from prowl_jax.train.world_model import make_loss, make_train_step
from prowl_jax.types import Batch


def rows(settings):
    """Rows ``growth_time_...`` and ``growth_memory_...``."""
    few = settings.quick
    windows, batches = ((3, 6), (4, 8)) if few else ((3, 6, 12, 24), (8, 16, 32, 64))
    contexts, capacities = ((2, 4), (256, 1024)) if few else ((2, 5, 11, 23), (256, 1024, 4096, 16384))
    num_envs = (4, 8) if few else (16, 32, 64, 128)
    model = Model("tiny" if few else "scratch")
    fixed = 4 if few else 8
    yield from _family(
        settings, "context", "latents of a clip, training step", windows, lambda n: model.training(fixed, n)
    )
    yield from _family(settings, "batch", "clips, training step", batches, lambda n: model.training(n, 3))
    horizon = 1 if few else 8
    words = f"latents of context, a rollout of {horizon}"
    yield from _family(settings, "rollout_context", words, contexts, lambda n: model.rollout(n, horizon))
    yield from _buffer(settings, capacities)
    yield from _family(settings, "environments", "voxel worlds, a step with frames", num_envs, _voxels(max(num_envs)))


def exponent(sizes, values):
    """The slope of log(value) over log(size), least squares: ``value = c * size ** exponent``.

    Args:
      sizes, values: two or more positive numbers each.
    """
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def _family(settings, name, words, sizes, make):
    """Two rows of the programs ``make(size) -> (call, bytes)``, timed in turns."""
    made = {size: make(size) for size in sizes}
    times = timing.alternate({size: call for size, (call, _) in made.items()}, settings.repeats)
    yield _row(f"growth_time_{name}", words, {n: 1e3 * t for n, t in times.items()}, "ms", settings.repeats)
    yield _row(f"growth_memory_{name}", words, {n: nbytes / 1e6 for n, (_, nbytes) in made.items()}, "MB")


def _row(name, words, points, unit, repeats=0):
    listed = ", ".join(f"{size:,}: {value:.3g}" for size, value in points.items())
    against = f"{words}: {listed} {unit}"
    return Row(name, exponent(list(points), list(points.values())), "exponent", against, None, repeats)


class Model:
    """The quick start's world model on random latents."""

    def __init__(self, variant):
        self.config = quickstart.get_config(variant)
        self.model = build.make_world_model(self.config)
        self.frame, self.item = build.frame_shape(self.config), build.make_shared(self.config).example_clip
        self.rng = np.random.default_rng(0)
        self.training = functools.cache(self._training)

    def _params(self, latents):
        return timing.random_like(jax.eval_shape(lambda: self.model.init(jax.random.key(0), self.frame, latents)))[
            "dit"
        ]

    def _clips(self, batch, length):
        latents = self.rng.normal(size=(batch, length, *self.item.latents.shape[1:]))
        actions = jnp.zeros((batch, length, self.item.actions.shape[1]), jnp.int32)
        return Batch(jnp.asarray(latents, jnp.float32), actions)

    def _training(self, batch, latents):
        """(call, bytes beside the arguments) of a training step; ``training`` compiles each only once."""
        optimizer = build.phase2_optimizer(self.config)
        holder = [init_state(self._params(latents), optimizer)]
        clips, key = self._clips(batch, latents), jax.random.key(0)
        step = make_train_step(make_loss(self.model, build.make_forcing(self.config)), optimizer)
        program = step.lower(holder[0], clips, key).compile()

        def call():
            holder[0], metrics = program(holder[0], clips, key)
            return metrics

        return call, program.memory_analysis().temp_size_in_bytes

    def rollout(self, context, horizon):
        """(call, bytes beside the arguments) of a rollout of ``horizon`` chunks for four clips."""
        clips, params = self._clips(4, context + horizon), {"dit": self._params(context + 1)}

        @jax.jit
        def roll(params, clips):
            return self.model.rollout(params, jax.random.key(0), clips.latents[:, :context], clips.actions, horizon)

        program = roll.lower(params, clips).compile()
        return lambda: program(params, clips), program.memory_analysis().temp_size_in_bytes


def _buffer(settings, capacities):
    item = example_item(8)
    buffers = {capacity: DeviceBuffer(item, capacity) for capacity in capacities}
    for name in ("insert", "sample"):
        calls = {capacity: getattr(buffer, name) for capacity, buffer in buffers.items()}
        times = timing.alternate(calls, settings.repeats)
        points = {n: 1e3 * t for n, t in times.items()}
        yield _row(f"growth_time_capacity_{name}", f"entries, {name}", points, "ms", settings.repeats)
    points = {n: buffer.memory.alias_size_in_bytes / 1e6 for n, buffer in buffers.items()}
    yield _row("growth_memory_capacity", "entries", points, "MB")


def _voxels(most):
    """``f(num_envs) -> (call, bytes beside the arguments)`` of a step of up to ``most`` worlds."""
    env = make_world("wander")
    states, _ = jax.jit(jax.vmap(env.reset))(keys(np.arange(most), most))
    step = jax.jit(lambda state, actions: jax.vmap(env.step)(state, actions)[1].frame)

    def make(num_envs):
        state = jax.tree.map(lambda x: x[:num_envs], states)
        actions = jnp.zeros((num_envs, len(env.spec.sizes)), jnp.int32)
        program = step.lower(state, actions).compile()
        return lambda: program(state, actions), program.memory_analysis().temp_size_in_bytes

    return make
