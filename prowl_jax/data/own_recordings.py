"""Anybody's recordings: videos with a table of actions each, or episodes as arrays (NPZ, HDF5), read as a ``Part``.

A frame keeps its action where a row tells it; where rows or frames are missing the recording is cut, and where a table
and its video do not fit it is skipped, with one line that says how to mend it. numpy only, as ``recordings``; PyAV,
pyarrow and h5py are imported when a file needs them.
"""

import dataclasses
import pathlib
import zipfile
import zlib

import numpy as np

from prowl_jax.data import alignment, columns, tables, video
from prowl_jax.data.recordings import Part, Settings, cut
from prowl_jax.data.vpt_records import RecordingError

VIDEOS, ARRAYS = (".mp4", ".mkv", ".webm", ".avi", ".mov"), (".npz", ".h5", ".hdf5")
CLOCKS = ("timestamp", "time", "time_s", "time_ms")
"""Columns that are taken for a clock, by which missing rows are seen."""


@dataclasses.dataclass(frozen=True)
class Own:
    """One recording of somebody's.

    Attributes:
      name: its path below the source, without extension.
      file: the video, or the arrays. table: the actions beside a video, or None. group: of an HDF5 file.
    """

    name: str
    file: pathlib.Path
    table: pathlib.Path | None = None
    group: str = ""


@dataclasses.dataclass(frozen=True)
class Raw:
    """What was found of a recording: ``rows`` (column -> float ``[T]``), ``frames(wanted)``, an iterator, how many of
    them, and ``ends``, bool ``[T]``, where an episode ends with a frame."""

    rows: dict
    frames: object
    count: int
    ends: np.ndarray | None = None


def find(source):
    """The recordings of a folder, in order of their names: its videos, or where there are none its arrays.

    Raises:
      FileNotFoundError: there is none.
    """
    source = pathlib.Path(source)
    if not source.is_dir():
        raise FileNotFoundError(f"no folder {source}; --columns is for a folder of videos with tables, or of arrays")
    files = sorted(path for path in source.rglob("*") if path.is_file())
    by_stem = {}
    for path in files:
        if path.suffix.lower() in tables.ENDINGS:
            by_stem.setdefault(path.with_suffix(""), path)
    named = {path: path.relative_to(source).with_suffix("").as_posix() for path in files}
    found = [Own(named[p], p, by_stem.get(p.with_suffix(""))) for p in files if p.suffix.lower() in VIDEOS]
    if not found:
        found = [own for p in files if p.suffix.lower() in ARRAYS for own in _arrays(named[p], p)]
    if not found:
        raise FileNotFoundError(
            f"{source} holds no video ({', '.join(VIDEOS)}) and no arrays ({', '.join(ARRAYS)}); "
            "name the folder that does"
        )
    return sorted(found, key=lambda own: own.name)


def _arrays(name, path):
    """One recording of a file, or one of each group of an HDF5 file that has ``frames``."""
    if path.suffix.lower() == ".npz":
        return [Own(name, path)]
    try:
        with _h5py().File(path, "r") as file:
            groups = [group for group in file if _has_frames(file[group])]
    except (OSError, RuntimeError, KeyError):
        return [Own(name, path)]  # what is wrong is told when it is read
    return [Own(f"{name}/{group}", path, None, group) for group in groups] or [Own(name, path)]


def _has_frames(group):
    return hasattr(group, "keys") and "frames" in group


def read_own(own, file, settings, threads=1, *, text, truncate=False):
    """Read a recording once, its frames into ``file``; gives a ``Part`` and never a RecordingError.

    Args:
      text: what ``columns.parse`` reads. truncate: where table and video differ in length, read what both have.
    """
    try:
        return _read(own, file, settings, threads, columns.parse(text), truncate)
    except RecordingError as error:
        return Part(own.name, file, skipped=str(error))
    except MemoryError:
        return Part(own.name, file, skipped=f"{own.file.name} does not fit into memory; cut it into several files")


def _read(own, file, settings, threads, wanted_columns, truncate):
    filmed = own.file.suffix.lower() in VIDEOS
    raw = _video(own, settings, threads, wanted_columns) if filmed else _episode(own, settings)
    rows = raw.rows or {"": np.zeros(raw.count)}
    place, fault = _places(own, raw, rows, truncate)
    try:
        actions, known = _encoded(wanted_columns, rows, (own.table or own.file).name)
    except ValueError as error:
        raise RecordingError(str(error)) from None
    fault = np.where(fault, fault, np.where(known, 0, alignment.UNKNOWN))
    spread = np.broadcast_to(wanted_columns.spec.null, (raw.count, actions.shape[1])).copy()
    faults = np.full(raw.count, alignment.MISSING)
    there = (place >= 0) & (place < raw.count)
    spread[place[there]], faults[place[there]] = actions[there], fault[there]
    stays = faults == 0
    episodes = list(_episodes(stays, raw.ends, settings))
    kept, shown = _copy(raw.frames(stays), stays, file)
    episodes = [(a, b) for a, b in episodes if kept[a:b].all()]
    if not episodes:
        raise RecordingError(f"{own.name} has no {settings.min_frames} frames in a row to keep")
    inside = sum(b - a for a, b in episodes)
    left_out = {kind: int((faults == i).sum()) for i, kind in enumerate(alignment.FAULTS, 1)}
    left_out |= {"too short a stretch": int(stays.sum()) - inside, "beyond the video": int((~there).sum())}
    row_of = np.cumsum(kept) - kept
    made = tuple({"start": int(a), "stop": int(b), "frames": int(b - a), "row": int(row_of[a])} for a, b in episodes)
    actions = spread[kept]
    null = (actions == wanted_columns.spec.null).all(axis=1)
    left_out = {kind: n for kind, n in left_out.items() if n > 0}
    return Part(own.name, file, "", len(place), shown, made, left_out, (), actions, null=null)


