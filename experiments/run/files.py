"""Files that are there whole or not at all: written beside their place, synced to the disk, then renamed.

A reader who comes at any moment, and a run that goes on after a kill, find the old file or the new one.
"""

import io
import json
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
    write_text(path, json.dumps(value, indent=indent) + "\n")


def write_json_lines(path, rows):
    """``write_text`` of one JSON value a line."""
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


def write_numpy(path, save, *arrays, **named):
    """``write_bytes`` of what ``save`` (``np.save``, ``np.savez``) makes of the arrays."""
    content = io.BytesIO()
    save(content, *arrays, **named)
    write_bytes(path, content.getvalue())
