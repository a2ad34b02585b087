"""A static folder in which a world model dreams in its visitor's browser, for a project's page.

    python -m experiments.export_web --output=DIR [--weights=voxel] [--runtime=DIR]

Writes: DIR, 20 MB for the shipped base model, 14 of them ONNX Runtime.
Costs: half a minute, most of it compiling the environment; needs the extra `web`, and npm unless --runtime is given.

The dream alone runs there, from a few stored places, with the keys of `experiments.play`; nothing is asked of a server
but these files (docs/play.md says how to serve them). --runtime names an unpacked npm package onnxruntime-web; without
it npm fetches one.
"""

import pathlib
import sys

from experiments.run.command_line import Parser, fail
from experiments.run.config_file import UsageError


def main(argv):
    """Write the folder; returns the exit code."""
    parser = Parser("python -m experiments.export_web", __doc__)
    parser.add_argument("--output", required=True, metavar="DIR", help="the folder to write")
    parser.add_argument("--weights", default="voxel", metavar="NAME|FILE", help="shipped, or a file of them (voxel)")
    parser.add_argument("--runtime", type=pathlib.Path, metavar="DIR", help="an unpacked npm package onnxruntime-web")
    options = parser.parse_args(argv)
    try:
        # What needs JAX is imported after the command line has been checked: a mistake is answered at once.
        from experiments.live.web.folder import export

        print(export(options))
    except ModuleNotFoundError as error:
        if error.name != "onnx":
            raise
        fail("onnx is not installed: pip install '.[web]'")
    except (UsageError, OSError) as error:
        fail(error)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
