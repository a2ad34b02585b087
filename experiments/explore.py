"""Browse what a policy found and what became of it: the PAT buffer of a run as a gallery, with the run's curves.

    python -m experiments.explore --workdir=RUN [--host=127.0.0.1] [--port=0] [--no-browser]

Writes: nothing; RUN is only read, and may go on meanwhile.
Costs: dreaming each clip that is looked at, before and after; playing from one costs what experiments.play does.

Every clip of an arm's buffer is a card: real, the dream before phase 2, the dream now, and where that is wrong. They
are sorted by any raw score, filtered by action mode and cycle; one that is opened goes frame by frame, with its flow
and its actions, and can be played from, where the environment can be set to its state (docs/play.md).
"""

import pathlib
import sys

from experiments.live.flags import serve, server_flags
from experiments.run.command_line import Parser


def main(argv):
    """Serve until interrupted; returns the exit code."""
    parser = Parser("python -m experiments.explore", __doc__)
    parser.add_argument("--workdir", required=True, type=pathlib.Path, metavar="RUN", help="a run directory")
    server_flags(parser)
    options = parser.parse_args(argv)
    return serve("pages_of_explore", "serve_explore", options)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
