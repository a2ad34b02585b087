"""What the formats of anybody's recordings have in common: a recording as it lies there, and as what was found of it.

Each format is a module with two functions: ``find(source, files, frames)`` gives its recordings in a folder, none
where it is not that format, and ``read(own, asked)`` one of them as ``Raw``. ``frames`` names the pictures to take of a
data set that has several: cameras, keys of an observation. numpy only.
"""

import dataclasses
import io
import pathlib
import re

import numpy as np

from prowl_jax.data import video
from prowl_jax.data.recordings import Settings
from prowl_jax.data.vpt_records import RecordingError


@dataclasses.dataclass(frozen=True)
class Own:
    """One recording of somebody's.

    Attributes:
      name: its path below the source, without extension.
      kind: its format, a key of ``own_recordings.KINDS``.
      file: the video, the arrays, or the file of a data set that it lies in.
      table: the actions beside a video, or None.
      pictures: names of those that are taken of a data set; several are tiled.
      inside: where in its file it lies, as its format says it.
    """

    name: str
    kind: str
    file: pathlib.Path
    table: pathlib.Path | None = None
    pictures: tuple[str, ...] = ()
    inside: object = ""


@dataclasses.dataclass(frozen=True)
class Asked:
    """How a recording is read: ``settings``, ``threads`` of a decoder, and whether ``actions`` are wanted."""

    settings: Settings
    threads: int = 1
    actions: bool = True


@dataclasses.dataclass(frozen=True)
class Raw:
    """What was found of a recording: ``rows`` (column -> float ``[T]``), ``frames(wanted)``, an iterator, how many of
    them, and ``ends``, bool ``[T]``, where an episode ends with a frame."""

    rows: dict
    frames: object
    count: int
    ends: np.ndarray | None = None


def chosen(there, asked, what):
    """Which pictures to take: those asked for, by their names or what these end with; else the only ones there are.

    Args:
      there: their names. asked: names. what: a data set, for the message.

    Raises:
      ValueError: none is there, several are and none was chosen, or one that was chosen is not.
    """
    if not there:
        raise ValueError(f"{what} holds no pictures: a world model needs them, so look for a version with images")
    if not asked and len(there) > 1:
        raise ValueError(f"{what} has pictures {', '.join(there)}: choose with --frames={there[0]}, several are tiled")
    found = []
    for name in asked or there:
        same = [full for full in there if full == name] or [f for f in there if f.split(".")[-1] == name]
        if len(same) != 1:
            raise ValueError(f"{what} has no pictures {name!r}; there are {', '.join(there)}: name one with --frames=")
        found.append(same[0])
    return tuple(found)


def column_text(name, column, low=None, high=None):
    """A part of ``--columns`` for a number within limits, -1..1 where they are not known; see ``columns``."""
    known = low is not None and high is not None and np.isfinite([low, high]).all() and low < high
    name = re.sub(r"[^\w. -]", "_", name).strip() or "action"
    return f"{name}={column}:{low:.4g}..{high:.4g}" if known else f"{name}={column}:-1..1"


def pictures(frames, name):
    """Images in any usual order and type as uint8 ``[T, H, W, 3]``.

    Raises:
      RecordingError: they are none; the line names ``name``, the file.
    """
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


def resized(images, size, wanted, name):
    """``images`` (an iterable of uint8 ``[H, W, 3]``, or of functions that give one) by area to ``size``; None where
    ``wanted`` says so, and then no function is called.

    Raises:
      RecordingError: one is of another size than those before it; the line names ``name``.
    """
    resize, before = None, None
    for t, image in enumerate(images):
        if not wanted[t]:
            yield None
            continue
        image = np.ascontiguousarray(image() if callable(image) else image)
        shape = image.shape[:2]
        if before is None:
            resize, before = video.ArrayResizer(shape, size), shape
        if shape != before:
            raise RecordingError(video.another_size(name, t, shape, before))
        yield resize(image)


def jpeg(content, name):
    """An encoded image as uint8 ``[H, W, 3]``.

    Raises:
      RecordingError: it is none. ImportError: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError:
        raise ImportError("pictures inside a data set need Pillow: pip install 'prowl_jax[data]'") from None
    try:
        return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise RecordingError(f"{name} holds a picture that cannot be decoded; copy the file anew") from None


def tiles(size, count):
    """Where ``count`` pictures lie in one of ``size``: ``(size of each, [(top, left), ...])``, in rows from the left.

    Raises:
      ValueError: rows and columns are no whole numbers of pixels.
    """
    columns = int(np.ceil(np.sqrt(count)))
    rows = -(-count // columns)
    height, width = size[0] // rows, size[1] // columns
    if size[0] % rows or size[1] % columns:
        asked = f"{size[0]}x{size[1]}"
        raise ValueError(
            f"{count} tiled pictures need --size=HxW with H divisible by {rows} and W by {columns}, {asked} is not"
        )
    return (height, width), [(height * (i // columns), width * (i % columns)) for i in range(count)]


def tiled(streams, size):
    """Iterators of ``tiles``, uint8 ``[h, w, 3]`` or None where not wanted, as one of uint8 ``[H, W, 3]``."""
    if len(streams) == 1:
        yield from streams[0]
        return
    _, places = tiles(size, len(streams))
    for parts in zip(*streams, strict=True):
        if any(part is None for part in parts):
            yield None
            continue
        picture = np.zeros((*size, 3), np.uint8)
        for part, (top, left) in zip(parts, places, strict=True):
            picture[top : top + part.shape[0], left : left + part.shape[1]] = part
        yield picture


def h5py():
    """The module; ImportError of one line where it is not installed."""
    try:
        import h5py
    except ImportError:
        raise ImportError("HDF5 needs h5py: pip install 'prowl_jax[recordings]'") from None
    return h5py
