"""What it does to the ranking of the buffer to rescore a part of it.

    python -m experiments.rescore_effect --workdir=RUN [--arm=prowl] [--cycles=8] [--age=4] [--rows=0] [--top=16]
                                         [--learning-rate=1e-3]

Writes: nothing; RUN is only read.
Costs: the training of --cycles cycles, and four times their rescoring in both ways.

It goes on from the last cycle of a finished run, without collecting: the world model learns from the
demonstrations and the buffer, whose scores are renewed as ``phase2.rescore="due"`` does. After each
cycle everything is scored under the same parameters beside it, as ``"all"`` would, and the two
rankings by composite score are compared: Spearman's correlation and the share of the first TOP entries
that both have; beside it Spearman's of the ranking that is never renewed, which says how much there was to lose.
The last column is the time of the partial rescoring over the full one's, the two in turns.
At the end of a run the learning rate has fallen, and little changes; ``--learning-rate`` sets a constant one.
"""

import pathlib
import statistics
import sys


def main(argv):
    """Print the table; returns the exit code."""
    from experiments.run import command_line

    options = _parse(argv, command_line.fail)
    path = pathlib.Path(options.workdir, "config.json")
    if not path.exists():
        command_line.fail(f"--workdir: {options.workdir} holds no run; name the directory of a finished one")
    from experiments.evaluation.rescore_effect import measure_rescoring
    from experiments.run.directory import Run
    from experiments.run.places import read_config

    run = Run(options.workdir, read_config(options.workdir))
    if f"phase2/{options.arm}" not in run.stages():
        command_line.fail(f"--arm: {options.workdir} has not finished phase2/{options.arm}")
    print("cycle  scored  of  spearman  top in both  never renewed  time over all's")
    rows = []
    chosen = (options.arm, options.cycles, options.age, options.rows, options.top, options.learning_rate)
    for row in measure_rescoring(run, *chosen):
        rows.append(row)
        print("{:5}  {:6}  {:2}  {:8.3f}  {:11.2f}  {:13.3f}  {:15.2f}".format(*row), flush=True)
    print(
        "median{:7.0f}      {:8.3f}  {:11.2f}  {:13.3f}  {:15.2f}".format(*(_medians(rows, i) for i in (1, 3, 4, 5, 6)))
    )
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
    parser.add_argument("--learning-rate", type=float, default=0.0, help="constant; 0: what the run's schedule ends at")
    options = parser.parse_args(argv)
    for name in ("cycles", "age", "rows", "top", "learning_rate"):
        if not getattr(options, name) >= (name in ("cycles", "top")):
            fail(f"--{name.replace('_', '-')}={getattr(options, name)} is too small")
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
