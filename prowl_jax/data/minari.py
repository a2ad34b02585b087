"""Data sets of Minari: episodes in HDF5, Arrow or Parquet, with the spaces of observations and actions beside them.

Of github.com/Farama-Foundation/Minari (0.5.4): a folder ``data`` holds ``metadata.json`` and ``main_data.hdf5`` with
groups ``episode_0``, ..., or a folder an episode with one table. An episode has one observation more than actions.
Pictures are images as they are, or each a JPEG. Columns are ``actions`` of a Discrete space, ``actions.0``, ... of an
array, ``actions.KEY`` of a Dict and ``actions.0`` of a Tuple, and so on inside.
"""

import dataclasses
import json

import numpy as np

from prowl_jax.data import tables
from prowl_jax.data.own import Own, Raw, chosen, column_text, h5py, jpeg, pictures, resized, tiled, tiles
from prowl_jax.data.vpt_records import RecordingError

META, HDF5 = "metadata.json", "main_data.hdf5"
OBSERVATIONS = "observations"
"""How the pictures of a space that is no Dict are called."""


@dataclasses.dataclass(frozen=True)
class Episode:
    """Which ``index`` of its data set it is, how that is stored (``form``), and ``shapes``, those of its pictures."""

    index: int
    form: str
    shapes: dict


def find(source, files, frames=()):
    """Every episode of the data sets below ``source``.

    Raises:
      ValueError: a data set is damaged, without pictures, or has not those of ``frames``.
      ImportError: h5py is not installed.
    """
    found = []
    for path in files:
        meta = _metadata(path) if path.name == META else None
        if meta is None:
            continue
        try:
            there = dict(_images(meta["observation_space"]))
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise ValueError(f"{path} has no observation_space of Minari's: {tables.short(error)}") from None
        names = chosen(list(there), frames, path.parent)
        shapes = {name: tuple(there[name]) for name in names}
        form = str(meta.get("data_format", "hdf5"))
        episodes = _episodes(path.parent, form)
        if not episodes:
            raise ValueError(f"{path.parent} holds no episode in {form}; copy the data set anew")
        for index, file in episodes:
            place = path.parent.relative_to(source).as_posix()
            name = f"{'' if place == '.' else place + '/'}episode_{index:06d}"
            found.append(Own(name, "minari", file, pictures=names, inside=Episode(index, form, shapes)))
    return found


