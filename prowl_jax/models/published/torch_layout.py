"""Arrays under their published names, and our trees: names, layouts, safetensors files.

Published weights keep torch's names and layouts in the safetensors files that this project reads, so
neither torch nor pickle is needed to run, and the files outlive changes of our trees. Each network
gives ``renames``, pairs of a pattern and its replacement that turn a path of our tree, joined by
dots, into the published name, in this order.
"""

import collections.abc
import json
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
    check_shapes(published_shapes(params, renames), {name: array.shape for name, array in arrays.items()})
    found = {}
    for path in traverse_util.flatten_dict(params):
        found[path] = from_layout(path, arrays[published_name(path, renames)])
    return traverse_util.unflatten_dict(found)


def from_layout(path, array):
    """A published array with its axes in the order that the leaf at ``path`` of our tree has; a view."""
    return array.transpose(np.argsort(_order(path, array.ndim)))


def check_shapes(expected, shapes):
    """ValueError that names what is missing, has another shape, or has no place; both ``{name: shape}``."""
    wrong = [f"{name} has no place in this network" for name in sorted(shapes.keys() - expected.keys())]
    for name, shape in expected.items():
        if name not in shapes:
            wrong.append(f"{name} is missing")
        elif shapes[name] != shape:
            wrong.append(f"{name} has shape {shapes[name]}, not {shape}")
    if wrong:
        more = f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise ValueError(f"these weights do not fit: {'; '.join(wrong[:5])}{more}")


def save(path, arrays, metadata):
    """Write ``{published name: array}`` as the safetensors file ``path``; it is there whole or not at all."""
    library, path = _safetensors(), pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    library.numpy.save_file(arrays, partial, metadata={name: str(value) for name, value in metadata.items()})
    os.replace(partial, path)


def load_arrays(path):
    """``({name: numpy array}, metadata)`` of a safetensors file.

    Raises:
      FileNotFoundError: it is not there. ValueError: it is not a whole safetensors file.
      ImportError: safetensors is not installed.
    """
    library = _safetensors()
    try:
        with library.safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dict
            return arrays, file.metadata() or {}
    except library.SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file ({error}); convert the weights again") from None


class Shards(collections.abc.Mapping):
    """``{name: numpy array}`` of a safetensors file or of several; an array is read when it is asked for.

    Attributes:
      shapes: ``{name: shape}``, from the headers alone.
    """

    def __init__(self, path):
        """Open a safetensors file, an index of several (``*.safetensors.index.json``), or a folder with either.

        Raises:
          FileNotFoundError: it is not there, or one of the files that the index names. ValueError:
          it is none of these. ImportError: safetensors is not installed.
        """
        library, self.shapes, self._file_of = _safetensors(), {}, {}
        for file in _files(pathlib.Path(path)):
            try:
                opened = library.safe_open(file, framework="numpy")
            except library.SafetensorError as error:
                raise ValueError(f"{file} is not a whole safetensors file ({error}); fetch it again") from None
            for name in opened.keys():  # noqa: SIM118, it is no dict
                self.shapes[name] = tuple(opened.get_slice(name).get_shape())
                self._file_of[name] = opened

    def __getitem__(self, name):
        return self._file_of[name].get_tensor(name)

    def __iter__(self):
        return iter(self.shapes)

    def __len__(self):
        return len(self.shapes)


def _files(path):
    """The safetensors files that ``path`` stands for."""
    if path.is_dir():
        found = sorted(path.glob("*.safetensors.index.json")) or sorted(path.glob("*.safetensors"))
        if len(found) != 1:
            raise ValueError(f"{path} holds {len(found)} sets of safetensors weights; name one of them")
        path = found[0]
    if path.suffix != ".json":
        return [path]
    try:
        names = json.loads(path.read_text())["weight_map"].values()
    except (ValueError, KeyError, AttributeError):
        raise ValueError(f"{path} is not an index of safetensors files: it has no weight_map") from None
    return [path.parent / name for name in dict.fromkeys(names)]


def _safetensors():
    try:
        import safetensors
        import safetensors.numpy
    except ImportError as error:
        raise ImportError("published weights need safetensors: pip install 'prowl_jax[vpt]'") from error
    return safetensors
