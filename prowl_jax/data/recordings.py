"""VPT and BASALT recordings: finding them, in a folder or by a published index, and reading one.

Like the modules it stands on it needs numpy only (and PyAV to read), so that reading processes
start fast.
"""

import ast
import dataclasses
import json
import os
import pathlib

import numpy as np

from prowl_jax.data.video import FRAME_SHAPE, read_frames
from prowl_jax.data.vpt import RecordingError, read_ticks, runs
from prowl_jax.minecraft import minerl_to_factors

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


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is kept of a recording, and how.

    Attributes:
      size: ``(H, W)`` of the frames. The default is what VPT's policies see.
      gui: ``"drop"`` leaves out the ticks with an open screen; ``"cursor"`` keeps them and draws the
        mouse cursor, which the recorder left out.
      skip_nulls: leave out the ticks without a key or movement, as VPT does for behavioural cloning.
        Where one is left out, action t no longer leads from frame t to frame t+1: not for world models.
      min_frames: shorter episodes are left out; 20 frames are a second.
      max_frames: longer ones are cut into episodes of this length, whose rest counts as one more; 0
        never cuts. So that some can be held out where there are few recordings.

    Raises:
      ValueError: one line that names what is off.
    """

    size: tuple = (128, 128)
    gui: str = "drop"
    skip_nulls: bool = False
    min_frames: int = 20
    max_frames: int = 0

    def __post_init__(self):
        if not all(8 <= n <= whole for n, whole in zip(self.size, FRAME_SHAPE, strict=True)):
            raise ValueError(f"size must be HxW within 8x8..{FRAME_SHAPE[0]}x{FRAME_SHAPE[1]}, not {self.size}")
        if self.gui not in ("drop", "cursor"):
            raise ValueError(f"gui must be drop or cursor, not {self.gui!r}")
        if self.min_frames < 1:
            raise ValueError(f"min_frames must be at least 1, not {self.min_frames}")
        if self.max_frames and self.max_frames < self.min_frames:
            raise ValueError(f"max_frames must be 0 or at least min_frames={self.min_frames}, not {self.max_frames}")


DEFAULTS = Settings()


@dataclasses.dataclass(frozen=True)
class Part:
    """One recording as read: its frames in a file, the rest as arrays with one entry a frame.

    Attributes:
      name: of the recording.
      file: uint8 frames ``[N, H, W, 3]`` end to end; N may go beyond the episodes.
      skipped: "" or why nothing could be read; then all that follows is empty.
      ticks, video_frames: lengths of the .jsonl and of the .mp4.
      episodes: dicts of ``start`` and ``stop`` (ticks), ``frames`` (how many) and ``row`` (the first's index).
      actions: int32 ``[N, A]``, factors of ``minecraft.SPEC``.
      camera: float32 ``[N, 2]``, degrees of pitch and yaw.
      null, gui: bool ``[N]``.
    """

    name: str
    file: pathlib.Path
    skipped: str = ""
    ticks: int = 0
    video_frames: int = 0
    episodes: tuple = ()
    actions: np.ndarray | None = None
    camera: np.ndarray | None = None
    null: np.ndarray | None = None
    gui: np.ndarray | None = None


def read_recording(recording, file, settings, threads=1):
    """Read a recording once, its frames into ``file``; gives a ``Part`` and never a RecordingError.

    Video and .jsonl may differ in length; what the longer has more is left out.
    """
    try:
        recording.check()
        ticks = read_ticks(recording.ticks)
        stays = ~ticks.gui if settings.gui == "drop" else np.ones(len(ticks), bool)
        wanted = np.zeros(len(ticks), bool)
        for start, stop in _episodes(stays, settings):
            wanted[start:stop] = True
        if settings.skip_nulls:
            wanted &= ~ticks.null
        cursor = np.where(ticks.gui[:, None], ticks.cursor, np.nan) if settings.gui == "cursor" else None
        video_frames = 0
        with open(file, "wb") as out:
            for frame in read_frames(recording.video, settings.size, wanted=wanted, cursor=cursor, threads=threads):
                video_frames += 1
                if frame is not None:
                    out.write(np.ascontiguousarray(frame).data)
        episodes = []
        for start, stop in _episodes(stays[:video_frames], settings):
            kept = int(wanted[start:stop].sum())
            if kept >= settings.min_frames:
                row = int(wanted[:start].sum())
                episodes.append({"start": start, "stop": stop, "frames": kept, "row": row})
        if not episodes:
            raise RecordingError(f"{recording.name} has no {settings.min_frames} ticks in a row to keep")
    except RecordingError as error:
        return Part(recording.name, file, skipped=str(error))
    kept = ticks[np.flatnonzero(wanted[:video_frames])]
    actions = minerl_to_factors(kept.action())
    return Part(
        recording.name, file, "", len(ticks), video_frames, tuple(episodes), actions, kept.camera, kept.null, kept.gui
    )


def _episodes(stays, settings):
    """(start, stop) ticks of the runs of ``stays``, cut and sifted as ``settings`` say."""
    for start, stop in runs(stays, settings.min_frames):
        length = settings.max_frames or stop - start
        for first in range(start, stop, length):
            if min(first + length, stop) - first >= settings.min_frames:
                yield first, min(first + length, stop)


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
    for path in folder.rglob("*"):
        if path.suffix in (".mp4", ".jsonl") and path.is_file():
            files.setdefault(path.relative_to(folder).with_suffix("").as_posix(), {})[path.suffix] = path
    return [Recording(name, pair.get(".mp4"), pair.get(".jsonl")) for name, pair in files.items()]


def _of_index(path):
    try:
        text = path.read_text()
        try:
            index = json.loads(text)
        except ValueError:
            index = ast.literal_eval(text)  # some published files end their lists with a comma
        base, relpaths = index["basedir"], [_stem(relpath) for relpath in index["relpaths"]]
    except (ValueError, SyntaxError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f'{path} is not an index, {{"basedir": ..., "relpaths": [...]}}: {type(error).__name__} {error}'
        ) from None
    roots = [path.parent, *sorted(p for p in path.parent.iterdir() if p.is_dir())]
    if "://" not in base:
        roots.insert(0, path.parent / base)
    recordings = [_look_for(relpath, roots) for relpath in dict.fromkeys(relpaths)]
    here = [recording for recording in recordings if recording.video or recording.ticks]
    return here, len(recordings) - len(here)


def _stem(relpath):
    return relpath.removesuffix(".mp4").removesuffix(".jsonl")


def _look_for(relpath, roots):
    """The first pair found; else what there is of one."""
    best = Recording(relpath, None, None)
    for root in roots:
        for name in dict.fromkeys((relpath.lstrip("/"), os.path.basename(relpath))):
            files = [root / f"{name}{suffix}" for suffix in (".mp4", ".jsonl")]
            video, ticks = (file if file.is_file() else None for file in files)
            if video and ticks:
                return Recording(relpath, video, ticks)
            best = Recording(relpath, best.video or video, best.ticks or ticks)
    return best
