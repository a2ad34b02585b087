"""Somebody's tables of actions, a row a frame: CSV, JSON lines, NPZ, Parquet, HDF5, as columns of numbers.

pyarrow and h5py are extras (``pip install prowl_jax[recordings]``), imported when such a file is opened.
"""

import csv
import json
import zipfile
import zlib

import numpy as np

from prowl_jax.data.vpt_records import LONGEST, RecordingError

ENDINGS = (".csv", ".jsonl", ".npz", ".parquet")
_DAMAGE = (
    *(ValueError, KeyError, EOFError, RecursionError, NotImplementedError, MemoryError),
    *(csv.Error, zipfile.BadZipFile, zlib.error),
)
_WORDS = {"true": 1.0, "false": 0.0}


def read_table(path):
    """The columns of a file by its ending: name -> float64 ``[T]``, NaN where a cell is empty or no number.

    An array of several columns, as NPZ and Parquet hold, is ``name.0``, ``name.1``, ...; so is a list in a JSON line.

    Raises:
      RecordingError: the file cannot be read as its ending says, or is empty; one line that names it.
      ImportError: pyarrow is not installed.
    """
    read = {".csv": _csv, ".jsonl": _jsonl, ".npz": _npz, ".parquet": _parquet}[path.suffix.lower()]
    try:
        table = read(path)
    except RecordingError:
        raise
    except OSError as error:
        raise RecordingError(f"{path.name} cannot be read: {error.strerror or 'it is damaged'}") from None
    except _DAMAGE as error:
        raise RecordingError(f"{path.name} cannot be read as {path.suffix[1:]}: {short(error)}") from None
    lengths = {name: len(values) for name, values in table.items()}
    if not lengths and path.suffix.lower() in (".npz", ".parquet"):
        raise RecordingError(f"{path.name} has no columns of numbers; give one for each action, or an array of them")
    if not lengths or not max(lengths.values()):
        raise RecordingError(f"{path.name} is empty: it needs a row for each frame")
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise RecordingError(f"{path.name} has columns of different lengths ({said[:120]}); give a row for each frame")
    return table


def flat(name, array):
    """An array ``[T, ...]`` as columns: one called ``name``, or ``name.0``, ``name.1``, ...; none where no numbers."""
    array = np.asarray(array)
    if array.ndim == 0 or array.dtype.kind not in "fiub":
        return {}
    if array.ndim == 1:
        return {name: array.astype(np.float64)}
    rows = array.reshape(len(array), int(np.prod(array.shape[1:])))
    return {f"{name}.{i}": rows[:, i].astype(np.float64) for i in range(rows.shape[1])}


def _csv(path):
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file)
        names = [name.strip() for name in next(rows, [])]
        cells = [row for row in rows if row]
    if any(len(row) != len(names) for row in cells):
        odd = next(i for i, row in enumerate(cells) if len(row) != len(names))
        raise RecordingError(f"{path.name}: row {odd + 1} has {len(cells[odd])} cells, its head {len(names)}")
    return {name: np.array([_number(row[i]) for row in cells]) for i, name in enumerate(names)}


def _jsonl(path):
    rows = []
    with path.open("rb") as file:
        while line := file.readline(LONGEST + 1):
            row = json.loads(line) if len(line) <= LONGEST else None
            if not isinstance(row, dict):
                raise RecordingError(f"{path.name}: line {len(rows) + 1} is no object of columns")
            rows.append(dict(_cells(row)))
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: np.array([_number(row.get(name)) for row in rows]) for name in names}


def _cells(row):
    for name, value in row.items():
        if isinstance(value, list):
            yield from ((f"{name}.{i}", inner) for i, inner in enumerate(value[:64]))
        else:
            yield name, value


def _npz(path):
    with np.load(path, allow_pickle=False) as arrays:
        if not hasattr(arrays, "files"):
            raise RecordingError(f"{path.name} is one array, not an .npz of columns")
        return {n: v for name in arrays.files for n, v in flat(name, arrays[name]).items()}


def parquet():
    """The module ``pyarrow.parquet``; ImportError of one line where it is not installed."""
    try:
        from pyarrow import parquet
    except ImportError:
        raise ImportError("Parquet needs pyarrow: pip install 'prowl_jax[recordings]'") from None
    return parquet


def _parquet(path):
    return columns_of(parquet().ParquetFile(path).read())


def columns_of(table):
    """The columns of numbers of an Arrow table, as ``read_table`` gives them."""
    columns = {}
    for name in table.column_names:
        if str(table.schema.field(name).type).startswith(("struct", "binary", "large_binary")):
            continue  # pictures, as data sets of robots hold them
        values = table.column(name).to_pylist()
        first = next((value for value in values if value is not None), None)
        if isinstance(first, list):
            columns |= flat(name, np.array([[_number(v) for v in value or [None] * len(first)] for value in values]))
        elif isinstance(first, int | float):
            columns[name] = np.array([_number(value) for value in values])
    return columns


def _number(value):
    if isinstance(value, str):
        word = value.strip().lower()
        try:
            return _WORDS[word] if word in _WORDS else float(word)
        except ValueError:
            return np.nan
    try:
        return float(value) if isinstance(value, int | float) else np.nan
    except OverflowError:
        return np.nan


def short(error):
    """What an error says, in one line."""
    return " ".join(str(error).split())[:120] or type(error).__name__
