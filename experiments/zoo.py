"""Shipped weights: lists them, checks them, and makes a file of them from a run.

    python -m experiments.zoo list
    python -m experiments.zoo check NAME|FILE
    python -m experiments.zoo export --workdir=RUN --output=FILE.safetensors

Writes: the file and its card, FILE.json (``export``); ``list`` and ``check`` nothing.
Costs: seconds.

A file holds the world model (averaged parameters, half precision), and the reference policy and the inverse dynamics
model where the run has trained them. Of a run whose phase 1 is still going on, the last checkpoint is exported, and the
card says at which step.
"""

import argparse
import pathlib
import sys

from experiments.configs import quickstart
from experiments.run.command_line import Parser, print_result
from experiments.run.finished_run import read_config


def main(argv):
    """Do what is asked; returns the exit code."""
    parser = Parser("python -m experiments.zoo", __doc__)
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|check|export")
    actions.add_parser("list", description="The shipped models.")
    check = actions.add_parser("check", description="Load a file whole, hold it against its card, print the card.")
    check.add_argument("name", help="a shipped model, or a .safetensors file")
    export = actions.add_parser("export", description="A file of weights, and its card, from a run.")
    export.add_argument("--workdir", required=True, type=pathlib.Path, metavar="RUN", help="a run directory")
    export.add_argument("--output", required=True, type=_file, metavar="FILE", help="the .safetensors file to write")
    flags = parser.parse_args(argv)

    return print_result(_act, flags)


def _act(flags):
    # What needs JAX is imported after the command line has been checked: a mistake is answered at once.
    if flags.action == "export":
        config = read_config(flags.workdir, quickstart.get_config(), unfinished=True)
    from experiments.stages import weights

    if flags.action == "export":
        return weights.export(config, flags.workdir, flags.output)
    return weights.checked(flags.name) if flags.action == "check" else weights.listed()


def _file(text):
    path = pathlib.Path(text)
    if path.suffix != ".safetensors" or not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is no .safetensors file in a directory that is there")
    return path


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
