"""Arrays under their published names, and our trees: names, layouts, safetensors files.

Published weights keep torch's names and layouts in the safetensors files that this project reads, so
neither torch nor pickle is needed to run, and the files outlive changes of our trees. Each network
gives ``renames``, pairs of a pattern and its replacement that turn a path of our tree, joined by
dots, into the published name, in this order.
"""

import os
import pathlib
import re

import numpy as np
from flax import traverse_util

NUMBERED = (r"_(\d+)(?=\.)", r".\1")
"""``blocks_0.`` here is ``blocks.0.`` there."""
WEIGHT = (r"\.(kernel|scale)$", ".weight")
"""flax's names of the factor of a layer and of a norm; torch has one for both."""


def published_name(path, renames):
    """``("blocks_0", "norm", "scale")`` -> ``"blocks.0.norm.weight"``."""
    name = ".".join(path)
    for pattern, replacement in renames:
        name = re.sub(pattern, replacement, name)
    return name


def _order(path, ndim):
    """The order of our axes in the published array: ours (*window, in, out), torch's (out, in, *window)."""
    axes = tuple(range(ndim))
    return (*axes[::-1][:2], *axes[:-2]) if path[-1] == "kernel" else axes


def to_published(params, renames):
    """Our parameters as ``{published name: numpy array}``."""
    flat = {path: np.asarray(array) for path, array in traverse_util.flatten_dict(params).items()}
    return {published_name(path, renames): x.transpose(_order(path, x.ndim)) for path, x in flat.items()}


def published_shapes(params, renames):
    """``{published name: shape there}`` of a tree of arrays or of ``jax.ShapeDtypeStruct``."""
    ours = {path: leaf.shape for path, leaf in traverse_util.flatten_dict(params).items()}
    return {
        published_name(path, renames): tuple(shape[axis] for axis in _order(path, len(shape)))
        for path, shape in ours.items()
    }


def from_published(params, arrays, renames):
    """A tree like ``params`` from ``{published name: numpy array}``; views, nothing is copied.

    Raises:
      ValueError: arrays are missing, have another shape, or have no place; they are named.
    """
    shapes = published_shapes(params, renames)
    wrong = [f"{name} has no place in this network" for name in sorted(arrays.keys() - shapes.keys())]
    for name, shape in shapes.items():
        if name not in arrays:
            wrong.append(f"{name} is missing")
        elif arrays[name].shape != shape:
            wrong.append(f"{name} has shape {arrays[name].shape}, not {shape}")
    if wrong:
        more = f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise ValueError(f"these weights do not fit: {'; '.join(wrong[:5])}{more}")
    found = {}
    for path in traverse_util.flatten_dict(params):
        array = arrays[published_name(path, renames)]
        found[path] = array.transpose(np.argsort(_order(path, array.ndim)))
    return traverse_util.unflatten_dict(found)


def save(path, arrays, metadata):
    """Write ``{published name: array}`` as the safetensors file ``path``; it is there whole or not at all."""
    library, path = _safetensors(), pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    library.numpy.save_file(arrays, partial, metadata={name: str(value) for name, value in metadata.items()})
    os.replace(partial, path)


def load(path):
    """``({name: numpy array}, metadata)`` of a safetensors file.

    Raises:
      FileNotFoundError: it is not there. ValueError: it is not a whole safetensors file.
      ImportError: safetensors is not installed.
    """
    library = _safetensors()
    try:
        with library.safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118, it is no dict
    except library.SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file ({error}); convert the weights again") from None


def _safetensors():
    try:
        import safetensors
        import safetensors.numpy
    except ImportError as error:
        raise ImportError("published weights need safetensors: pip install 'prowl_jax[vpt]'") from error
    return safetensors
