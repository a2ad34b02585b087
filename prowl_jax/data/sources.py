"""Where recordings are: in a folder with its subfolders, or listed by an index as they are published."""

import ast
import dataclasses
import json
import os
import pathlib

from prowl_jax.data.vpt_records import RecordingError

WHERE = (
    "download an index file named in the README of github.com/openai/Video-Pre-Training, then, for each of its "
    "relpaths, BASEDIR/RELPATH.mp4 and .jsonl into one folder"
)


@dataclasses.dataclass(frozen=True)
class Recording:
    """One recording: a video and what was pressed.

    Attributes:
      name: its path below the source, without extension.
      video: the .mp4, or None where it is missing.
      ticks: the .jsonl, or None where it is missing.
    """

    name: str
    video: pathlib.Path | None
    ticks: pathlib.Path | None

    def check(self):
        """RecordingError where one of the two files is missing or cannot be opened."""
        if self.video is None:
            raise RecordingError(f"{self.ticks.name} has no .mp4 beside it")
        if self.ticks is None:
            raise RecordingError(f"{self.video.name} has no .jsonl beside it")
        for file in (self.video, self.ticks):
            try:
                file.open("rb").close()
            except OSError as error:
                raise RecordingError(f"{file.name} cannot be opened: {error.strerror}") from None


def find(source):
    """The recordings of ``source``, in order of their names.

    Args:
      source: a folder, searched with all its subfolders for .mp4 and .jsonl files of the same name;
        or an index file, ``{"basedir": ..., "relpaths": [...]}``, whose relpaths may or may not end
        in .mp4. The files of an index are looked for below ``basedir`` where that is a folder here,
        then below the folder of the index and in its subfolders, with their relpath or by name alone.

    Returns:
      ``(recordings, absent)``: a list of ``Recording``, at least one, and how many the index lists
      of which neither file is here.

    Raises:
      FileNotFoundError: there is no such source, or no recording in it; the message says where from
        to download.
      ValueError: the file is not an index.
    """
    source = pathlib.Path(source)
    if source.is_dir():
        recordings, absent = _in_folder(source), 0
        missing = f"no recordings (.mp4 and .jsonl) in {source}"
    elif source.is_file():
        recordings, absent = _of_index(source)
        missing = f"none of the {absent} recordings of {source} lies beside it"
    else:
        raise FileNotFoundError(f"no folder or index file {source}; {WHERE}")
    if not recordings:
        raise FileNotFoundError(f"{missing}; {WHERE}")
    return sorted(recordings, key=lambda recording: recording.name), absent


def _in_folder(folder):
    files = {}
    for path in sorted(folder.rglob("*")):
        ending = path.suffix.lower()
        if ending in ENDINGS and path.is_file():
            files.setdefault(path.relative_to(folder).with_suffix("").as_posix(), {}).setdefault(ending, path)
    return [Recording(name, *(pair.get(ending) for ending in ENDINGS)) for name, pair in files.items()]


def _of_index(path):
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path} is not an index, {_INDEX}: it is larger than {LARGEST // 2**20} MB")
    try:
        text = path.read_text()
        try:
            index = json.loads(text)
        except (ValueError, RecursionError):
            index = ast.literal_eval(text)  # some published files end their lists with a comma
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
        raise ValueError(f"{path} is not an index, {_INDEX}: {type(error).__name__}") from None
    base, listed = (index.get("basedir"), index.get("relpaths")) if isinstance(index, dict) else ("", index)
    relpaths = list(dict.fromkeys(_stem(name) for name in _names(listed)))
    if not relpaths:
        raise ValueError(f"{path} is not an index, {_INDEX}: it names no recording")
    roots = [path.parent, *sorted(p for p in path.parent.iterdir() if p.is_dir())]
    if isinstance(base, str) and "://" not in base and "\0" not in base:
        roots.insert(0, path.parent / base)
    recordings = [_look_for(relpath, roots) for relpath in relpaths]
    here = [recording for recording in recordings if recording.video or recording.ticks]
    return here, len(recordings) - len(here)


_INDEX = '{"basedir": ..., "relpaths": [...]}'
LARGEST = 2**26
"""Bytes of an index; the published ones have less than a hundredth of it."""
ENDINGS = (".mp4", ".jsonl")
"""Of a video and of its ticks, in small letters or in large ones."""


def _names(listed):
    """The paths in the list of an index: texts, or objects of another schema that hold such."""
    for entry in listed if isinstance(listed, list | tuple) else ():
        inside = entry.values() if isinstance(entry, dict) else [entry]
        for name in inside:
            named = isinstance(name, str) and name.strip() and "\0" not in name
            if named and (entry is name or name.lower().endswith(ENDINGS)):
                yield name


def _stem(relpath):
    root, ending = os.path.splitext(relpath)
    return root if ending.lower() in ENDINGS else relpath


def _look_for(relpath, roots):
    """The first pair found; else what there is of one."""
    best = Recording(relpath, None, None)
    for root in roots:
        for name in dict.fromkeys((relpath.lstrip("/"), os.path.basename(relpath))):
            video, ticks = (_first(root, name, ending) for ending in ENDINGS)
            if video and ticks:
                return Recording(relpath, video, ticks)
            best = Recording(relpath, best.video or video, best.ticks or ticks)
    return best


def _first(root, name, ending):
    """The file ``name`` with this ending, in small letters or in large ones; None where there is none."""
    files = (root / f"{name}{written}" for written in (ending, ending.upper()))
    try:
        return next((file for file in files if file.is_file()), None)
    except OSError:  # too long a name
        return None
