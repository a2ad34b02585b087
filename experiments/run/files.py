"""Files that are there whole or not at all: written beside their place, synced to the disk, then renamed.

A reader who comes at any moment, and a run that goes on after a kill, find the old file or the new one.
"""

import io
import json
import math
import os
import pathlib


def write_bytes(path, content):
    """Make ``content`` the file ``path``, whole or not at all; OSError where that cannot be."""
    path = pathlib.Path(path)
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def write_text(path, text):
    """``write_bytes`` of a text in UTF-8."""
    write_bytes(path, text.encode())


def write_json(path, value, indent=1):
    """``write_text`` of a value as JSON; TypeError, and nothing written, where it is none."""
    write_text(path, as_json(value, indent) + "\n")


def write_json_lines(path, rows):
    """``write_text`` of one JSON value a line."""
    write_text(path, "".join(as_json(row) + "\n" for row in rows))


def as_json(value, indent=None):
    """A value as JSON; null stands for a number that is not finite, which JSON has not and other readers refuse."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _finite(value):
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_numpy(path, save, *arrays, **named):
    """``write_bytes`` of what ``save`` (``np.save``, ``np.savez``) makes of the arrays."""
    content = io.BytesIO()
    save(content, *arrays, **named)
    write_bytes(path, content.getvalue())
