"""The ranking of a buffer that is rescored in part, beside that of one that is rescored as a whole."""

import dataclasses
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

from experiments.stages import build, phase2
from experiments.stages.passive_batches import passive_fetch
from prowl_jax.methods.base import predicting
from prowl_jax.pat import buffer as pat
from prowl_jax.pat.rescoring import Rescoring
from prowl_jax.train.state import make_optimizer

TURNS = 4


def measure_rescoring(run, arm, cycles, age, rows, top, learning_rate=0.0):
    """Yields a row of figures for each cycle.

    A row is (cycle, entries scored, entries, Spearman, top in both, Spearman if never renewed, time ratio).

    Args:
      run: a finished ``Run``. arm: whose checkpoint to go on from.
      cycles, age, rows, top, learning_rate: as in the command line.
    """
    config = run.config
    method, state, start = phase2.load_state(run, arm)
    settings, shared, budget, needs = method.config, method.shared, method.shared.budget, method.needs()
    if learning_rate:
        shared = dataclasses.replace(shared, optimizer=make_optimizer(learning_rate, 1, final=1.0))
    methods = {
        kind: type(method)(dataclasses.replace(settings, rescoring=Rescoring(kind, age, rows)), shared)
        for kind in ("due", "all")
    }
    tune, rescores = methods["due"].programs.fine_tune, {kind: m.programs.rescore for kind, m in methods.items()}
    fetch = passive_fetch(run, needs.rows, needs.length)
    key = build.stage_key(config, "rescore effect")
    theta, part, cycle = state.theta, state.buffer, state.cycle
    whole = jax.tree.map(jnp.copy, part)
    never = np.asarray(pat.scores(whole, settings.scoring))
    for i in range(cycles):
        batches = [fetch((int(cycle) + i) * budget.updates + j) for j in range(budget.updates)]
        passive = jax.tree.map(lambda *leaves: np.stack(leaves), *batches)
        theta, part, _ = tune(theta, start.fixed["dit"], part, passive, jax.random.fold_in(key, i), cycle + i)
        params = predicting(theta, start)
        now = cycle + i
        before, seconds = {"due": part, "all": whole}, {"due": [], "all": []}
        for _ in range(TURNS):
            for kind, rescore in rescores.items():
                buffer = jax.block_until_ready(jax.tree.map(jnp.copy, before[kind]))
                began = time.perf_counter()
                buffer = jax.block_until_ready(rescore(params, buffer, now))
                seconds[kind].append(time.perf_counter() - began)
                part, whole = (buffer, whole) if kind == "due" else (part, buffer)
        # The first turn of the first cycle compiles.
        times = {kind: statistics.median(taken[1:]) for kind, taken in seconds.items()}
        filled = np.asarray(part.filled)
        scores = [np.asarray(pat.scores(buffer, settings.scoring))[filled] for buffer in (part, whole)]
        yield (
            int(now),
            int(((np.asarray(part.scored) == int(now) + 1) & filled).sum()),
            int(filled.sum()),
            spearman(*scores),
            top_overlap(*scores, top),
            spearman(never[filled], scores[1]),
            times["due"] / times["all"],
        )


def spearman(a, b):
    """Spearman's rank correlation of two lists without ties, -1 to 1."""
    ranks = [np.argsort(np.argsort(x)) for x in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


def top_overlap(a, b, k):
    """Share of the ``k`` highest of ``a`` that are among the ``k`` highest of ``b``, 0 to 1."""
    k = min(k, len(a))
    return len(set(np.argsort(a)[-k:]) & set(np.argsort(b)[-k:])) / k
