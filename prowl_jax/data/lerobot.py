"""Data sets of LeRobot, versions 2 and 3: Parquet tables, and a video a camera (or encoded pictures in the tables).

Of github.com/huggingface/lerobot (0.4.4): ``meta/info.json`` says the version, the rate, the features and where files
are; version 2 has a table and videos for each episode, version 3 packs many episodes into one file and says in
``meta/episodes/`` in which file, and from which second of a video, each is. Columns are those of the tables,
``action.0``, ``action.1``, ... of an array, and also ``action.NAME`` where the features name its parts. Written after
that source; no public data set has been read yet (docs/limits.md).
"""

import dataclasses
import json
import pathlib

import numpy as np

from prowl_jax.data import tables, video
from prowl_jax.data.own import Own, Raw, chosen, column_text, jpeg, resized, tiled, tiles
from prowl_jax.data.vpt_records import RecordingError

INFO = pathlib.PurePath("meta", "info.json")


@dataclasses.dataclass(frozen=True)
class Episode:
    """Where an episode lies: its ``index``, the data set's ``rate`` (frames a second), ``names`` (feature -> names of
    its parts), and ``videos`` (camera -> (file, seconds at which it begins and ends; None: with the file)), None where
    pictures are in the table."""

    index: int
    rate: float
    names: dict
    videos: dict | None


def find(source, files, frames=()):
    """Every episode of the data sets below ``source``.

    Raises:
      ValueError: a data set is damaged, of another version, without pictures, or has not those of ``frames``.
      ImportError: pyarrow is not installed.
    """
    roots = [path.parents[1] for path in files if path.parts[-2:] == INFO.parts]
    return [own for root in roots for own in _episodes_of(root, source, frames)]


def _episodes_of(root, source, frames):
    info = _info(root)
    kinds = {name: feature.get("dtype") for name, feature in info["features"].items()}
    pictures = chosen([n for n, kind in kinds.items() if kind in ("video", "image")], frames, root)
    if len({kinds[name] for name in pictures}) > 1:
        raise ValueError(f"{root}: {', '.join(pictures)} are videos and pictures in tables; choose of one kind")
    filmed = kinds[pictures[0]] == "video"
    names = {name: _parts(feature) for name, feature in info["features"].items()}
    prefix = root.relative_to(source).as_posix()
    prefix = "" if prefix == "." else f"{prefix}/"
    made = []
    try:
        for index, table, where in (_of_version_3 if info["version"] == 3 else _of_version_2)(root, info):
            videos = {name: where(name) for name in pictures} if filmed else None
            inside = Episode(index, float(info["fps"]), names, videos)
            made.append(Own(f"{prefix}episode_{index:06d}", "lerobot", table, pictures=pictures, inside=inside))
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        why = tables.short(error)
        raise ValueError(f"{root}/meta does not say where its episodes are ({why}); copy it anew") from None
    if not made:
        raise ValueError(f"{root} holds no episode, by its meta/info.json; copy the data set anew")
    return made


def suggested(root):
    """A text of ``--columns`` for the actions of a data set: its parts, within the limits of its statistics."""
    feature = _info(root)["features"].get("action") or {}
    names, count = _parts(feature), int(np.prod(feature.get("shape") or [1]))
    names = names if len(names) == count else [f"action_{i}" for i in range(count)]
    try:
        stats = json.loads((root / "meta" / "stats.json").read_text())["action"]
        limits = list(zip(np.ravel(stats["min"]).tolist(), np.ravel(stats["max"]).tolist(), strict=True))
    except (OSError, ValueError, KeyError, TypeError):
        limits = []
    limits = limits if len(limits) == count else [(None, None)] * count
    places = ["action"] if count == 1 else [f"action.{i}" for i in range(count)]
    rows = zip(names, places, limits, strict=True)
    return ", ".join(column_text(name, place, *within) for name, place, within in rows)


