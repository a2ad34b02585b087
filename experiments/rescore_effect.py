"""What it does to the ranking of the buffer to rescore a part of it:

    python -m experiments.rescore_effect --workdir=RUN [--arm=prowl] [--cycles=8] [--age=4] [--rows=0] [--top=16] [--learning_rate=1e-3]

goes on from the last cycle of a finished run, without collecting: the world model learns from the
demonstrations and the buffer, whose scores are renewed as ``phase2.rescore="due"`` does. After each
cycle everything is scored under the same parameters beside it, as ``"all"`` would, and the two
rankings by composite score are compared: Spearman's correlation and the share of the first TOP entries
that both have; beside it Spearman's of the ranking that is never renewed, which says how much there was to lose.
The last column is the time of the partial rescoring over the full one's, the two in turns. RUN is only read.
At the end of a run the learning rate has fallen, and little changes; ``--learning_rate`` sets a constant one.
"""

import dataclasses
import json
import pathlib
import statistics
import sys
import time

TURNS = 4


def main(argv):
    """Print the table; returns the exit code."""
    from experiments.run import command_line

    options = _parse(argv, command_line.fail)
    path = pathlib.Path(options.workdir, "config.json")
    if not path.exists():
        command_line.fail(f"--workdir: {options.workdir} holds no run; name the directory of a finished one")
    from ml_collections import ConfigDict

    from experiments.run.directory import Run

    run = Run(options.workdir, ConfigDict(json.loads(path.read_text())))
    if f"phase2/{options.arm}" not in run.stages():
        command_line.fail(f"--arm: {options.workdir} has not finished phase2/{options.arm}")
    print("cycle  scored  of  spearman  top in both  never renewed  time over all's")
    rows = []
    chosen = (options.arm, options.cycles, options.age, options.rows, options.top, options.learning_rate)
    for row in measure_rescoring(run, *chosen):
        rows.append(row)
        print("{:5}  {:6}  {:2}  {:8.3f}  {:11.2f}  {:13.3f}  {:15.2f}".format(*row), flush=True)
    print("median{:7.0f}      {:8.3f}  {:11.2f}  {:13.3f}  {:15.2f}".format(*(_medians(rows, i) for i in (1, 3, 4, 5, 6))))
    return 0


def _medians(rows, column):
    return statistics.median(row[column] for row in rows)


def _parse(argv, fail):
    from experiments.run.command_line import Parser

    parser = Parser("python -m experiments.rescore_effect", __doc__)
    parser.add_argument("--workdir", required=True, help="a finished run")
    parser.add_argument("--arm", default="prowl", help="whose buffer: prowl or frozen_reference")
    for name, default, words in (
        ("cycles", 8, "cycles to go on for"),
        ("age", 4, "due: scores older than so many cycles"),
        ("rows", 0, "due: at most so many entries a cycle; 0: no bound"),
        ("top", 16, "entries at the top of the ranking"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=words)
    parser.add_argument("--learning_rate", type=float, default=0.0, help="constant; 0: what the run's schedule ends at")
    options = parser.parse_args(argv)
    for name in ("cycles", "age", "rows", "top", "learning_rate"):
        if not getattr(options, name) >= (name in ("cycles", "top")):
            fail(f"--{name}={getattr(options, name)} is too small")
    return options


def measure_rescoring(run, arm, cycles, age, rows, top, learning_rate=0.0):
    """Yields (cycle, entries scored, entries, Spearman, top in both, Spearman if never renewed, time ratio) for each cycle.

    Args:
      run: a finished ``Run``. arm: whose checkpoint to go on from.
      cycles, age, rows, top, learning_rate: as in the command line.
    """
    import jax
    import jax.numpy as jnp
    import numpy as np

    from experiments.stages import build, phase2
    from experiments.stages.passive_batches import passive_fetch
    from prowl_jax.pat import buffer as pat
    from prowl_jax.pat.rescoring import Rescoring
    from prowl_jax.train import curriculum as loop
    from prowl_jax.train.state import make_optimizer

    config = run.config
    settings = build.make_curriculum(config)
    model, optimizer = build.make_world_model(config), phase2.tuner(config)
    if learning_rate:
        optimizer = make_optimizer(learning_rate, 1, final=1.0)
    state, fixed = phase2.load_state(run, arm)
    tune = loop.make_fine_tune(model, optimizer, build.make_forcing(config), settings)
    rescores = {
        kind: loop.make_rescore(model, dataclasses.replace(settings, rescoring=Rescoring(kind, age, rows)))
        for kind in ("due", "all")
    }
    fetch = passive_fetch(run, settings.passive_rows, settings.window)
    key = build.stage_key(config, "rescore effect")
    theta, part, cycle = state.theta, state.buffer, state.cycle
    whole = jax.tree.map(jnp.copy, part)
    never = np.asarray(pat.scores(whole, settings.scoring))
    for i in range(cycles):
        batches = [fetch((int(cycle) + i) * settings.updates + j) for j in range(settings.updates)]
        passive = jax.tree.map(lambda *leaves: np.stack(leaves), *batches)
        theta, part, _ = tune(theta, fixed["dit"], part, passive, jax.random.fold_in(key, i), cycle + i)
        params = loop.predicting(theta, fixed)
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
    import numpy as np

    ranks = [np.argsort(np.argsort(x)) for x in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


def top_overlap(a, b, k):
    """Share of the ``k`` highest of ``a`` that are among the ``k`` highest of ``b``, 0 to 1."""
    import numpy as np

    k = min(k, len(a))
    return len(set(np.argsort(a)[-k:]) & set(np.argsort(b)[-k:])) / k


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
