"""A clip store in the formats of others: VPT's videos with their .jsonl, and a data set of Minari.

Nothing is there under the name asked for until all of it is. PyAV and h5py are imported when they are needed.
"""

import contextlib
import json
import pathlib
import re
import shutil

import numpy as np

from prowl_jax.data import video
from prowl_jax.data.own import h5py
from prowl_jax.data.store import is_new
from prowl_jax.data.vpt import as_records
from prowl_jax.minecraft import SPEC, factors_to_minerl


def to_vpt(store, folder, on_progress=lambda done: None):
    """Write an .mp4 of 640x360 pixels at 20 frames a second and a .jsonl of each episode, as VPT's recordings are.

    Args:
      store: a ``ClipStore`` of Minecraft's actions. Its arrays ``camera`` (exact degrees) and ``gui`` are used where it
        has them; else a turn is the middle of its bin, and no screen is open.
      folder: to make. on_progress: called with the number of episodes that are done.

    Raises:
      ValueError: the actions are no factors of Minecraft's.
      FileExistsError: the folder is there. ImportError: PyAV is not installed.
    """
    if store.spec != SPEC:
        raise ValueError(f"VPT's form is of Minecraft's actions; {store.path} has {', '.join(store.spec.names)[:120]}")
    video.check_installed()
    with _new(folder) as partial:
        for i, rows in enumerate(_rows(store)):
            action = factors_to_minerl(store.actions[rows])
            if store.has_array("camera"):
                action["camera"] = store.array("camera")[rows]
            records = as_records({key: np.asarray(value) for key, value in action.items()})
            for record, shown in zip(records, store.array("gui")[rows] if store.has_array("gui") else (), strict=False):
                record["isGuiOpen"] = bool(shown)
            name = _name(store, i)
            (partial / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
            video.write_video(partial / f"{name}.mp4", store.frames[rows], video.FRAME_SHAPE, video.FRAME_RATE)
            on_progress(i + 1)


def to_minari(store, folder, on_progress=lambda done: None):
    """Write a data set of Minari in HDF5: pictures as they are, actions as a MultiDiscrete, rewards of 0.

    An episode of Minari's ends with an observation, so that the last action of each is left out. The names and values
    of the factors stand in its description.

    Args:
      as ``to_vpt``, of any actions.

    Returns:
      the text of ``--columns`` by which an import reads these factors again.

    Raises:
      ValueError: no episode has two frames. FileExistsError: the folder is there. ImportError: h5py is not installed.
    """
    steps = store.lengths[store.lengths > 1] - 1
    if not len(steps):
        raise ValueError(f"{store.path} has no episode of two frames, so there is no step to write")
    with _new(folder) as partial:
        data = partial / "data"
        data.mkdir()
        with h5py().File(data / "main_data.hdf5", "w", track_order=True) as file:
            for i, rows in enumerate(row for row in _rows(store) if row.stop - row.start > 1):
                _episode(file.create_group(f"episode_{i}", track_order=True), i, store, rows)
                on_progress(i + 1)
        size = sum(path.stat().st_size for path in data.iterdir()) / 1e6
        (data / "metadata.json").write_text(json.dumps(_metadata(store, pathlib.Path(folder).name, steps, size)))
    factors = enumerate(store.spec.factors)
    return ", ".join(f"{f.name}=actions.{i}" + (f":{f.size}" if f.size > 2 else "") for i, f in factors)


def _episode(group, number, store, rows):
    """One episode, as ``minari.dataset._storages.hdf5_storage`` of Minari 0.5.4 lays it."""
    frames, steps = store.frames[rows], rows.stop - rows.start - 1
    group.attrs.update({"id": number, "total_steps": steps})
    group.create_dataset("observations", data=frames, chunks=(1, *frames.shape[1:]), compression="gzip")
    group["actions"] = store.actions[rows][:-1].astype(np.int64)
    group["rewards"] = np.zeros(steps)
    group["terminations"] = np.zeros(steps, bool)
    group["truncations"] = np.arange(steps) == steps - 1


def _metadata(store, name, steps, megabytes):
    spec = store.spec
    seen = {"type": "Box", "dtype": "uint8", "shape": list(store.frame_shape)}
    seen |= {key: np.full(store.frame_shape, bound).tolist() for key, bound in (("low", 0), ("high", 255))}
    done = {"type": "MultiDiscrete", "dtype": "int64", "nvec": list(spec.sizes), "start": [0] * len(spec.sizes)}
    words = "; ".join(f"{f.name}: {', '.join(label or 'nothing' for label in f.labels)}" for f in spec.factors)
    return {
        "total_episodes": len(steps),
        "total_steps": int(steps.sum()),
        "data_format": "hdf5",
        "jpeg_encoding": False,
        "observation_space": json.dumps(seen),
        "action_space": json.dumps(done),
        "dataset_id": name if re.search(r"-v\d+$", name) else f"{name}-v0",
        "minari_version": "0.5.4",
        "dataset_size": round(megabytes, 1),
        "description": f"Factors of the actions, and their values from 0 on. {words}",
    }


def _rows(store):
    """The frames of each episode, a slice."""
    return [slice(int(a), int(a + n)) for a, n in zip(store.offsets, store.lengths, strict=True)]


def _name(store, i):
    """The name of an episode's files: its recording's, which says the session, and the tick at which it begins."""
    origin = store.origins[i]
    return f"{origin.recording.replace('/', '_')}-tick{origin.start:06d}"


@contextlib.contextmanager
def _new(folder):
    """A folder to write into, which gets the name of ``folder`` at the end; removed where that is not reached."""
    folder = pathlib.Path(folder)
    if not is_new(folder):
        raise FileExistsError(f"{folder} exists already; name a new folder")
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    partial.rename(folder)
