"""Memory per device of a training step, as the compiler counts it, for named sizes on several meshes.

    python -m experiments.memory_per_device [--sizes S B ...] [--phases 1 2] [--meshes 1x1 8x1 ...] [--placement-only]

Writes: nothing; a markdown table is printed.
Costs: up to a minute a row on one core, and no device; with --placement-only next to nothing.

Lowers and compiles the steps of phase 1 and phase 2 for pretended devices, from shapes and their
placement alone: nothing is allocated, and any size fits on any machine. A step is compiled at two
small depths and the figures are continued to the depth of the size, as every block adds the same.
One clip per device, float32; the compiler is that of the CPU, so what a step needs beside its
state on a GPU or TPU will differ.
"""

import sys

import jax

from experiments.planning.memory_per_device import row
from experiments.run.command_line import Parser
from prowl_jax.models.dit.sizes import DIT_SIZES

MESHES = ("1x1", "8x1", "1x8", "2x4")


def main(argv):
    """Print one row for every size, phase and mesh; returns the exit code."""
    options = _options(argv)
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", 8)
    print("| size | phase | parameters | trained | mesh data x fsdp | state, MB | inputs, MB | temporary, MB |")
    print("|---" * 8 + "|")
    for size in options.sizes:
        for phase in options.phases:
            for mesh in options.meshes:
                print(row(size, phase, mesh, options.latents, not options.placement_only), flush=True)
    return 0


def _options(argv):
    parser = Parser("python -m experiments.memory_per_device", __doc__)
    parser.add_argument("--sizes", nargs="+", default=["S", "B", "L", "XL", "wan1.3b"], choices=DIT_SIZES)
    parser.add_argument("--meshes", nargs="+", default=MESHES, choices=MESHES, help="data x fsdp")
    parser.add_argument("--phases", nargs="+", type=int, default=[1, 2], choices=[1, 2])
    parser.add_argument("--placement-only", action="store_true", help="compile nothing: no temporary memory")
    parser.add_argument("--latents", nargs=3, type=int, default=[21, 16, 28], metavar=("L", "h", "w"))
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