def suggested(root):
    """A text of ``--columns`` for the space of a data set's actions."""
    try:
        space = json.loads((root / "data" / META).read_text())["action_space"]
        return ", ".join(_named(json.loads(space) if isinstance(space, str) else space, "action", "actions"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "action=actions"


def _named(space, name, column):
    """Parts of ``--columns`` for a space of actions."""
    kind = space["type"]
    if kind in ("Dict", "Tuple"):
        inner = space["subspaces"].items() if kind == "Dict" else enumerate(space["subspaces"])
        return [part for key, sub in inner for part in _named(sub, str(key), f"{column}.{key}")]
    if kind == "Discrete":
        return [f"{name}={column}" + (f":{space['n']}" if space["n"] > 2 else "")]
    if kind == "Box":
        bounds = (np.broadcast_to(np.asarray(space[end], float), space["shape"]).ravel() for end in ("low", "high"))
        limits = list(zip(*bounds, strict=True))
        if not space["shape"]:
            return [column_text(name, column, *limits[0])]
        return [column_text(f"{name}_{i}", f"{column}.{i}", *within) for i, within in enumerate(limits)]
    sizes = space["nvec"] if kind == "MultiDiscrete" else [2] * int(np.prod(space["n"]))
    sizes = enumerate(np.ravel(sizes).tolist())
    return [f"{name}_{i}={column}.{i}" + (f":{size}" if size > 2 else "") for i, size in sizes]


def _metadata(path):
    """What a ``metadata.json`` says; None where it is not that of a data set of Minari's."""
    try:
        meta = json.loads(path.read_text())
        if not isinstance(meta, dict) or not {"data_format", "observation_space", "total_episodes"} & set(meta):
            return None  # an episode's own
        if "observation_space" not in meta:
            raise KeyError("observation_space")
        space = meta["observation_space"]
        return meta | {"observation_space": json.loads(space) if isinstance(space, str) else dict(space)}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        if not (path.parent / HDF5).exists():
            return None
        raise ValueError(f"{path} is damaged ({tables.short(error)}); copy the data set anew") from None


def _images(space, name=""):
    """(name, shape) of every Box of a space that can be pictures; keys of Dicts are joined by dots."""
    kind = space.get("type") if isinstance(space, dict) else None
    if kind == "Dict":
        for key, inner in space["subspaces"].items():
            yield from _images(inner, f"{name}.{key}" if name else key)
    elif kind == "Tuple":
        for i, inner in enumerate(space["subspaces"]):
            yield from _images(inner, f"{name}.{i}" if name else str(i))
    elif kind == "Box" and space.get("dtype") == "uint8" and len(space["shape"]) in (2, 3) and min(space["shape"][:2]):
        yield name or OBSERVATIONS, space["shape"]


def _episodes(folder, form):
    if form != "hdf5":
        numbers = sorted(int(inner.name) for inner in folder.iterdir() if inner.is_dir() and inner.name.isdigit())
        return [(number, folder / str(number)) for number in numbers]
    path = folder / HDF5
    try:
        with h5py().File(path, "r") as file:
            numbers = [name.removeprefix("episode_") for name in file]
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{path} cannot be read: {tables.short(error)}; copy the data set anew") from None
    return [(number, path) for number in sorted(int(number) for number in numbers if number.isdigit())]


def read(own, asked):
    """A ``Raw`` of an episode, without the observation after its last action."""
    episode, size = own.inside, asked.settings.size
    where = f"{own.file.name}, episode {own.inside.index}"
    try:
        actions, observed = (_from_hdf5 if episode.form == "hdf5" else _from_arrow)(own)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError) as error:
        raise RecordingError(f"{where}, cannot be read: {tables.short(error)}") from None
    rows = _columns("actions", actions)
    if asked.actions and not rows:
        raise RecordingError(f"{where}, has no actions that are numbers")
    each, _ = tiles(size, len(own.pictures))
    images = {name: _pictures(observed[name], episode.shapes[name], own.file.name) for name in own.pictures}
    count = min(map(len, images.values()))
    steps = len(next(iter(rows.values()), ()))
    count -= count == steps + 1


    def frames(wanted):
        return tiled([resized(shown[:count], each, wanted, where) for shown in images.values()], size)

    return Raw(rows, frames, count)


def _columns(name, value):
    """The columns of an array, or of a dict of them."""
    if not isinstance(value, dict):
        return tables.flat(name, value)
    return {n: v for key, inner in value.items() for n, v in _columns(f"{name}.{key}", inner).items()}


def _pictures(array, shape, name):
    """Images, or functions that decode one each."""
    if isinstance(array, np.ndarray) and array.ndim > 2 and array.dtype == np.uint8:
        return pictures(array, name)
    if isinstance(array, np.ndarray) and array.dtype == np.uint8 and array.shape[1:] == (int(np.prod(shape)),):
        return pictures(array.reshape(-1, *shape), name)
    return [lambda content=content: jpeg(bytes(content), name) for content in array]


def _from_hdf5(own):
    """(actions, name -> pictures) of an episode."""

    def tree(node):
        if hasattr(node, "keys"):
            return {key.removeprefix("_index_"): tree(node[key]) for key in node}
        return node[()]

    with h5py().File(own.file, "r") as file:
        group = file[f"episode_{own.inside.index}"]
        observed = {}
        for name in own.pictures:
            node = group["observations"]
            for key in name.split(".") if name != OBSERVATIONS else ():
                node = node[key] if key in node else node[f"_index_{key}"]
            observed[name] = node[()]
        return tree(group["actions"]), observed


def _from_arrow(own):
    """The same of the one table in an episode's folder; the rows behind the last action are padded."""
    files = sorted(path for path in own.file.iterdir() if path.suffix == f".{own.inside.form}")
    if not files:
        raise FileNotFoundError(f"no .{own.inside.form} in it")
    tables.parquet()  # pyarrow is there, or what to install is told
    import pyarrow.dataset

    table = pyarrow.dataset.dataset(files, format=own.inside.form).to_table().combine_chunks()
    columns = {name: table.column(name).combine_chunks() for name in ("actions", "observations")}

    def tree(array):
        if hasattr(array, "field") and hasattr(array.type, "fields"):
            return {field.name: tree(array.field(field.name)) for field in array.type.fields}
        values = array.to_numpy(zero_copy_only=False)
        return np.stack(values) if len(values) and isinstance(values[0], np.ndarray) else values

    observed = {}
    for name in own.pictures:
        node = columns["observations"]
        for key in name.split(".") if name != OBSERVATIONS else ():
            node = node.field(key)
        observed[name] = tree(node)
    return _shortened(tree(columns["actions"])), observed


def _shortened(value):
    """Without the last row."""
    return {key: _shortened(inner) for key, inner in value.items()} if isinstance(value, dict) else value[:-1]