def _info(root):
    path = root / INFO
    try:
        info = json.loads(path.read_text())
        version = str(info["codebase_version"])
        info["version"] = int(version.removeprefix("v").split(".")[0])
        sane = info["fps"] > 0 and all(isinstance(feature, dict) for feature in info["features"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({tables.short(error)}); copy the data set anew") from None
    if not sane or info["version"] not in (2, 3):
        raise ValueError(f"{path} says version {version}; 2 and 3 are read: convert it with LeRobot")
    return info


def _parts(feature):
    """Names of the parts of a feature, a list; names may lie in a dict, as those of motors do."""
    names = feature.get("names") or ()
    if isinstance(names, dict):
        inner = list(names.values())
        names = inner[0] if len(inner) == 1 and isinstance(inner[0], list) else list(names)
    return [str(name) for name in names] if isinstance(names, list | tuple) else []


def _of_version_2(root, info):
    size = int(info.get("chunks_size") or 1000)
    for index in range(int(info.get("total_episodes") or 0)):
        place = {"episode_chunk": index // size, "episode_index": index}

        def where(name, place=place):
            return root / info["video_path"].format(video_key=name, **place), 0.0, None

        yield index, root / info["data_path"].format(**place), where


def _of_version_3(root, info):
    files = sorted((root / "meta" / "episodes").rglob("*.parquet"))
    if not files:
        raise ValueError(f"{root} has no meta/episodes/*.parquet, which say where its episodes are; copy it anew")
    for file in files:
        try:
            schema = tables.parquet().read_schema(file).names
            wanted = [name for name in schema if name.split("/")[0] in ("episode_index", "data", "videos")]
            rows = tables.parquet().read_table(file, columns=wanted).to_pylist()
        except (OSError, ValueError) as error:
            raise ValueError(f"{file} cannot be read as parquet: {tables.short(error)}") from None
        for row in rows:

            def where(name, row=row):
                chunk, number = (row[f"videos/{name}/{part}_index"] for part in ("chunk", "file"))
                path = info["video_path"].format(video_key=name, chunk_index=chunk, file_index=number)
                seconds = (float(row[f"videos/{name}/{end}_timestamp"]) for end in ("from", "to"))
                return root / path, *seconds

            place = {"chunk_index": row["data/chunk_index"], "file_index": row["data/file_index"]}
            yield int(row["episode_index"]), root / info["data_path"].format(**place), where


def read(own, asked):
    """A ``Raw`` of an episode; its videos are decoded from the key frame before its beginning."""
    episode, size = own.inside, asked.settings.size
    table = _table(own, asked)
    rows = tables.columns_of(table)
    for feature, names in episode.names.items():
        parts = [f"{feature}.{i}" for i in range(len(names))]
        if names and all(part in rows for part in parts) and f"{feature}.{len(names)}" not in rows:
            rows |= {f"{feature}.{name}": rows[part] for name, part in zip(names, parts, strict=True)}
    each, _ = tiles(size, len(own.pictures))
    if episode.videos is None:
        made = {name: _encoded(table, name, own.file.name) for name in own.pictures}
        where = f"{own.file.name}, episode {episode.index}"

        def pictures(wanted):
            return tiled([resized(m, each, wanted, where) for m in made.values()], size)

        return Raw(rows, pictures, len(table))
    stretches = [_stretch(*episode.videos[name], episode.rate) for name in own.pictures]
    count = min(count for _, _, count in stretches)

    def frames(wanted):
        how = (count, episode.rate, wanted, asked.threads)
        return tiled([video.read_stretch(file, each, first, *how) for file, first, _ in stretches], size)

    return Raw(rows, frames, count)


def _stretch(path, begin, end, rate):
    """(the video, the episode's first frame in it, how many of its frames are there)."""
    first, there = round(begin * rate), video.count_frames(path, None)
    return path, first, max(0, min(there, there if end is None else round(end * rate)) - first)


def _table(own, asked):
    """The episode's rows of its file, as an Arrow table: columns of numbers, and of pictures where those are in it."""
    episode, name = own.inside, own.file.name
    try:
        there = tables.parquet().read_schema(own.file).names
        if known := "episode_index" in there:
            table = tables.parquet().read_table(own.file, filters=[("episode_index", "=", episode.index)])
    except FileNotFoundError:
        raise RecordingError(f"{name} is not there; download it too") from None
    except (OSError, ValueError, NotImplementedError) as error:
        raise RecordingError(f"{name} cannot be read as parquet: {tables.short(error)}") from None
    if not known:
        said = ", ".join(there)[:120]
        raise RecordingError(f"{name} has no column 'episode_index', it has {said}: it is no table of LeRobot's")
    if not table.num_rows:
        raise RecordingError(f"{name} has no row of episode {episode.index}")
    return table


def _encoded(table, name, file):
    """Functions that give the pictures of a column, uint8 ``[H, W, 3]``."""
    if name not in table.column_names:
        raise RecordingError(f"{file} has no column {name!r} of pictures")

    def one(t):
        cell = table.column(name)[t].as_py()
        content = cell.get("bytes") if isinstance(cell, dict) else cell
        if not isinstance(content, bytes):
            raise RecordingError(f"{file}: the pictures of {name} lie outside of it; LeRobot packs them when it saves")
        return jpeg(content, file)

    return [lambda t=t: one(t) for t in range(table.num_rows)]

