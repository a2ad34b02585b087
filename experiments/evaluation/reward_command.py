"""What the commands that look at rewards share: their flags, and the run or the weights that they are asked of."""

from experiments.run import finished_run
from experiments.stages.run_or_weights import asked_run, config_of_weights

CLIPS = 64
"""Looked at by default."""
EPISODES, FRAMES = 48, 100
"""Recorded for shipped weights: as many as the base models' data hold out, and of each what is enough for two clips."""


def run_command(argv, command, description, example, load):
    """The main of ``python -m experiments.COMMAND``: measure, print, write; returns the exit code.

    Args:
      example: a configuration with every key of this version's.
      load: imports, once the command line has been checked, what has ``measure(bench)``, a dict, and ``table(dict)``.
    """
    parser = finished_run.parser(command, description, or_weights=True)
    parser.add_argument("--clips", type=_at_least_two, default=CLIPS, metavar="N", help=f"held-out clips ({CLIPS})")
    parser.add_argument(
        "--frames", type=finished_run.count, metavar="N", help="dreamt after the context, in whole chunks"
    )
    options, config, _ = finished_run.parse_options(
        parser, argv, example, lambda config, options: None, unfinished=True, of_weights=config_of_weights
    )

    def measured():
        from experiments.evaluation.reward_bench import make_bench

        with asked_run(options, config, EPISODES, max(FRAMES, 2 * (options.frames or 0))) as run:
            return load().measure(make_bench(run, options.clips, options.frames, command))

    return finished_run.measure_and_write(options, config, measured, lambda result: load().table(result))


def _at_least_two(text):
    return finished_run.count(text, 2)
