"""What an accelerator does with this code in a few minutes, and a base model of the voxel world trained on it.

    python -m experiments.accelerator_check --minutes=9 [--output=DIR] [--resume=FILE.safetensors]
                                            [--batch=N] [--rate=R] [--dtype=bfloat16] [--widths=48,96,128]

Writes: DIR/accelerator.json, anew after every part; DIR/voxel.safetensors every minute; DIR/contact_sheet.png.
Costs: --minutes of one device in all, compiling included; it ends before they are over.

Its parts, each with a deadline of its own; one that fails is noted, and the next begins:
  device       versions, and how many products of matrices a second, in float32 and bfloat16
  environment  steps of the voxel world a second, frames included, at several sizes of the batch
  training     the model of configs/base_voxel.py, on demonstrations that are made on the device and renewed. The
               rate rises, stays, and falls in the last fifth of the time that is left, whatever a step takes. The
               weights are on the disk 20 seconds before the end
  quality      on held-out clips, before and after: error beside that of repeating the last frame, PSNR, sharpness,
               exchanged actions; and a sheet of 8 clips, the real frames above the dreamt
--resume goes on from the averaged weights of such a file, its network being the one asked for.

Has not met an accelerator. First to go wrong there, probably: compiling (the environment and the step take minutes on
two CPU cores, and a GPU tries kernels out); the gather that moves the last frame, and products too small to fill the
device, which leave most of its rate unused; then memory, where many environments draw at once. Less of each:
--dtype=float32, a smaller --batch. It trains on the first device only.
"""

import argparse
import pathlib
import sys
import time

from experiments.run import interruption
from experiments.run.command_line import Parser, UsageError, fail
from experiments.run.finished_run import count


def main(argv, now=time.monotonic):
    """Run the parts; returns the exit code, 1 where one of them failed. ``now`` is the clock, in seconds."""
    began = now()
    options = _parser().parse_args(argv)
    try:
        options.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fail(f"--output={options.output}: {error.strerror}")
    # JAX is imported after the command line has been checked: a mistake is answered at once.
    with interruption.importing():
        from experiments.benchmarks import accelerator
        from prowl_jax.train.compilation_cache import enable_compilation_cache
    enable_compilation_cache()
    try:
        return accelerator.check(options, accelerator.Clock(60.0 * options.minutes, now, began))
    except UsageError as error:
        fail(error)
    except KeyboardInterrupt:
        print(f"interrupted; what was measured is in {options.output}", file=sys.stderr)
        return 130


def _positive(text):
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def _parser():
    parser = Parser("python -m experiments.accelerator_check", __doc__)
    parser.add_argument("--minutes", type=_positive, required=True, metavar="M", help="from start to end")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("accelerator"), metavar="DIR")
    parser.add_argument("--resume", metavar="FILE", help="weights to go on from, or the name of shipped ones")
    parser.add_argument("--batch", type=count, metavar="N", help="frames predicted a step (256; on a CPU 8)")
    parser.add_argument("--rate", type=_positive, metavar="R", help="the highest (1e-3; on a CPU the configuration's)")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), help="of products (bfloat16; on a CPU float32)")
    parser.add_argument("--widths", type=lambda text: tuple(map(count, text.split(","))), metavar="N,...")
    parser.add_argument("--tiny", action="store_true", help="as small as it goes: to try the command")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
