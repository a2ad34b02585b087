"""Arrays under their published names, and our trees: names, layouts, safetensors files.

Published weights keep torch's names and layouts in the safetensors files that this project reads, so
neither torch nor pickle is needed to run, and the files outlive changes of our trees. Each network
gives ``renames``, pairs of a pattern and its replacement that turn a path of our tree, joined by
dots, into the published name, in this order.
"""

import collections.abc
import contextlib
import json
import os
import pathlib
import re

import numpy as np
from flax import traverse_util

from prowl_jax.models.published.tensor_file import open_tensors, safetensors

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
      ValueError: arrays are missing, have another shape, have no place, or hold whole numbers; they are named.
    """
    check_shapes(published_shapes(params, renames), {name: array.shape for name, array in arrays.items()})
    check_real({name: array.dtype for name, array in arrays.items()})
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


def check_real(kinds):
    """ValueError where ``{name: numpy's type}`` are not all real numbers: quantised weights mean something else."""
    wrong = [f"{name} as {kind}" for name, kind in kinds.items() if np.dtype(kind).kind in "biuc"]
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise ValueError(f"these weights hold {wrong[0]}{more}, no real numbers: quantised? take those in float32")


@contextlib.contextmanager
def sizes_of(whose):
    """What looking up sizes in arrays of other names or shapes raises becomes the ValueError that says so."""
    try:
        yield
    except KeyError as error:
        raise ValueError(f"these are not the weights of {whose}: {error.args[0]} is missing") from None
    except (ValueError, IndexError, TypeError, ZeroDivisionError):
        raise ValueError(f"these are not the weights of {whose}: the shapes do not go together") from None


def save(path, arrays, metadata):
    """Write ``{published name: array}`` as the safetensors file ``path``; it is there whole or not at all."""
    library, path = safetensors(), pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    library.numpy.save_file(arrays, partial, metadata={name: str(value) for name, value in metadata.items()})
    os.replace(partial, path)


def load_arrays(path):
    """``({name: numpy array}, metadata)`` of a safetensors file; real numbers of any width become float32.

    Raises:
      FileNotFoundError: it is not there. ValueError: it is not a whole safetensors file, or one of another type.
      ImportError: safetensors is not installed.
    """
    file = open_tensors(path)
    return {name: file.read(name) for name in file.shapes}, file.metadata


class Shards(collections.abc.Mapping):
    """``{name: numpy array}`` of a safetensors file or of several; an array is read when it is asked for.

    Attributes:
      shapes, dtypes: ``{name: shape}`` and ``{name: numpy's type as it is read}``, from the headers alone.
    """

    def __init__(self, path):
        """Open a safetensors file, an index of several (``*.safetensors.index.json``), or a folder with either.

        Raises:
          FileNotFoundError: it is not there, or one of the files that the index names. ValueError:
          it is none of these, or holds arrays that ``[]`` cannot read. ImportError: safetensors is not installed.
        """
        self.shapes, self.dtypes, self._file_of = {}, {}, {}
        for opened in map(open_tensors, _files(pathlib.Path(path))):
            self.shapes |= opened.shapes
            self.dtypes |= {name: opened.dtype(name) for name in opened.shapes}
            self._file_of |= dict.fromkeys(opened.shapes, opened)

    def __getitem__(self, name):
        return self._file_of[name].read(name)

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
        return [path.parent / name for name in dict.fromkeys(names)]
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        raise ValueError(f"{path} is not an index of safetensors files: it has no weight_map of names") from None
