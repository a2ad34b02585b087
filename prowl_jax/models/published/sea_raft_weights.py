"""Published SEA-RAFT weights to our parameters, by name; the widths are read off the shapes.

``python -m experiments.convert sea_raft`` writes the file that ``load_sea_raft`` reads. How many iterations to
run is not in the shapes (L is M's network run longer), so the file's metadata say it.
"""

import functools
import pathlib
import re

import jax

from prowl_jax.models.flow.sea_raft import SeaRaft, SeaRaftNetwork
from prowl_jax.models.published import torch_layout

SOURCE = "https://huggingface.co/MemorySlices/Tartan-C-T-TSKH-spring540x960-{size}"
"""Where its authors publish the weights of S and M, beside the folder that their README links to."""

SIZES = {"S": ((2, 2, 2), 4), "M": ((3, 4, 6), 4), "L": ((3, 4, 6), 12)}
"""Name -> (residual blocks of the three stages, iterations)."""

_RENAMES = (torch_layout.NUMBERED, torch_layout.WEIGHT)


def sea_raft(size):
    """``SeaRaft`` of a published size; ValueError lists them."""
    if size not in SIZES:
        raise ValueError(f"no SEA-RAFT of size {size!r}; there are {', '.join(SIZES)}")
    blocks, iterations = SIZES[size]
    return SeaRaft(SeaRaftNetwork(blocks=blocks, iterations=iterations))


def to_published(params):
    """Our parameters as ``{published name: numpy array}``, a shared norm under its first name."""
    return torch_layout.to_published(params, _RENAMES)


def clean(arrays):
    """The arrays of the network alone: counters are dropped, and a shared norm has one name.

    ``downsample.1`` and ``bn3`` are one module in the original; a file may have either or both. Names
    that were saved from a wrapped model lose their ``module.``.
    """
    arrays = {name.removeprefix("module."): array for name, array in arrays.items()}
    arrays = {name: array for name, array in arrays.items() if not name.endswith("num_batches_tracked")}
    shared = {re.sub(r"\.downsample\.1\.", ".bn3.", name): array for name, array in arrays.items()}
    return shared | {name: array for name, array in arrays.items() if ".downsample.1." not in name}


def from_published(model, arrays):
    """Parameters of ``model`` from cleaned arrays; ValueError names what does not fit."""
    return torch_layout.from_published(_shapes(model), arrays, _RENAMES)


def model_of(arrays, iterations):
    """The ``SeaRaft`` that has arrays of these names and shapes; ValueError where there is none."""
    with torch_layout.sizes_of("SEA-RAFT"):
        widths = [arrays[f"fnet.layer{stage}.0.conv1.weight"].shape[0] for stage in (1, 2, 3)]
        network = SeaRaftNetwork(
            stem=arrays["fnet.conv1.weight"].shape[0],
            widths=tuple(widths),
            blocks=tuple(_count(arrays, rf"fnet\.layer{stage}\.\d+\.conv1\.weight") for stage in (1, 2, 3)),
            features=arrays["init_conv.bias"].shape[0] // 2,
            updates=_count(arrays, r"update_block\.refine\.\d+\.gamma"),
            iterations=iterations,
        )
        if not min(network.stem, *network.widths, *network.blocks, network.features) > 0:
            raise ValueError("a size is 0")
    return SeaRaft(network)


def _count(arrays, pattern):
    return sum(re.fullmatch(pattern, name) is not None for name in arrays)


def save(path, arrays, iterations):
    """Write cleaned arrays as the safetensors file ``path``."""
    torch_layout.save(path, arrays, {"iterations": iterations})


def load_sea_raft(path):
    """A published network: ``(SeaRaft, params)``, params as numpy arrays.

    Raises:
      FileNotFoundError: it is not there; the message says where to get it. ValueError: it holds
      something else. ImportError: safetensors is not installed.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(how_to_get(path))
    arrays, metadata = torch_layout.load_arrays(path)
    try:
        if not metadata.get("iterations", "").isdigit():
            raise ValueError("how many iterations to run is not written in it; convert the weights again")
        model = model_of(arrays, int(metadata["iterations"]))
        return model, from_published(model, arrays)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def how_to_get(path):
    """One line for a user without weights."""
    return (
        f"no SEA-RAFT weights at {path}: download model.safetensors from {SOURCE.format(size='S')}, then run "
        f"python -m experiments.convert sea_raft --size=S --weights=model.safetensors --output={path.parent}"
    )


@functools.cache
def _shapes(model):
    return jax.eval_shape(model.init, jax.random.key(0))
