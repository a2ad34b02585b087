"""VPT and BASALT recordings: reading one, a video and its ticks held together.

Like the modules it stands on it needs numpy only (and PyAV to read), so that reading processes
start fast.
"""

import dataclasses
import functools
import pathlib

import numpy as np

from prowl_jax.data.alignment import EARLY, FAULTS, TWICE
from prowl_jax.data.pictures import LAGS, Watcher
from prowl_jax.data.video import FRAME_SHAPE, count_frames, read_frames
from prowl_jax.data.vpt import read_ticks, runs
from prowl_jax.data.vpt_records import RecordingError
from prowl_jax.minecraft import minerl_to_factors


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
      left_out: kind -> ticks that are not kept; with the frames kept they are all ticks.
      notes: what is to be said once of the recording, texts.
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
    left_out: dict = dataclasses.field(default_factory=dict)
    notes: tuple = ()
    actions: np.ndarray | None = None
    camera: np.ndarray | None = None
    null: np.ndarray | None = None
    gui: np.ndarray | None = None


def read_recording(recording, file, settings, threads=1):
    """Read a recording once, its frames into ``file``; gives a ``Part`` and never a RecordingError.

    Video and .jsonl may differ in length; what the longer has more is left out. So is what is not the game yet, and
    where actions and frames do not belong together (docs/recordings.md).
    """
    try:
        recording.check()
        ticks = read_ticks(recording.ticks, frames=functools.partial(count_frames, recording.video))
        stays = ticks.sound & (~ticks.gui if settings.gui == "drop" else True)
        wanted = _within(cut(stays, settings), len(ticks))
        if settings.skip_nulls:
            wanted &= ~ticks.null
        video_frames, watcher = _copy_frames(recording.video, file, settings, ticks, wanted, threads)
        early = watcher.leading(ticks.camera)
        shown = np.arange(len(ticks)) < video_frames
        game = stays & shown & (np.arange(len(ticks)) >= early)
        episodes = []
        for start, stop in cut(game, settings):
            kept = int(wanted[start:stop].sum())
            if kept >= settings.min_frames:
                row = int(wanted[:start].sum())
                episodes.append({"start": start, "stop": stop, "frames": kept, "row": row})
        left_out = _left_out(ticks, shown, early, episodes, wanted, settings)
        if not episodes:
            why = ", ".join(f"{count} {kind}" for kind, count in left_out.items() if kind != SHORT)
            raise RecordingError(
                f"{recording.name} has no {settings.min_frames} ticks in a row to keep{f' ({why})' if why else ''}"
            )
    except RecordingError as error:
        return Part(recording.name, file, skipped=str(error))
    kept = ticks[np.flatnonzero(wanted & shown)]
    notes = (*ticks.notes, *([] if ticks.viewed else _lag_notes(watcher.lag(ticks.camera[:, 1]))))
    actions = minerl_to_factors(kept.action())
    return Part(
        recording.name, file, "", len(ticks), video_frames, tuple(episodes), left_out, notes, actions, kept.camera,
        kept.null, kept.gui,
    )  # fmt: skip


def _copy_frames(video, file, settings, ticks, wanted, threads):
    """Write the wanted frames of a video to ``file``; (how many frames it has, the ``Watcher`` that saw them)."""
    cursor = np.where(ticks.gui[:, None], ticks.cursor, np.nan) if settings.gui == "cursor" else None
    count, watcher = 0, Watcher(len(ticks), turns=not ticks.viewed)
    with open(file, "wb") as out:
        for frame in read_frames(video, settings.size, wanted=wanted, cursor=cursor, threads=threads):
            if frame is not None:
                out.write(np.ascontiguousarray(frame).data)
                watcher.see(count, frame)
            count += 1
    return count, watcher


SCREEN, NULL, BEYOND, SHORT = "open screen", "null", "beyond the video", "too short a stretch"
"""Kinds of ticks that are left out, beside the faults of ``alignment.FAULTS``."""


def _left_out(ticks, shown, early, episodes, wanted, settings):
    """kind -> how many ticks are not kept because of it, each under its first reason."""
    kept = _within(((e["start"], e["stop"]) for e in episodes), len(ticks)) & wanted
    reasons = [(ticks.fault == i, kind) for i, kind in enumerate(FAULTS, 1)]
    reasons.append((np.arange(len(ticks)) < early, FAULTS[EARLY - 1]))
    reasons.append((~shown, BEYOND))
    if settings.gui == "drop":
        reasons.append((ticks.gui, SCREEN))
    if settings.skip_nulls:
        reasons.append((ticks.null, NULL))
    counts, rest = {}, ~kept
    for mask, kind in (*reasons, (rest, SHORT)):
        counts[kind] = counts.get(kind, 0) + int((rest & mask).sum())
        rest = rest & ~mask
    counts[FAULTS[TWICE - 1]] += ticks.doubled
    return {kind: count for kind, count in counts.items() if count}


def _lag_notes(lag):
    """What is to be said where the pictures do not turn when the player does; ``lag`` as ``Watcher.lag`` gives it."""
    if not lag:
        return ()
    if lag > LAGS:
        return ("the pictures do not turn with the recorded movement",)
    return (f"the pictures seem to come {abs(lag)} ticks {'after' if lag > 0 else 'before'} the actions",)


def _within(stretches, count):
    """Bool ``[count]``, True inside one of the (start, stop) ``stretches``."""
    mask = np.zeros(count, bool)
    for start, stop in stretches:
        mask[start:stop] = True
    return mask


def cut(stays, settings):
    """(start, stop) ticks of the runs of ``stays``, cut and sifted as ``settings`` say."""
    for start, stop in runs(stays, settings.min_frames):
        length = settings.max_frames or stop - start
        for first in range(start, stop, length):
            if min(first + length, stop) - first >= settings.min_frames:
                yield first, min(first + length, stop)
