"""Does a small head know where a dream is wrong? Its calibration, and what it makes of what it was not trained on.

    python -m experiments.uncertainty --workdir=RUN [--arms=prowl,...] [--tasks=TASK,...] [--dreams=512]
                                      [--updates=1000] [--clips=128] [--head=FILE.npz] [--output=FILE]
    python -m experiments.uncertainty --weights=NAME|FILE [--tasks=TASK,...] ...

Writes: RUN/uncertainty.json, or --output, and the head beside it as .npz, or --head; experiments.play shows its map.
Costs: minutes on 2 cores; most of it are the --dreams that the head learns from.

A head (adversary.error_head) sees two neighbouring latents of a dream, the action and how old the dream is, and says
the error to expect of every patch. It is trained on dreams of training episodes by a proper score; beside it, on the
same clips, the ensemble whose disagreement is another answer (adversary.ensemble). Measured on held-out episodes, on
other tasks (--tasks) and on what the policies of --arms do under seeds that no arm had: how far the head's errors are
the real ones (a curve of calibration, coverage of the Laplace distribution that it says), what the score is against
always saying the mean error, Spearman's correlation of what is expected and what was, and how well head and ensemble
tell the other clips from the held-out ones (AUROC, 95 % by bootstrap over clips), beside the true error.
"""

import pathlib
import sys

from experiments.configs import quickstart
from experiments.run import finished_run
from experiments.run.command_line import UsageError
from experiments.run.places import read_stages
from experiments.stages.arms import ARMS
from experiments.stages.run_or_weights import asked_run, config_of_weights
from prowl_jax.envs.registry import ENVIRONMENTS

CLIPS, DREAMS, UPDATES = 128, 512, 1000
EPISODES, FRAMES, HELD_OUT = 64, 100, 0.25
"""Recorded for shipped weights: episodes, frames of each at least, share of them that is measured on."""


def main(argv):
    """Train, measure, print, write; returns the exit code."""
    options, config, _ = finished_run.parse_options(
        _parser(), argv, quickstart.get_config(), _check, unfinished=True, of_weights=config_of_weights
    )
    options.head = options.head or options.output.with_suffix(".npz")
    if options.weights:
        with config.unlocked():
            config.env.held_out_tasks = options.tasks
            config.demonstrations.held_out_task_episodes = EPISODES // 4

    def measured():
        from experiments.study.uncertainty import measure_uncertainty

        with asked_run(options, config, EPISODES, FRAMES, HELD_OUT) as run:
            return measure_uncertainty(run, options)

    def text(result):
        from experiments.study.uncertainty import table

        return table(result)

    return finished_run.measure_and_write(options, config, measured, text)


def _check(config, options):
    """UsageError of one line where a task or an arm is not there."""
    if options.weights:
        known = [name for name in ENVIRONMENTS[config.env.name].tasks or () if name != config.env.task]
    else:
        known = config.env.held_out_tasks
    options.tasks = tuple(known) if options.tasks is None and not options.weights else options.tasks or ()
    for task in options.tasks:
        if task not in known:
            raise UsageError(f"--tasks: {task!r} is not one of {', '.join(known) or 'none'}")
    if options.arms and options.weights:
        raise UsageError("--arms names arms of a run; name it with --workdir=RUN")
    done = read_stages(options.workdir) if options.arms else {}
    for arm in options.arms:
        if arm not in ARMS or f"phase2/{arm}" not in done:
            raise UsageError(f"--arms: the arm {arm} is not done in {options.workdir}")
    if config.autoencoder.kind == "wan":
        raise UsageError("autoencoder.kind=wan: the head takes a latent a frame")


def _parser():
    parser = finished_run.parser("uncertainty", __doc__, or_weights=True)
    names, count = finished_run.several(str), finished_run.count
    parser.add_argument("--arms", type=names, default=(), metavar="ARM,...", help="of the run, whose policies act")
    parser.add_argument("--tasks", type=names, metavar="TASK,...", help="other tasks (the run's held-out ones)")
    parser.add_argument("--dreams", type=count, default=DREAMS, metavar="N", help=f"to learn from ({DREAMS})")
    parser.add_argument("--updates", type=count, default=UPDATES, metavar="N", help=f"of the head ({UPDATES})")
    parser.add_argument("--clips", type=_two, default=CLIPS, metavar="N", help=f"of each set, at most ({CLIPS})")
    parser.add_argument("--head", type=pathlib.Path, metavar="FILE.npz", help="where the head goes")
    return parser


def _two(text):
    return finished_run.count(text, 2)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
