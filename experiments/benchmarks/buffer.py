"""The PAT buffer: its functions beside the same ones in numpy on the host, its memory, its rescoring.

Items are trajectories of the quick start (206 KB each; --quick: an eighth of them in each direction).
Without --quick the largest buffer and its rival take 7 GB together. Every insertion offers 32 trajectories that all
enter a full buffer; a draw is of 16 slots.
"""

import dataclasses
import itertools
import time

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks import timing
from experiments.benchmarks.timing import Row
from experiments.configs import quickstart
from experiments.stages import build
from prowl_jax.methods.base import Start
from prowl_jax.methods.prowl import Prowl
from prowl_jax.pat import buffer as pat
from prowl_jax.pat.priority import Priority
from prowl_jax.train.world_model import split_trainable
from prowl_jax.types import Batch, Trajectory

CAPACITIES = (256, 1024, 4096, 16384)
OFFERED, DRAWN, CALLS = 32, 16, 200
SCORING, PRIORITY = pat.Scoring(), Priority("rank", temperature=1.0, staleness=0.3)

insert = jax.jit(pat.insert, donate_argnames="buffer", static_argnames="scoring")
sample = jax.jit(pat.sample, donate_argnames="buffer", static_argnames=("n", "scoring", "priority"))


def rows(settings):
    """Rows ``pat_...`` for the four capacities, and ``rescore_share_of_cycle``."""
    item = example_item(8 if settings.quick else 1)
    for capacity in CAPACITIES:
        yield from _functions(settings, item, capacity)
    yield from _rescoring(settings)