def _encoded(wanted_columns, rows, name):
    if wanted_columns.columns:
        return wanted_columns.encode(rows, name)
    count = len(next(iter(rows.values())))
    return np.zeros((count, 1), np.int32), np.ones(count, bool)


def _places(own, raw, rows, truncate):
    """On which frame each row lies, and its fault, by the clock where there is one (``alignment.places``)."""
    count = len(next(iter(rows.values())))
    clock = next((rows[name] for name in CLOCKS if name in rows), None)
    step = np.diff(clock) if clock is not None else np.zeros(0)
    usual = float(np.median(step[np.isfinite(step)])) if np.isfinite(step).any() else 0.0
    if usual > 0 and np.abs(step / usual - 1).max(initial=0, where=np.isfinite(step)) > 0.5:
        with np.errstate(invalid="ignore"):
            place, fault = alignment.places(np.round((clock - clock[0]) / usual), lambda: raw.count)
        if (fault == alignment.MISSING).mean() > 0.5:
            raise RecordingError(
                f"{(own.table or own.file).name}: its clock jumps, and {raw.count} frames are neither one a row nor "
                "one a step of the clock; give a row for each frame"
            )
        return place, fault
    if abs(count - raw.count) > alignment.SLACK and not truncate:
        table = (own.table or own.file).name
        raise RecordingError(
            f"{table} has {count} rows and {own.file.name} {raw.count} frames; give a row for each frame, "
            "or --truncate to read as many as both have"
        )
    return np.arange(count), np.zeros(count, np.int8)


def _episodes(stays, ends, settings):
    last = np.zeros(len(stays), bool) if ends is None else ends
    for a, b in cut(stays, Settings(settings.size, min_frames=1)):
        bounds = [a, *(np.flatnonzero(last[a : b - 1]) + a + 1).tolist(), b]
        for first, stop in zip(bounds, bounds[1:], strict=False):
            mask = np.zeros(len(stays), bool)
            mask[first:stop] = True
            yield from cut(mask, settings)


def _copy(frames, stays, file):
    """Write the frames that stay; (bool, which came, and how many frames there were)."""
    kept, count = np.zeros(len(stays), bool), 0
    with open(file, "wb") as out:
        for t, frame in enumerate(frames):
            count = t + 1
            if frame is not None and t < len(stays):
                out.write(np.ascontiguousarray(frame).data)
                kept[t] = True
    return kept, count


def _video(own, settings, threads, wanted_columns):
    if own.table is None and wanted_columns.columns:
        raise RecordingError(
            f"{own.file.name} has no table beside it ({', '.join(tables.ENDINGS)} of the same name); "
            "--columns=none reads frames alone"
        )
    rows = tables.read_table(own.table) if wanted_columns.columns else {}
    count = video.count_frames(own.file, None)

    def frames(wanted):
        return video.read_frames(own.file, settings.size, wanted=wanted, threads=threads, shape=None)

    return Raw(rows, frames, count)


def _episode(own, settings):
    """An .npz or HDF5 episode: ``frames``, ``actions`` and maybe ``dones``."""
    try:
        arrays = _read_npz(own.file) if own.file.suffix.lower() == ".npz" else _read_h5(own)
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise RecordingError(f"{own.file.name} cannot be read: {tables.short(error)}") from None
    if "frames" not in arrays:
        there = ", ".join(arrays) or "nothing"
        raise RecordingError(f"{own.file.name} has no array 'frames', it has {there[:120]}; call the images frames")
    frames = _pictures(arrays["frames"], own.file.name)
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

    def resized(wanted):
        resize = None
        for t, frame in enumerate(frames):
            frame = np.ascontiguousarray(frame)
            resize = resize or video.ArrayResizer(frame.shape[:2], settings.size)
            yield resize(frame) if wanted[t] else None

    return Raw(rows, resized, len(frames), ends)


def _read_npz(path):
    with np.load(path, allow_pickle=False) as arrays:
        if not hasattr(arrays, "files"):
            raise ValueError("it is one array, not an .npz of frames and actions")
        return {name: arrays[name] for name in arrays.files}


def _read_h5(own):
    with _h5py().File(own.file, "r") as file:
        group = file[own.group] if own.group else file
        return {name: group[name][()] for name in group if hasattr(group[name], "dtype")}


def _h5py():
    try:
        import h5py
    except ImportError:
        raise ImportError("HDF5 needs h5py: pip install 'prowl_jax[recordings]'") from None
    return h5py


def _pictures(frames, name):
    """Images in any usual order and type as uint8 ``[T, H, W, 3]``."""
    frames = np.asarray(frames)
    if frames.ndim == 3:
        frames = frames[..., None]
    if frames.ndim == 4 and frames.shape[-1] not in (1, 3, 4) and frames.shape[1] in (1, 3, 4):
        frames = frames.transpose(0, 2, 3, 1)
    if frames.ndim != 4 or frames.shape[-1] not in (1, 3, 4) or not frames.size:
        raise RecordingError(f"{name}: frames of shape {list(frames.shape)} are no images; give [T, H, W, 3]")
    if frames.dtype.kind == "f":
        if not np.isfinite(frames).all() or frames.min() < 0 or frames.max() > 1:
            raise RecordingError(f"{name}: frames of {frames.dtype} must lie in 0..1; give uint8, or divide by 255")
        frames = np.round(frames * 255).astype(np.uint8)
    if frames.dtype != np.uint8:
        raise RecordingError(f"{name}: frames are {frames.dtype}; give uint8 in 0..255, or floats in 0..1")
    return np.repeat(frames, 3, axis=-1) if frames.shape[-1] == 1 else frames[..., :3]
