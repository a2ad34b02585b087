"""Recordings into a clip store: in parallel over files, each decoded once, resumable.

A finished store has, beside frames and actions (factors of ``minecraft.SPEC``), one entry a frame of

  camera  float32 [F, 2], the exact degrees of pitch and yaw, which the factors hold as bins
  null    bool [F], True where no key is down and the camera rests: leave these out when cloning
  gui     bool [F], True where the frame shows a screen with its cursor (none if GUI is dropped)

and ``recordings.jsonl``: the settings in its first line, then a line for every recording with its
episodes (ticks start..stop-1, and how many frames were kept of these) or the reason it was skipped.
An episode is a run of consecutive ticks; dropping a GUI screen cuts a recording in two.

While an import runs, ``STORE.partial`` holds what is done and the same file keeps count; the import
that finds it goes on from there and ends with the same store, byte for byte.
"""

import collections
import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import shutil

import numpy as np

from prowl_jax.data import columns as own_columns
from prowl_jax.data import movement, own_recordings, pool, video
from prowl_jax.data.held_out import Origin
from prowl_jax.data.recordings import DEFAULTS, read_recording
from prowl_jax.data.sources import find
from prowl_jax.data.store import ClipStore, StoreWriter, is_new
from prowl_jax.minecraft import SPEC

JOURNAL = "recordings.jsonl"
ARRAYS = {"camera": (np.float32, (2,)), "null": (bool, ()), "gui": (bool, ())}
OWN_ARRAYS = {"null": (bool, ())}
"""Of anybody's recordings (``columns``)."""


@dataclasses.dataclass(frozen=True)
class Summary:
    """What an import read.

    Attributes:
      episodes, frames: of the store.
      skipped: ``[(name, reason), ...]`` of the recordings of which nothing is kept.
      absent: how many recordings of an index were not downloaded.
      left_out: kind -> ticks that are not kept of the recordings that are, see docs/recordings.md.
      notes: what is to be said of recordings -> how many it is said of.
      warnings: what is to be said of the store, sentences: pictures and actions that are not aligned.
    """

    episodes: int
    frames: int
    skipped: list
    absent: int
    left_out: dict = dataclasses.field(default_factory=dict)
    notes: dict = dataclasses.field(default_factory=dict)
    warnings: list = dataclasses.field(default_factory=list)

    def lines(self):
        """What to print: a line for each skipped recording and each note, and last one that counts everything."""
        why = collections.Counter(os.path.join(os.path.dirname(name), reason) for name, reason in self.skipped)
        said = [f"skipped {reason}" + (f" ({count} times)" if count > 1 else "") for reason, count in why.items()]
        said += [f"not downloaded: {self.absent} recordings of the index"] if self.absent else []
        said += [f"{count} of the recordings: {note}" for note, count in self.notes.items()]
        left_out = ", ".join(f"{count} {kind}" for kind, count in self.left_out.items())
        total = f"read: {self.episodes} episodes, {self.frames} frames; skipped: {len(self.skipped)} files"
        return [*said, *self.warnings, total + (f"; ticks left out: {left_out}" if left_out else "")]


class NothingReadError(ValueError):
    """No recording gave an episode, so there is no store. Attribute ``summary``."""

    def __init__(self, message, summary):
        super().__init__(message)
        self.summary = summary


def import_recordings(
    source, store, settings=DEFAULTS, workers=None, on_progress=None, columns="", truncate=False, frames=()
):
    """Read the recordings of ``source`` into a new clip store.

    Args:
      source: a folder or an index file, as for ``sources.find``.
      store: the folder to make. If it is there already and holds these recordings with these
        settings, nothing is read; if ``STORE.partial`` is there, the import goes on from it.
      settings: a ``recordings.Settings``.
      workers: cores to use, by default all that this process may use: a process each, or, for fewer
        recordings, more threads in the decoder of each.
      on_progress: None or called with (recordings done, in all, frames kept so far), at the start and
        after each recording.
      columns: "" for recordings in the format of VPT; else which columns of ``own_recordings`` are actions, as
        ``columns.parse`` reads it.
      frames: of those in data sets, which pictures to take (``own_recordings.find``).
      truncate: of those, read what a table and its video both have, where one of them is longer.

    Returns:
      ``Summary``.

    Raises:
      FileNotFoundError, ValueError: as ``sources.find``.
      ValueError: ``store`` lies inside the source.
      FileExistsError, NotADirectoryError, OSError: ``store`` cannot be made or written, or it or its partial folder is
        there with other contents or settings. An empty folder is as good as none.
      NothingReadError: every recording was skipped; nothing is left behind.
      ImportError: PyAV is not installed.
    """
    store = pathlib.Path(store)
    store = store.resolve() if store.name in ("", "..") else store
    _check_place(store, pathlib.Path(source))
    spec = own_columns.parse(columns).spec if columns else SPEC
    if not columns:
        own_recordings.refuse(source)
    found, absent = (own_recordings.find(source, settings.size, frames), 0) if columns else find(source)
    video.check_installed()
    partial = store.with_name(store.name + ".partial")
    head = {"settings": dataclasses.asdict(settings)}
    if columns:
        head["settings"] |= {"columns": columns, "truncate": truncate} | ({"frames": list(frames)} if frames else {})
    rows = _journal(partial if is_new(store) else store, head)
    done = {row["recording"] for row in rows}
    if not is_new(store):
        if not done.issuperset(recording.name for recording in found):
            raise FileExistsError(f"{store} exists already and lacks some of these recordings; name a new folder")
        return _summary(rows, absent, store)
    todo = [recording for recording in found if recording.name not in done]
    lengths = _lengths(rows)
    origins = [_origin(row["recording"], episode) for row in rows for episode in row.get("episodes", ())]
    arrays = OWN_ARRAYS if columns else ARRAYS
    read = functools.partial(own_recordings.read_own, text=columns, truncate=truncate) if columns else read_recording
    report = on_progress or (lambda done, total, frames: None)
    try:
        with StoreWriter(store, spec, (*settings.size, 3), arrays, lengths, origins) as writer:
            report(len(rows), len(done) + len(todo), sum(lengths))
            journal = _Journal(partial / JOURNAL, [head, *rows])
            with journal, _parts(read, todo, partial / "parts", settings, workers) as parts:
                for part in parts:
                    rows.append(_append(writer, journal, part))
                    report(len(rows), len(done) + len(todo), sum(writer.lengths))
            if not writer.lengths:
                raise NothingReadError(f"no episode could be read from {source}", _summary(rows, absent))
    except NothingReadError:
        shutil.rmtree(partial)
        raise
    return _summary(rows, absent, store)


