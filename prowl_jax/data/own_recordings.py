"""Anybody's recordings, of each format that there is (``KINDS``), read as a ``Part``.

A frame keeps its action where a row tells it; where rows or frames are missing the recording is cut, and where a table
and its video do not fit it is skipped, with one line that says how to mend it. numpy only, as ``recordings``; PyAV,
pyarrow and h5py are imported when a file needs them.
"""

import pathlib

import numpy as np

from prowl_jax.data import alignment, arrays, columns, films, lerobot, minari, tables
from prowl_jax.data.own import Asked, tiles
from prowl_jax.data.recordings import Part, Settings, cut
from prowl_jax.data.vpt_records import RecordingError

KINDS = {"lerobot": lerobot, "minari": minari, "film": films, "arrays": arrays}
"""Name of a format -> its module (``own``); of a folder that is of several, the first is read."""
_HEADS = {"LeRobot": ("meta/info.json", lerobot), "Minari": ("data/metadata.json", minari)}
CLOCKS = ("timestamp", "time", "time_s", "time_ms")
"""Columns that are taken for a clock, by which missing rows are seen."""


def find(source, size, frames=()):
    """The recordings of a folder, in order of their names, all of the first of ``KINDS`` that has any.

    Args:
      size: ``(H, W)`` of the frames to come. frames: the names of the pictures to take where there are several.

    Raises:
      FileNotFoundError: there is none.
      ValueError: a data set is damaged, holds no pictures or not those of ``frames``, or they cannot be tiled.
    """
    source = pathlib.Path(source)
    if not source.is_dir():
        raise FileNotFoundError(f"no folder {source}; --columns is for a folder of videos with tables, or of arrays")
    files = sorted(path for path in source.rglob("*") if path.is_file())
    for kind in KINDS.values():
        if found := kind.find(source, files, frames):
            if frames and not found[0].pictures:
                raise ValueError(f"--frames is for data sets of Minari and LeRobot; {source} holds other recordings")
            tiles(size, max(1, len(found[0].pictures)))
            return sorted(found, key=lambda own: own.name)
    raise FileNotFoundError(
        f"{source} holds no video ({', '.join(films.ENDINGS)}), no arrays ({', '.join(arrays.ENDINGS)}) and no data "
        "set of Minari or LeRobot; name the folder that does"
    )


def refuse(source):
    """ValueError of one line where ``source`` is of one of these formats, whose actions have to be named: how."""
    for whose, (head, module) in _HEADS.items():
        if (pathlib.Path(source) / head).is_file():
            raise ValueError(
                f"{source} is a data set of {whose}, not of VPT's recordings: import it with "
                f"--columns='{module.suggested(pathlib.Path(source))}', or as docs/recordings.md says"
            )
    folder = pathlib.Path(source)
    endings = {path.suffix.lower() for path in folder.rglob("*")} if folder.is_dir() else set()
    others = sorted(endings.intersection({*tables.ENDINGS, *arrays.ENDINGS}))
    if others and ".jsonl" not in endings:
        raise ValueError(
            f"{source} has actions in {others[0]} and none in .jsonl, as VPT's recordings have: say with "
            "--columns=LIST which columns are actions (docs/recordings.md)"
        )


def read_own(own, file, settings, threads=1, *, text, truncate=False):
    """Read a recording once, its frames into ``file``; gives a ``Part`` and never a RecordingError.

    Args:
      text: what ``columns.parse`` reads. truncate: where table and video differ in length, read what both have.
    """
    try:
        wanted = columns.parse(text)
        return _read(own, file, Asked(settings, threads, bool(wanted.columns)), wanted, truncate)
    except RecordingError as error:
        return Part(own.name, file, skipped=str(error))
    except MemoryError:
        return Part(own.name, file, skipped=f"{own.file.name} does not fit into memory; cut it into several files")


def _read(own, file, asked, wanted_columns, truncate):
    settings, raw = asked.settings, KINDS[own.kind].read(own, asked)
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
        shown = f"{own.file.name} {raw.count}" if own.table else f"{own.name} {raw.count}"
        raise RecordingError(
            f"{table} has {count} rows and {shown} frames; give a row for each frame, "
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
