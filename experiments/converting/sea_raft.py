"""Princeton's published SEA-RAFT weights as the safetensors file that a run reads, once:

    python -m experiments.convert sea_raft --size=S --weights=model.safetensors --output=DIR

writes ``DIR/sea_raft_S.safetensors``, which ``metrics.flow_weights`` names. ``--weights`` is a safetensors
file, or a torch checkpoint (.pth), which needs the extra ``convert`` and goes through torch's loader of
nothing but tensors. ``--size`` says how many iterations are run: L is M's file, run longer.
"""

import pathlib

from experiments.converting.tensors import read_tensors
from experiments.run.config_file import UsageError


def add_flags(parser):
    """Give ``parser`` the flags of this conversion, and what does it with them."""
    parser.add_argument("--size", required=True, choices=("S", "M", "L"), help="S, M, or L: M with more iterations")
    parser.add_argument("--weights", required=True, metavar="FILE", help="model.safetensors or a .pth file")
    parser.add_argument("--output", required=True, metavar="DIR", help="where the safetensors file goes")
    parser.set_defaults(convert=lambda flags: convert(flags.weights, flags.size, flags.output))


def convert(weights, size, output):
    """Write ``output/sea_raft_<size>.safetensors``; returns a line that says what it holds.

    Raises:
      UsageError, ValueError, ImportError, OSError: one line that says what is wrong; nothing is written.
    """
    if not pathlib.Path(weights).is_file():
        raise UsageError(f"--weights={weights}: no such file; the README of princeton-vl/SEA-RAFT links to all of them")
    target = pathlib.Path(output) / f"sea_raft_{size}.safetensors"
    if target.exists():
        raise UsageError(f"{target} exists already; name another --output or remove it")
    # After the cheap mistakes, since it imports JAX.
    from prowl_jax.models.published import sea_raft_weights as library

    arrays = library.clean(read_tensors(weights, "SEA-RAFT's"))
    blocks, iterations = library.SIZES[size]
    model = library.model_of(arrays, iterations)
    if model.network.blocks != blocks:
        raise UsageError(
            f"{weights} has residual blocks {model.network.blocks}, SEA-RAFT {size} has {blocks}: another size's file?"
        )
    library.from_published(model, arrays)  # says what is missing or has no place
    library.save(target, arrays, iterations)
    millions = sum(array.size for array in arrays.values()) / 1e6
    return f"wrote {target}: {millions:.1f} M numbers, {iterations} iterations"