def _check_place(store, source):
    """Raise where ``store`` cannot be made, before anything is read."""
    if not store.name:
        raise NotADirectoryError(f"{store} is the root of all files; name a folder in it")
    for place in (store, *store.parents):
        if place.exists() and not place.is_dir():
            what = "is a file" if place == store else f"lies under {place}, which is a file"
            raise NotADirectoryError(f"{store} {what}; name another folder")
    if source.is_dir() and store.resolve().is_relative_to(source.resolve()):
        raise ValueError(f"{store} lies inside the source {source}; name a folder elsewhere")


def _append(writer, journal, part):
    """Put one recording's episodes into the store; returns its row of the journal."""
    if part.skipped:
        row = {"recording": part.name, "skipped": part.skipped}
    else:
        frames = np.memmap(part.file, np.uint8, "r").reshape(-1, *writer.frame_shape)
        for episode in part.episodes:
            at = slice(episode["row"], episode["row"] + episode["frames"])
            arrays = {name: getattr(part, name)[at] for name in writer.arrays}
            writer.add_episode(frames[at], part.actions[at], _origin(part.name, episode), **arrays)
        writer.flush()
        episodes = [{key: episode[key] for key in ("start", "stop", "frames")} for episode in part.episodes]
        row = {"recording": part.name, "ticks": part.ticks, "video_frames": part.video_frames, "episodes": episodes}
        row |= {"left_out": part.left_out} if part.left_out else {}
        row |= {"notes": list(part.notes)} if part.notes else {}
    part.file.unlink(missing_ok=True)
    journal.write(row)
    return row


def _origin(recording, episode):
    return Origin(recording, episode["start"], episode["stop"])


def _lengths(rows):
    """Frames of every episode that the rows of a journal tell of."""
    return [episode["frames"] for row in rows for episode in row.get("episodes", ())]


def _summary(rows, absent, store=None):
    lengths = _lengths(rows)
    skipped = [(row["recording"], row["skipped"]) for row in rows if "skipped" in row]
    left_out, notes = collections.Counter(), collections.Counter()
    for row in rows:
        left_out.update(row.get("left_out", {}))
        notes.update(row.get("notes", ()))
    warnings = movement.warnings_of(movement.lags_of(ClipStore.open(store))) if store else []
    return Summary(len(lengths), sum(lengths), skipped, absent, dict(left_out), dict(notes), warnings)


def _journal(folder, head):
    """The rows of ``folder``'s journal after its head, which must be ``head``; none where there is no folder."""
    path = folder / JOURNAL
    if not path.is_file():
        return []
    lines = path.read_text().split("\n")[:-1]  # what follows the last newline was cut off, or is empty
    rows = [json.loads(line) for line in lines]
    if rows and rows[0] != json.loads(json.dumps(head)):
        raise FileExistsError(
            f"{folder} was made with other settings ({_settings(rows[0])}); "
            "give the same, remove it, or name a new folder"
        )
    return rows[1:]


def _settings(head):
    return ", ".join(f"{name}={value}" for name, value in head["settings"].items())


class _Journal:
    """Appends rows to a file, each safe on the disk before the next; begins with ``rows``."""

    def __init__(self, path, rows):
        new = path.with_name(path.name + ".new")
        new.write_text("".join(json.dumps(row) + "\n" for row in rows))
        new.rename(path)
        self._file = path.open("a")

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._file.close()

    def write(self, row):
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())


@contextlib.contextmanager
def _parts(read, todo, folder, settings, workers):
    """An iterator over the ``Part`` of every recording, in order, read ahead by ``workers`` processes."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    cores = workers or pool.cores()
    processes = max(1, min(cores, len(todo)))
    read = functools.partial(read, settings=settings, threads=max(1, cores // processes))
    jobs = [(recording, folder / str(i)) for i, recording in enumerate(todo)]
    try:
        if processes == 1:
            yield (read(*job) for job in jobs)
        else:
            with pool.processes(processes) as executor:
                yield pool.in_order(executor, read, jobs, ahead=2 * processes)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
