"""Shipped weights: lists them, checks them, shows what they dream, and makes a file of them from a run.

    python -m experiments.zoo list
    python -m experiments.zoo check NAME|FILE
    python -m experiments.zoo picture NAME|FILE --output=FILE.webp [--frames=24]
    python -m experiments.zoo export --workdir=RUN --output=FILE.safetensors

Writes: the file and its card, FILE.json (``export``); the picture; ``list`` and ``check`` nothing.
Costs: seconds; a picture a minute or two.

A picture moves, real beside dreamt: of 32 clips of episodes that the model has never seen, recorded as its card says,
the four whose regret is nearest the median.

A file holds the world model (averaged parameters, half precision), and the reference policy and the inverse dynamics
model where the run has finished them. Of a run whose phase 1 is still going on, the last checkpoint is exported, and
the card says at which step.
"""

import argparse
import pathlib
import sys

from experiments.configs import quickstart
from experiments.run.command_line import Parser, print_result
from experiments.run.finished_run import count, read_config

EPISODES = 16
"""Recorded for a picture, each three times as long as it."""


def main(argv):
    """Do what is asked; returns the exit code."""
    parser = Parser("python -m experiments.zoo", __doc__)
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|check|picture|export")
    actions.add_parser("list", description="The shipped models.")
    check = actions.add_parser("check", description="Load a file whole, hold it against its card, print the card.")
    check.add_argument("name", help="a shipped model, or a .safetensors file")
    picture = actions.add_parser("picture", description="Held-out clips, real beside dreamt, as a moving picture.")
    picture.add_argument("name", help="a shipped model, or a .safetensors file")
    picture.add_argument("--output", required=True, type=_file(".webp"), metavar="FILE", help="the .webp file to write")
    picture.add_argument("--frames", type=count, default=24, metavar="N", help="predicted frames (24)")
    export = actions.add_parser("export", description="A file of weights, and its card, from a run.")
    export.add_argument("--workdir", required=True, type=pathlib.Path, metavar="RUN", help="a run directory")
    file = _file(".safetensors")
    export.add_argument("--output", required=True, type=file, metavar="FILE", help="the .safetensors file to write")
    flags = parser.parse_args(argv)

    return print_result(_act, flags)


def _act(flags):
    # What needs JAX is imported after the command line has been checked: a mistake is answered at once.
    if flags.action == "export":
        config = read_config(flags.workdir, quickstart.get_config(), unfinished=True)
    from experiments.stages import weights

    if flags.action == "export":
        return _with_quality(weights.export(config, flags.workdir, flags.output), flags.output)
    if flags.action == "picture":
        return _picture(flags)
    return _with_quality(weights.checked(flags.name), flags.name) if flags.action == "check" else weights.listed()


def _with_quality(words, name):
    """Behind the words of a model's card the table of ``dream_quality``, where the card has one."""
    from experiments.evaluation.quality_table import table
    from prowl_jax import zoo

    quality = zoo.read_card(name).get("dream_quality")
    try:
        return f"{words}\n\n{table(quality)}" if quality else words
    except (KeyError, TypeError, AttributeError):
        return f"{words}\n\nwhat its card says of the dreams' quality is not what experiments.dream_quality writes"


def _picture(flags):
    from experiments.report.first_look import draw
    from experiments.stages.card_run import config_of, recorded

    with recorded(config_of(flags.name, quickstart.get_config()), EPISODES, 3 * flags.frames) as run:
        figures = draw(run, flags.output, flags.frames)
    return (
        f"written: {flags.output}; {figures['frames']} frames of clips of regret {figures['shown_regret']:.3f}, "
        f"of all {figures['median_regret']:.3f} in the median"
    )


def _file(suffix):
    def file(text):
        path = pathlib.Path(text)
        if path.suffix != suffix or not path.parent.is_dir():
            raise argparse.ArgumentTypeError(f"{text!r} is no {suffix} file in a directory that is there")
        return path

    return file


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
