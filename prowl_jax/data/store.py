"""A store of recorded episodes, memory-mapped: any clip is read without reading the rest.

A folder holds ``frames.bin`` (uint8 ``[F, H, W, 3]``), ``actions.bin`` (int32 ``[F, A]``),
both little-endian in C order with the episodes end to end, ``index.json`` (version, action
spec, shapes, episode lengths, byte counts, CRC-32 checksums), and ``<name>.npy`` for further arrays with
one entry a frame, such as cached latents, or one a clip (``ClipStore.tiles``), each with its checksum in
``<name>.npy.crc32``.
"""

import json
import os
import pathlib
import shutil
import zlib

import numpy as np

from prowl_jax.actions import ActionSpec
from prowl_jax.data.held_out import Origin, hold_out
from prowl_jax.spans import span
from prowl_jax.types import Clip

VERSION = 1


class StoreWriter:
    """Writes a store, episode by episode; nothing is there under ``path`` until all of it is.

    A context manager: the folder is built as ``path.partial`` and renamed at the end of the
    ``with`` block. If the block raises, the partial folder is removed, unless ``resume`` is given:
    then it stays, and a writer told how much of it to keep goes on from there.

    Args:
      path: folder to make; it must not exist, or be empty.
      spec: the factors of the actions.
      frame_shape: ``(H, W, 3)``.
      arrays: further arrays with one entry a frame, ``{name: (dtype, shape of an entry)}``; the
        finished store has them as if ``ClipStore.add_array`` had added them.
      resume: lengths of the first episodes in ``path.partial``, which are kept; ``()`` keeps none.
        The caller keeps count, after ``flush``.
      origins: of those first episodes, as ``add_episode`` was told them.

    Raises:
      FileExistsError: ``path`` is there already.
      ValueError: (``add_episode``) shapes, types or action values that do not fit; (on entry) the
        partial folder holds less than ``resume`` says.
    """

    def __init__(self, path, spec: ActionSpec, frame_shape, arrays=None, resume=None, origins=()):
        self.path = pathlib.Path(path)
        self.partial = self.path.with_name(self.path.name + ".partial")
        self.spec, self.frame_shape = spec, tuple(int(n) for n in frame_shape)
        self.arrays = {name: (np.dtype(kind), tuple(shape)) for name, (kind, shape) in (arrays or {}).items()}
        for name, (kind, _) in self.arrays.items():
            _check_array(name, kind)
        self.lengths, self._resumable = list(resume or ()), resume is not None
        self.origins = list(origins) or _own_origins(self.lengths)

    def __enter__(self):
        if not is_new(self.path):
            raise FileExistsError(f"{self.path} exists already")
        if not self._resumable:
            shutil.rmtree(self.partial, ignore_errors=True)  # what an interrupted writer left behind
        self.partial.mkdir(parents=True, exist_ok=True)
        rows = {"frames": (np.dtype("u1"), self.frame_shape), "actions": (np.dtype("<i4"), (len(self.spec.factors),))}
        self._files = {}
        for name, (kind, shape) in (rows | self.arrays).items():
            file = self._files[name] = open(self.partial / f"{name}.bin", "ab")
            kept = sum(self.lengths) * kind.itemsize * int(np.prod(shape))
            if file.tell() < kept:
                raise ValueError(f"{file.name} has {file.tell()} bytes, fewer than the {kept} to go on from")
            file.truncate(kept)
        return self

    @span("clip stores")
    def add_episode(self, frames, actions, origin: Origin | None = None, **arrays):
        """Append one episode: frames uint8 ``[T, H, W, 3]``, actions int ``[T, A]``, T >= 1.

        ``origin`` says which recording it is from; without one it is a recording of its own. ``arrays`` are the
        entries ``[T, ...]`` of the further arrays, every one of them.
        """
        frames, actions = np.asarray(frames), self.spec.check(actions)
        if frames.dtype != np.uint8 or frames.shape[1:] != self.frame_shape:
            raise ValueError(
                f"frames must be uint8 [T, {', '.join(map(str, self.frame_shape))}], "
                f"got {frames.dtype} {frames.shape}"
            )
        if actions.ndim != 2 or len(actions) != len(frames) or len(frames) == 0:
            raise ValueError(f"{len(frames)} frames need as many actions, got {actions.shape}")
        if arrays.keys() != self.arrays.keys():
            raise ValueError(f"an episode needs the arrays {sorted(self.arrays)}, got {sorted(arrays)}")
        for name, (kind, shape) in self.arrays.items():
            array = np.asarray(arrays[name])
            if array.dtype != kind or array.shape != (len(frames), *shape):
                raise ValueError(
                    f"array {name!r} must be {kind} {[len(frames), *shape]}, got {array.dtype} {list(array.shape)}"
                )
        self._files["frames"].write(np.ascontiguousarray(frames).data)
        self._files["actions"].write(np.ascontiguousarray(actions, "<i4").data)
        for name, array in arrays.items():
            self._files[name].write(np.ascontiguousarray(array).data)
        self.lengths.append(len(frames))
        self.origins.append(origin or _own_origins(self.lengths)[-1])

    @span("clip stores")
    def flush(self):
        """Bring every episode added so far to the disk, so that ``resume`` may count on it."""
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())

    @span("clip stores")
    def __exit__(self, kind, error, trace):
        failed = []
        for attempt in (self.flush, *(file.close for file in self._files.values())):
            try:  # every one, also where the one before could not: the disk may be full
                attempt()
            except OSError as error_of_disk:
                failed.append(error_of_disk)
        if failed and kind is None:
            raise failed[0]
        if kind is None and not self.lengths:
            shutil.rmtree(self.partial)
            raise ValueError(f"no episode was added to {self.path}")
        if kind is not None:
            if not self._resumable:
                shutil.rmtree(self.partial, ignore_errors=True)
            return
        for name, (dtype, shape) in self.arrays.items():
            raw = self.partial / f"{name}.bin"
            _save(self.partial / f"{name}.npy", np.memmap(raw, dtype, "r", shape=(sum(self.lengths), *shape)))
        index = {
            "version": VERSION,
            "spec": self.spec.to_json(),
            "frame_shape": list(self.frame_shape),
            "lengths": self.lengths,
            "origins": self.origins,
            "frames": {"dtype": "uint8", "bytes": (self.partial / "frames.bin").stat().st_size},
            "actions": {"dtype": "int32", "bytes": (self.partial / "actions.bin").stat().st_size},
            "checksums": {name: _crc(self.partial / f"{name}.bin") for name in ("frames", "actions")},
        }
        (self.partial / "index.json").write_text(json.dumps(index))
        self.partial.rename(self.path)
        for name in self.arrays:  # only now: until the renaming an interrupted writer needs them to go on
            (self.path / f"{name}.bin").unlink()