def example_item(smaller=1):
    """Shapes of a quick start's trajectory, its frames and latents ``smaller`` times smaller a side."""
    item = build.make_shared(quickstart.get_config("scratch")).example_clip

    def shrink(x):
        grid = x.ndim == 4
        shape = (x.shape[0], *(-(-n // smaller) for n in x.shape[1:3]), x.shape[3]) if grid else x.shape
        return jax.ShapeDtypeStruct(shape, x.dtype)

    return jax.tree.map(shrink, item)


def _functions(settings, item, capacity):
    suffix = "" if capacity == CAPACITIES[0] else f"_at_{capacity}"
    device, host = DeviceBuffer(item, capacity), HostBuffer(item, capacity)
    for name, words in (("insert", f"insert {OFFERED}"), ("sample", f"draw {DRAWN}")):
        calls = {"device": getattr(device, name), "host": getattr(host, name)}
        times = timing.alternate(calls, settings.repeats)
        ms = {where: 1e3 * seconds for where, seconds in times.items()}
        against = f"{words} of {capacity:,}: numpy on the host {ms['host']:.3g} ms"
        yield Row(f"pat_{name}_ms{suffix}", ms["device"], "ms", against, ms["device"] / ms["host"], settings.repeats)
    memory = device.memory
    computed = pat.nbytes(item, capacity)
    against = (
        f"computed {computed:,}; the compiler's account of a donated insertion, which needs "
        f"{memory.temp_size_in_bytes:,} bytes beside it"
    )
    yield Row(
        f"pat_bytes_at_{capacity}", memory.alias_size_in_bytes, "bytes", against, memory.alias_size_in_bytes / computed
    )


class DeviceBuffer:
    """A full buffer of ``prowl_jax``, donated from call to call."""

    def __init__(self, item, capacity):
        empty = pat.init(item, capacity)
        regret = jnp.asarray(np.random.default_rng(0).uniform(size=capacity), jnp.float32)
        filled = jnp.ones(capacity, bool)
        raw, previous = {**empty.raw, "regret": regret}, {"regret": jnp.copy(regret)}
        self.buffer = dataclasses.replace(empty, raw=raw, previous=previous, filled=filled)
        self.items = jax.tree.map(lambda x: jnp.ones((OFFERED, *x.shape), x.dtype), item)
        self.valid, self.afs = jnp.ones(OFFERED, bool), jnp.zeros(OFFERED)
        # Made beforehand, so that a call is the program's alone: regrets from bad to worse, and keys.
        self.regrets = iter([jnp.full(OFFERED, float(i + 1)) for i in range(CALLS)])
        self.draws = iter([(key, jnp.int32(i)) for i, key in enumerate(jax.random.split(jax.random.key(0), CALLS))])
        self.now = jnp.int32(0)
        shapes = jax.eval_shape(lambda: (self.buffer, self.items, self._raw(self.afs), self.valid, jnp.int32(0)))
        self.insertion = insert.lower(*shapes, SCORING).compile()
        self.memory = self.insertion.memory_analysis()
        key = jax.eval_shape(lambda: jax.random.key(0))
        self.draw = sample.lower(shapes[0], key, DRAWN, shapes[-1], SCORING, PRIORITY).compile()

    def _raw(self, regret):
        return {"regret": regret, "afs": self.afs}

    def insert(self):
        """Ever worse trajectories: all enter."""
        raw = self._raw(next(self.regrets))
        self.buffer = self.insertion(self.buffer, self.items, raw, self.valid, self.now)
        return self.buffer

    def sample(self):
        """One draw."""
        self.buffer, slots = self.draw(self.buffer, *next(self.draws))
        return slots


class HostBuffer:
    """The same in numpy: what a buffer on the host would do."""

    def __init__(self, item, capacity):
        rng = self.rng = np.random.default_rng(0)
        self.items = [np.ones((capacity, *x.shape), x.dtype) for x in jax.tree.leaves(item)]
        self.new = [np.ones((OFFERED, *x.shape), x.dtype) for x in jax.tree.leaves(item)]
        self.regret = rng.uniform(size=capacity).astype(np.float32)
        self.previous, self.afs = self.regret.copy(), np.zeros(capacity, np.float32)
        self.last_sampled = np.zeros(capacity, np.int32)
        self.calls = itertools.count(1)

    def _scores(self, regret, afs, previous):
        mean = np.array([self.regret.mean(), self.afs.mean()])
        std = np.array([self.regret.std(), self.afs.std()])
        std[std < SCORING.epsilon] = 1.0
        return (regret - mean[0]) / std[0] + dict(SCORING.weights)["afs"] * (afs - mean[1]) / std[1] + regret - previous

    def insert(self):
        """The lowest scores leave; here all that is offered enters."""
        regret, afs = np.full(OFFERED, next(self.calls), np.float32), np.zeros(OFFERED, np.float32)
        old, new = self._scores(self.regret, self.afs, self.previous), self._scores(regret, afs, regret)
        lowest = np.argpartition(np.concatenate([old, new]), OFFERED)[:OFFERED]
        slots, kept = lowest[lowest < len(old)], np.setdiff1d(np.arange(OFFERED), lowest - len(old))
        for store, rows in zip(self.items, self.new, strict=True):
            store[slots] = rows[kept]
        self.regret[slots] = self.previous[slots] = regret[kept]
        self.afs[slots], self.last_sampled[slots] = afs[kept], 0

    def sample(self):
        """One draw from the mixture of rank and staleness."""
        now = next(self.calls)
        scores = self._scores(self.regret, self.afs, self.previous)
        ranks = np.empty(len(scores))
        ranks[np.argsort(-scores)] = np.arange(1, len(scores) + 1)
        by_score, age = ranks ** (-1 / PRIORITY.temperature), np.maximum(now - self.last_sampled, 0)
        by_age = age / age.sum() if age.any() else 1 / len(age)
        p = (1 - PRIORITY.staleness) * by_score / by_score.sum() + PRIORITY.staleness * by_age
        slots = self.rng.choice(len(p), DRAWN, p=p / p.sum())
        self.last_sampled[slots] = now
        return slots


def _rescoring(settings):
    if settings.quick:
        for name in ("pat_rescore_ms", "rescore_share_of_cycle", "pat_rescore_batched_speedup"):
            yield Row.not_run(name, "--quick: compiling a cycle takes most of a minute")
        return
    config = quickstart.get_config("scratch")
    cycle = Cycle(config)
    cycle()  # compiles
    seconds = {"cycle": [], "rescore": []}
    for _ in range(settings.repeats):
        whole, part = cycle()
        seconds["cycle"].append(whole)
        seconds["rescore"].append(part)
    total, part = np.median(seconds["cycle"]), np.median(seconds["rescore"])
    p = config.phase2
    what = f"{p.capacity} entries, {p.trajectories} trajectories, {p.updates} updates of {p.batch}"
    against = f"a cycle but for acting, {1e3 * total:.4g} ms; {config.name}: {what}"
    yield Row("pat_rescore_ms", 1e3 * part, "ms", against, part / total, settings.repeats)
    yield Row("rescore_share_of_cycle", part / total, "share", against, part / total, settings.repeats)
    shared = cycle.method.shared
    one_row = dataclasses.replace(shared, budget=dataclasses.replace(shared.budget, score_batch=1))
    one_by_one = Prowl(cycle.method.config, one_row).programs.rescore
    buffers = {"batched": cycle.copy_of_buffer(), "one": cycle.copy_of_buffer()}
    programs = {"batched": cycle.rescore, "one": one_by_one}

    def call(name):
        buffers[name] = programs[name](cycle.params(), buffers[name], jnp.int32(0))
        return buffers[name].raw

    times = timing.alternate({name: lambda name=name: call(name) for name in programs}, settings.repeats)
    batch = shared.budget.score_batch
    against = (
        f"one entry at a time, {1e3 * times['one']:.4g} ms; {batch} at a time; {config.name}: {p.capacity} entries"
    )
    gain = times["one"] / times["batched"]
    yield Row("pat_rescore_batched_speedup", 1e3 * times["batched"], "ms", against, gain, settings.repeats)


class Cycle:
    """PROWL's cycle in a configuration, but for acting, on random weights and a full buffer."""

    def __init__(self, config):
        rng = np.random.default_rng(0)
        self.method = Prowl(build.prowl_settings(config), build.make_shared(config))
        shared, p = self.method.shared, config.phase2
        budget, frame, key = shared.budget, shared.frame_shape, jax.random.key(0)
        world = timing.random_like(jax.eval_shape(lambda: shared.world_model.init(key, frame, budget.window)))
        reference = timing.random_like(jax.eval_shape(lambda: shared.policy.init(key, frame)))
        trained, frozen = split_trainable(shared.world_model, world["dit"])
        self.start = Start(trained, {**world, "dit": frozen}, reference)
        state = self.method.init(self.start, key)
        filled = jnp.ones(p.capacity, bool)
        self.state = dataclasses.replace(state, buffer=dataclasses.replace(state.buffer, filled=filled))
        item = shared.example_clip
        shape = (p.trajectories, item.actions.shape[0])
        frames = rng.integers(0, 256, (p.trajectories, *item.frames.shape), np.uint8)
        zeros = np.zeros(shape, np.float32)
        actions = np.zeros((*shape, item.actions.shape[1]), np.int32)
        rows = self.method.needs().rows
        latents = rng.normal(size=(budget.updates, rows, budget.window, *item.latents.shape[1:])).astype(np.float32)
        self.trajectory, self.passive = jax.device_put((
            Trajectory(frames, actions, zeros > 0, zeros - 5.0, zeros, np.ones(len(zeros), bool)),
            Batch(latents, np.zeros((*latents.shape[:3], actions.shape[-1]), np.int32)),
        ))  # fmt: skip
        self.rescore = self.method.programs.rescore
        self.method.programs = dataclasses.replace(self.method.programs, rescore=self._timed)

    def _timed(self, *arguments):
        jax.block_until_ready(arguments)
        began = time.perf_counter()
        buffer = jax.block_until_ready(self.rescore(*arguments))
        self.rescoring_took = time.perf_counter() - began
        return buffer

    def __call__(self):
        """(seconds of a cycle without acting, seconds of the rescoring in it)."""
        began = time.perf_counter()
        key = jax.random.key(0)
        state, learned = self.method.update_policy(self.state, self.start, self.trajectory, key)
        self.state, trained = self.method.update_world_model(state, self.start, self.passive, key)
        jax.block_until_ready((self.state, learned, trained))
        return time.perf_counter() - began, self.rescoring_took

    def params(self):
        """The whole world model's, as it is now."""
        return self.method.world_model_params(self.state, self.start)

    def copy_of_buffer(self):
        """To be donated elsewhere."""
        return jax.tree.map(jnp.copy, self.state.buffer)

