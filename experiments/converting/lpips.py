"""The published weights of LPIPS as the safetensors file that a run reads, once:

    python -m experiments.convert lpips --trunk=alexnet-owt-7be5be79.pth --heads=alex.pth --output=DIR

writes ``DIR/lpips_alexnet.safetensors``, which ``metrics.lpips_weights`` names. ``--trunk`` is torchvision's
AlexNet or VGG-16, ``--heads`` the file of the same trunk in lpips/weights/v0.1 of richzhang/
PerceptualSimilarity. Torch files need the extra ``convert`` and go through torch's loader of nothing but
tensors; safetensors files of the same names will do as well.
"""

import pathlib

from experiments.converting.tensors import read_tensors
from experiments.run.config_file import UsageError


def add_flags(parser):
    """Give ``parser`` the flags of this conversion, and what does it with them."""
    parser.add_argument("--trunk", required=True, metavar="FILE", help="torchvision's AlexNet or VGG-16")
    parser.add_argument("--heads", required=True, metavar="FILE", help="alex.pth or vgg.pth of lpips/weights/v0.1")
    parser.add_argument("--output", required=True, metavar="DIR", help="where the safetensors file goes")
    parser.set_defaults(convert=lambda flags: convert(flags.trunk, flags.heads, flags.output))


def convert(trunk, heads, output):
    """Write ``output/lpips_<trunk>.safetensors``; returns a line that says what it holds.

    Raises:
      UsageError, ValueError, ImportError, OSError: one line that says what is wrong; nothing is written.
    """
    for flag, path in (("trunk", trunk), ("heads", heads)):
        if not pathlib.Path(path).is_file():
            raise UsageError(f"--{flag}={path}: no such file; docs/metrics.md says where it is published")
    # After the cheap mistakes, since it imports JAX.
    from prowl_jax.models.published import lpips_weights as library

    arrays = library.clean(read_tensors(trunk, "AlexNet's or VGG's") | read_tensors(heads, "LPIPS's"))
    target = pathlib.Path(output) / f"lpips_{library.trunk_of(arrays)}.safetensors"
    if target.exists():
        raise UsageError(f"{target} exists already; name another --output or remove it")
    library.save(target, arrays)
    millions = sum(array.size for array in arrays.values()) / 1e6
    return f"wrote {target}: {millions:.1f} M numbers"