def _own_origins(lengths):
    """Where episodes are from of which nobody says so: a recording each."""
    return [Origin(f"episode {i}", 0, length) for i, length in enumerate(lengths)]


def _is_origin(value):
    return isinstance(value, list) and [type(part) for part in value] == [str, int, int]


def is_new(path):
    """Whether a store can be made as ``path``: nothing is there, or an empty folder."""
    path = pathlib.Path(path)
    return not path.exists() or (path.is_dir() and not any(path.iterdir()))


class ClipStore:
    """A finished store, read through memory maps.

    Attributes:
      path: its folder.
      spec: the factors of the actions.
      frame_shape: ``(H, W, 3)``.
      lengths: int64 ``[E]``, frames of each episode.
      origins: an ``Origin`` for each episode.
      offsets: int64 ``[E]``, index of each episode's first frame.
      frames: uint8 ``[F, H, W, 3]``, a read-only memory map.
      actions: int32 ``[F, A]``, a read-only memory map.
    """

    def __init__(self, path, spec, frame_shape, lengths, origins=None):
        self.path, self.spec, self.frame_shape = pathlib.Path(path), spec, tuple(frame_shape)
        self.lengths = np.asarray(lengths, np.int64)
        self.origins = [Origin(*o) for o in origins or _own_origins(lengths)]  # an older store does not say
        self.offsets = np.concatenate([[0], np.cumsum(self.lengths)[:-1]]).astype(np.int64)
        total = int(self.lengths.sum())
        self.frames = np.memmap(self.path / "frames.bin", np.uint8, "r", shape=(total, *self.frame_shape))
        self.actions = np.memmap(self.path / "actions.bin", "<i4", "r", shape=(total, len(spec.factors)))

    @classmethod
    def open(cls, path, spec: ActionSpec | None = None):
        """Open a store, checking it against its index and, where given, against ``spec``.

        Raises:
          FileNotFoundError: there is no store at ``path``.
          ValueError: one line that names the file or entry that is off.
        """
        path = pathlib.Path(path)
        if not (path / "index.json").is_file():
            raise FileNotFoundError(f"no clip store at {path} (index.json is missing)")
        try:
            index = json.loads((path / "index.json").read_text())
            version = index["version"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}/index.json is damaged: {error!r}") from None
        if version != VERSION:
            raise ValueError(f"{path} is a store of version {version}, this is version {VERSION}")
        try:
            own = ActionSpec.from_json(index["spec"])
            frame_shape, lengths = tuple(index["frame_shape"]), index["lengths"]
            recorded = {name: index[name] for name in ("frames", "actions")}
            sane = len(frame_shape) == 3 and lengths and min(lengths) > 0
            row = {"frames": int(np.prod(frame_shape)), "actions": 4 * len(own.factors)}
            kinds = {"frames": "uint8", "actions": "int32"}
            origins = index.get("origins")
            sane = sane and (origins is None or list(map(_is_origin, origins)) == [True] * len(lengths))
            for name in ("frames", "actions"):
                wanted = sum(lengths) * row[name]
                sane = sane and recorded[name] == {"dtype": kinds[name], "bytes": wanted}
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}/index.json is damaged: {error!r}") from None
        if not sane:
            raise ValueError(f"{path}/index.json is damaged: lengths, shapes and sizes disagree")
        for name in ("frames", "actions"):
            file = path / f"{name}.bin"
            size = file.stat().st_size if file.is_file() else 0
            if size != recorded[name]["bytes"]:
                raise ValueError(f"{file} has {size} bytes, the index says {recorded[name]['bytes']}")
        if spec is not None and spec != own:
            raise ValueError(f"{path} has the action factors {own.names}, not {spec.names} as wanted")
        return cls(path, own, frame_shape, lengths, origins)

    @span("checksums")
    def verify(self):
        """Read all of it and hold it against its checksums, and the actions against the spec.

        Stores and arrays that were written without checksums are held against the spec alone.

        Raises:
          ValueError: one line that names the file that has changed, or the action factor that is off.
        """
        recorded = json.loads((self.path / "index.json").read_text()).get("checksums", {})
        expected = {self.path / f"{name}.bin": value for name, value in recorded.items()}
        for note in sorted(self.path.glob("*.npy.crc32")):
            expected[note.with_suffix("")] = note.read_text().strip()
        for file, value in expected.items():
            if file.is_file() and _crc(file) != str(value):
                raise ValueError(f"{file} has changed since it was written: its checksum is {_crc(file)}, not {value}")
        try:
            self.spec.check(self.actions)
        except ValueError as error:
            raise ValueError(f"{self.path}/actions.bin: {error}") from None

    def __len__(self):
        """Number of frames."""
        return int(self.lengths.sum())

    def episode(self, i: int) -> Clip:
        """The whole of episode ``i``: a Clip of read-only views, T = ``lengths[i]``."""
        return self.clip(self.offsets[i], self.lengths[i])

    def split(self, held_out_fraction: float, seed: int, gap: int = 0):
        """Episode ids for training and held out: two sorted int64 vectors, see ``held_out.hold_out``."""
        return self.hold_out(held_out_fraction, seed, gap)[:2]

    def hold_out(self, fraction: float, seed: int, gap: int = 0):
        """The same, and in words by what the sides were told apart: a ``HeldOut``."""
        return hold_out(self.origins, fraction, seed, gap)

    def starts(self, episodes, clip_length: int):
        """Every frame at which a clip of ``clip_length`` frames lies inside one of ``episodes``.

        Returns int64 ``[S]``, in order of ``episodes``; S is 0 where all are too short.
        """
        if clip_length < 1:
            raise ValueError(f"clip_length must be at least 1, got {clip_length}")
        runs = [
            np.arange(self.offsets[e], self.offsets[e] + self.lengths[e] - clip_length + 1)
            for e in np.asarray(episodes, np.int64)
        ]
        return np.concatenate([np.zeros(0, np.int64), *runs])

    def clip(self, start: int, length: int) -> Clip:
        """Frames ``start..start+length-1``: a Clip of read-only views."""
        if not 0 <= start <= start + length <= len(self):
            raise IndexError(f"frames {start}..{start + length - 1} are not in 0..{len(self) - 1}")
        return Clip(self.frames[start : start + length], self.actions[start : start + length])

    def gather(self, starts, length: int) -> Clip:
        """Clips at ``starts`` (int ``[B]``): frames ``[B, T, H, W, 3]``, actions ``[B, T, A]``, copied."""
        rows = self._rows(starts, length)
        return Clip(self.frames[rows], self.actions[rows])

    def gather_array(self, name: str, starts, length: int):
        """The same clips of an added array: ``[B, length, ...]``, copied."""
        return self.array(name)[self._rows(starts, length)]

    def tiles(self, episodes, length: int):
        """Starts of the clips of ``length`` frames that cover the episodes: int64, sorted with sorted episodes.

        One after the other; the last of an episode ends with it and may begin in the one before. An
        episode shorter than a clip has none.
        """
        runs = []
        for e in np.asarray(episodes, np.int64):
            last = self.lengths[e] - length
            starts = np.unique(np.append(np.arange(0, last, length), last)) if last >= 0 else np.zeros(0)
            runs.append(self.offsets[e] + starts.astype(np.int64))
        return np.concatenate([np.zeros(0, np.int64), *runs])

    def add_array(self, name: str, array):
        """Keep ``array`` (``[F, ...]``, one entry a frame) beside the frames as ``name``.

        Written whole or not at all; replaces an array of that name.
        """
        _check_array(name, np.dtype(array.dtype))
        if array.shape[:1] != (len(self),):
            raise ValueError(f"array {name!r} needs {len(self)} entries, got shape {array.shape}")
        _save(self.path / f"{name}.npy", array)

    def add_tiles(self, name: str, length: int, parts):
        """Keep an array with one entry for each of the ``tiles`` of all episodes as ``name``.

        ``parts`` yields its pieces ``[n, ...]`` in order, so that no more than one is in memory. Written
        whole or not at all.
        """
        count, done, out = len(self.tiles(range(len(self.lengths)), length)), 0, None
        partial = self.path / f"{name}.npy.partial"
        for part in map(np.asarray, parts):
            if out is None:
                _check_array(name, part.dtype)
                out = np.lib.format.open_memmap(partial, "w+", part.dtype, (count, *part.shape[1:]))
            out[done : done + len(part)] = part
            done += len(part)
        if out is None or done != count:
            raise ValueError(f"array {name!r} needs {count} entries, one a clip of {length} frames, got {done}")
        out.flush()
        del out
        _keep(partial, self.path / f"{name}.npy")

    def tile_array(self, name: str, length: int):
        """What ``add_tiles`` has kept, ``[tiles, ...]``, a read-only memory map; KeyError if there is none."""
        return self._open(name, len(self.tiles(range(len(self.lengths)), length)))

    def has_array(self, name: str) -> bool:
        """Whether ``add_array`` has kept an array of that name."""
        return (self.path / f"{name}.npy").is_file()

    def array(self, name: str):
        """An added array ``[F, ...]``, a read-only memory map; KeyError if there is none."""
        return self._open(name, len(self))

    def _open(self, name, entries):
        if not self.has_array(name):
            raise KeyError(f"no array {name!r} in {self.path}")
        try:
            array = np.lib.format.open_memmap(self.path / f"{name}.npy", "r")
        except (ValueError, EOFError, OSError) as error:
            raise ValueError(f"{self.path}/{name}.npy is damaged ({error}); delete it") from None
        if array.shape[:1] != (entries,):
            raise ValueError(f"{self.path}/{name}.npy has {array.shape[:1]} entries, not {entries}")
        return array

    def _rows(self, starts, length):
        rows = np.asarray(starts, np.int64)[:, None] + np.arange(length)
        if rows.size and (rows.min() < 0 or rows.max() >= len(self)):
            raise IndexError(f"clips reach over frames 0..{len(self) - 1}")
        return rows


def _check_array(name, dtype):
    if not name.isidentifier():
        raise ValueError(f"an array's name must be an identifier, got {name!r}")
    if dtype.kind not in "fiub":  # bfloat16 among them: a .npy forgets it
        raise ValueError(f"array {name!r} cannot be kept as {dtype}; use float16 or float32")


def _save(path, array):
    """``array`` as ``path`` (.npy), whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    out = np.lib.format.open_memmap(partial, "w+", np.dtype(array.dtype), array.shape)
    out[:] = array
    out.flush()
    del out
    _keep(partial, path)


def _keep(partial, path):
    """What is written whole gets its name, and its checksum beside it."""
    path.with_name(path.name + ".crc32").write_text(_crc(partial))
    partial.rename(path)


def _crc(path):
    """CRC-32 of a file, as eight hexadecimal digits."""
    value = 0
    with open(path, "rb") as file:
        while block := file.read(2**22):
            value = zlib.crc32(block, value)
    return f"{value:08x}"
