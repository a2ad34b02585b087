"""Episodes as arrays, NPZ or HDF5: ``frames``, ``actions`` and maybe ``dones``."""

import zipfile
import zlib

import numpy as np

from prowl_jax.data import tables
from prowl_jax.data.own import Own, Raw, h5py, pictures, resized
from prowl_jax.data.vpt_records import RecordingError

ENDINGS = (".npz", ".h5", ".hdf5")


def find(source, files, frames=()):
    """One recording of each such file, or of an HDF5 file one of each group that has ``frames``."""
    return [own for path in files if path.suffix.lower() in ENDINGS for own in _inside(source, path)]


def _inside(source, path):
    name = path.relative_to(source).with_suffix("").as_posix()
    if path.suffix.lower() == ".npz":
        return [Own(name, "arrays", path)]
    try:
        with h5py().File(path, "r") as file:
            groups = [group for group in file if _has_frames(file[group])]
    except (OSError, RuntimeError, KeyError):
        return [Own(name, "arrays", path)]  # what is wrong is told when it is read
    made = [Own(f"{name}/{group}", "arrays", path, inside=group) for group in groups]
    return made or [Own(name, "arrays", path)]


def _has_frames(group):
    return hasattr(group, "keys") and "frames" in group


def read(own, asked):
    """A ``Raw`` of all arrays, read whole."""
    try:
        arrays = _read_npz(own.file) if own.file.suffix.lower() == ".npz" else _read_h5(own)
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise RecordingError(f"{own.file.name} cannot be read: {tables.short(error)}") from None
    if "frames" not in arrays:
        there = ", ".join(arrays) or "nothing"
        raise RecordingError(f"{own.file.name} has no array 'frames', it has {there[:120]}; call the images frames")
    frames = pictures(arrays["frames"], own.file.name)
    rows = {}
    for name, array in arrays.items():
        if name not in ("frames", "dones"):
            rows |= tables.flat(name, array)
    rows = {name: v for name, v in rows.items() if name.startswith("actions") or len(v) == len(frames)}
    lengths = {len(v) for name, v in rows.items() if name.startswith("actions")}
    rows = {name: v for name, v in rows.items() if not lengths or len(v) in lengths}
    dones = np.asarray(arrays.get("dones", ()))
    ends = np.zeros(len(frames), bool)
    if dones.ndim == 1 and dones.dtype.kind in "fiub":
        ends[: len(dones)] = dones[: len(frames)] != 0
    return Raw(rows, lambda wanted: resized(frames, asked.settings.size, wanted, own.file.name), len(frames), ends)


def _read_npz(path):
    with np.load(path, allow_pickle=False) as arrays:
        if not hasattr(arrays, "files"):
            raise ValueError("it is one array, not an .npz of frames and actions")
        return {name: arrays[name] for name in arrays.files}


def _read_h5(own):
    with h5py().File(own.file, "r") as file:
        group = file[own.inside] if own.inside else file
        return {name: group[name][()] for name in group if hasattr(group[name], "dtype")}
