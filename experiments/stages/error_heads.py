"""Files of error heads (``models.error_head``): ``experiments.uncertainty`` writes, ``experiments.play`` reads them."""

import zipfile

import numpy as np
from flax import traverse_util

from experiments.run.config_file import UsageError
from experiments.run.files import write_numpy
from prowl_jax.models.error_head import ErrorHead


def save(path, head, params):
    """Write a head's parameters and what it takes to make it again, ``.npz``."""
    arrays = {name: np.asarray(leaf) for name, leaf in traverse_util.flatten_dict(params, sep="/").items()}
    write_numpy(path, np.savez, **arrays, action_sizes=np.array(head.action_sizes), width=np.array(head.width))


def load(path, action_sizes):
    """(``ErrorHead``, parameters) of a file; UsageError of one line where there is none, or it is for other actions."""
    try:
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
        sizes, width = tuple(int(n) for n in arrays.pop("action_sizes")), int(arrays.pop("width"))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        raise UsageError(f"{path} is not there, or no head that experiments.uncertainty wrote") from None
    if sizes != tuple(action_sizes):
        raise UsageError(f"{path} is a head for actions of sizes {sizes}, not {tuple(action_sizes)}")
    return ErrorHead(sizes, width=width), traverse_util.unflatten_dict(arrays, sep="/")
