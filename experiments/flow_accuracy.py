"""How exact the optical flows are, and how fast: on pictures whose motion is known.

    python -m experiments.flow_accuracy [--weights=sea_raft_S.safetensors] [--height=48 --width=64] [--seed=0]

Writes: nothing.
Costs: seconds for the small flow; with SEA-RAFT's weights minutes, most of them compiling.

It prints the mean end-point error in pixels of the small flow, of SEA-RAFT and of OpenCV's dense inverse
search (DIS, preset medium), for translations and rotations, over the pixels that stay in the picture,
and milliseconds a pair. A picture is a sum of waves, so the moved one is exact at every pixel; both are
rounded to 8 bits. SEA-RAFT is measured with its published weights or not at all.
"""

import sys

from experiments.evaluation.flow_accuracy import table
from experiments.run.command_line import Parser, fail


def main(argv):
    """Print the table; returns the exit code."""
    parser = Parser(prog="python -m experiments.flow_accuracy", description=__doc__.splitlines()[0])
    parser.add_argument("--weights", metavar="FILE", help="SEA-RAFT's, from python -m experiments.convert sea_raft")
    parser.add_argument("--height", type=int, default=48, help="of a picture, even")
    parser.add_argument("--width", type=int, default=64, help="of a picture, even")
    parser.add_argument("--seed", type=int, default=0, help="of the pictures")
    options = parser.parse_args(argv)
    for name in ("height", "width"):
        value = getattr(options, name)
        if value % 2 or not 32 <= value <= 2048:
            fail(f"--{name}={value} is not an even number within 32..2048")
    if options.seed < 0:
        fail(f"--seed={options.seed} is negative")
    try:
        print(table(options.height, options.width, options.seed, options.weights))
    except (ValueError, ImportError, OSError) as error:
        fail(error)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
