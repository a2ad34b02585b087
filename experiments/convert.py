"""Published weights (VPT, SEA-RAFT, LPIPS) as the safetensors file that a run reads, once.

    python -m experiments.convert vpt|sea_raft|lpips --output=DIR ...

Writes: one safetensors file in --output, arrays under their published names.
Costs: seconds; a file of torch tensors needs the extra ``convert``.

``python -m experiments.convert KIND --help`` says which published files a kind wants.
"""

import sys

from experiments.converting import lpips, sea_raft, vpt
from experiments.run.command_line import Parser, print_result

KINDS = {"vpt": vpt, "sea_raft": sea_raft, "lpips": lpips}


def main(argv):
    """Convert; returns the exit code."""
    parser = Parser("python -m experiments.convert", __doc__)
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="|".join(KINDS))
    for name, module in KINDS.items():
        module.add_flags(kinds.add_parser(name, description=module.__doc__))
    flags = parser.parse_args(argv)
    return print_result(flags.convert, flags)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
