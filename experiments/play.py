"""Play the real world and the world model's dream side by side, with the same keys, on a page in the browser.

    python -m experiments.play [--weights=voxel | --workdir=RUN [--arm=ARM[,ARM]]] [--task=TASK] [--finds=DIR]
                               [--plays=DIR] [--head=FILE.npz] [--host=127.0.0.1] [--port=0] [--no-browser]
                               [--reel=FILE.webp | --yardstick=FILE.json | --speed]

Writes: what --finds, --plays, --reel and --yardstick name, else nothing.
Costs: the first picture comes after some ten seconds of compiling; then a core, as long as somebody plays.

Without arguments the shipped base model dreams. With --workdir=RUN it is the world model of a run, which is only read,
and may go on; --arm names whose: the first is played, the others may stand beside it. --finds keeps the seconds in
which a person fooled the model, as phase2.include takes them in; --plays keeps all that is done in the real world, as
demonstrations.play takes it in. --head is what experiments.uncertainty wrote of this world model: the error map can
then show what is expected in the place of what is seen. docs/play.md says what the page shows. The server listens on
this machine alone unless --host says otherwise.
"""

import argparse
import pathlib
import sys

from experiments.live.flags import serve, server_flags
from experiments.run.command_line import Parser, fail
from experiments.run.finished_run import several


def main(argv):
    """Serve until interrupted; returns the exit code."""
    options = _parser().parse_args(argv)
    if options.workdir is None and options.arm:
        fail("--arm names arms of a run; name it with --workdir=RUN")
    return serve("pages_of_play", "serve_play", options)


def _parser():
    parser = Parser("python -m experiments.play", __doc__)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--weights", default="voxel", metavar="NAME|FILE", help="shipped, or a file of them (voxel)")
    what.add_argument("--workdir", type=pathlib.Path, metavar="RUN", help="a run directory")
    parser.add_argument("--arm", type=several(str), default=(), metavar="ARM,...", help="of the run (phase1)")
    parser.add_argument("--task", metavar="TASK", help="another one of the same environment")
    parser.add_argument("--finds", type=pathlib.Path, metavar="DIR", help="folder for what is found, made if need be")
    parser.add_argument("--plays", type=pathlib.Path, metavar="DIR", help="folder for what is done, made if need be")
    parser.add_argument("--head", type=pathlib.Path, metavar="FILE.npz", help="that says where the dream is wrong")
    parser.add_argument("--reel", type=_file, metavar="FILE.webp", help="write a moving picture of both, and end")
    parser.add_argument("--yardstick", type=_file, metavar="FILE.json", help="measure what scores a hunt, and end")
    parser.add_argument("--speed", action="store_true", help="measure how fast playing is here, and end")
    server_flags(parser)
    return parser


def _file(text):
    path = pathlib.Path(text)
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no directory {path.parent}")
    return path


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
