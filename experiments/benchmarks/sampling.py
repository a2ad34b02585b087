"""Sampling: the rolling cache against the rollout without any cache, at 21 latents of context.

A chunk is 3 latents of 48x64 frames (12 tokens each), as in PROWL; one film at a time, 4 Euler steps, in float32.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks import timing
from experiments.benchmarks.timing import Row
from prowl_jax.models.dit.dit import DiT
from prowl_jax.models.dit.sizes import dit_size
from prowl_jax.models.world_model import WorldModel

CONTEXT, CHUNK, STEPS, GRID, SIZES = 21, 3, 4, (6, 8, 8), (2, 3, 11)
HORIZONS = (8, 16, 32)
LIMIT = 1e-4


def rows(settings):
    """The rows ``cached_rollout_...``; ``settings.quick`` takes a smaller model and fewer chunks."""
    size, chunks = ("XS", 2) if settings.quick else ("S", 4)
    dit = DiT(channels=GRID[-1], action_sizes=SIZES, chunk=CHUNK, rope_base=20.0, **dit_size(size))
    model = WorldModel(dit, None, STEPS, 5.0, "rolling")
    params = {"dit": _random_params(dit)}
    yield from _rivals(settings, model, params, chunks, f"size {size}, {chunks} chunks of {CHUNK}")
    yield from _horizons(settings, model, params, f"size {size}")


def _rivals(settings, model, params, chunks, shape):
    context, actions, key = _film(CONTEXT + chunks * CHUNK)
    programs, seconds = {}, {}
    for cache in ("rolling", "window", "none"):
        rollout = dataclasses.replace(model, cache=cache).rollout
        program = jax.jit(lambda p, z, a, rollout=rollout: rollout(p, key, z, a, chunks))
        programs[cache], seconds[cache] = timing.compiled(program, params, context, actions)
    calls = {cache: lambda p=program: p(params, context, actions) for cache, program in programs.items()}
    difference = float(jnp.max(jnp.abs(calls["rolling"]() - calls["none"]())))
    times = {cache: 1e3 * t / chunks for cache, t in timing.alternate(calls, settings.repeats).items()}
    rolling = times["rolling"]

    def speedup(name, rival, words):
        against = f"{words}, {times[rival]:.3g} ms/chunk; {CONTEXT} latents of context, {shape}, {STEPS} steps"
        return Row(name, rolling, "ms/chunk", against, times[rival] / rolling, settings.repeats)

    yield speedup("cached_rollout_speedup", "none", "all latents at every step (limit: 3 times faster)")
    yield speedup("cached_rollout_over_window_speedup", "window", "the window run once a chunk")
    yield Row("cached_rollout_difference", difference, "max abs", f"limit {LIMIT:g}: the rollout without a cache")
    yield timing.compile_row("cached_rollout", seconds["rolling"])
    yield timing.compile_row("uncached_rollout", seconds["none"])


def _horizons(settings, model, params, shape):
    context, actions, _ = _film(CONTEXT)
    cache = jax.jit(model.prefill)(params, context, actions)
    next_chunk = jax.jit(model.next_chunk)
    noise, now = np.ones((1, CHUNK, *GRID), np.float32), np.zeros((1, CHUNK, len(SIZES)), np.int32)

    def play(chunks):
        chunk, state = None, cache
        for _ in range(chunks):
            chunk, state = next_chunk(params, noise, state, now)
        return chunk, state

    calls = {n: lambda n=n: play(n) for n in HORIZONS}
    times = {n: 1e3 * t / n for n, t in timing.alternate(calls, settings.repeats).items()}
    first = times[HORIZONS[0]]
    against = f"{first:.3g} ms over {HORIZONS[0]} chunks; chunk by chunk, {shape}, {STEPS} steps"
    for n in HORIZONS:
        name = f"cached_rollout_chunk_ms_at_{n}"
        yield Row(name, times[n], "ms/chunk", against, times[n] / first, settings.repeats)


def _film(latents):
    """Context latents, actions of everything, and a key."""
    rng = np.random.default_rng(0)
    context = rng.normal(size=(1, CONTEXT, *GRID)).astype(np.float32)
    actions = np.stack([rng.integers(0, size, (1, latents)) for size in SIZES], axis=-1).astype(np.int32)
    return context, actions, jax.random.key(0)


def _random_params(dit):
    """Noise on every leaf: a fresh model answers zero, and two ways of sampling it could not differ."""
    z, led_to = jnp.zeros((1, CHUNK, *GRID)), jnp.zeros((1, CHUNK, 1, len(SIZES)), jnp.int32)
    shapes = jax.eval_shape(lambda key: dit.init(key, z, jnp.zeros((1, 1)), led_to)["params"], jax.random.key(0))
    rng = np.random.default_rng(1)

    def fill(leaf):
        fan_in = np.prod(leaf.shape[:-1]) if leaf.ndim > 1 else 1
        return rng.normal(size=leaf.shape).astype(np.float32) / np.sqrt(fan_in).astype(np.float32)

    return jax.tree.map(fill, shapes)
