"""Folders that a command is to write to, and files of a run directory that another command wrote: usable, or a line.

What cannot be made or written, or was written by something else, is known before anything is done.
"""

import json
import os
import pathlib

from ml_collections import ConfigDict

from experiments.run.config_file import UsageError


def folder_to_write(path, flag):
    """Make the folder ``path`` where there is none, and write into it once; returns it as a ``pathlib.Path``.

    Args:
      path: given by the user as ``flag``, such as ``"--workdir"``.

    Raises:
      UsageError: it is a file, lies under one, cannot be made, or cannot be written to.
    """
    path = pathlib.Path(path)
    check_folder(path, flag)
    probe = path / f".probe-{os.getpid()}"
    try:
        path.mkdir(parents=True, exist_ok=True)
        with probe.open("wb") as file:
            file.write(b"\0")
        probe.unlink()
    except OSError as error:
        probe.unlink(missing_ok=True) if path.is_dir() else None
        raise UsageError(f"{flag}={path} cannot be written to: {error.strerror}; name another folder") from None
    return path


def check_folder(path, flag):
    """UsageError where ``path`` can be no folder: a file stands there, or in its way, or nobody may look."""
    try:
        for place in (path, *path.parents):
            if place.exists() and not place.is_dir():
                what = "is a file" if place == path else f"lies under {str(place)!r}, which is a file"
                raise UsageError(f"{flag}={path} {what}; name a folder")
    except (OSError, ValueError) as error:  # ValueError: a name with a null byte
        raise UsageError(f"{flag}={str(path)!r} cannot be a folder: {said(error)}") from None
    if "\0" in str(path):
        raise UsageError(f"{flag}={str(path)!r} cannot be a folder: a name has no null byte in it")


def said(error):
    """One line of an exception, without Python's numbers of errors."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror + (f": {error.filename}" if error.filename else "")
    return (str(error).splitlines() or [type(error).__name__])[0]


def read_json(path, shape=dict):
    """The ``shape`` (dict or list) that a command wrote to the JSON file ``path``.

    Raises:
      UsageError: the file cannot be read, or holds something else.
    """
    path = pathlib.Path(path)
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read ({said(error)}); {_CURE}") from None
    if not isinstance(value, shape):
        raise UsageError(f"{path} is not what a run writes there; {_CURE}")
    return value


_CURE = "put it back as it was, or choose another --workdir"


def read_config(workdir):
    """The configuration of the run in ``workdir``, a ConfigDict; UsageError where ``config.json`` holds none."""
    path = pathlib.Path(workdir) / "config.json"
    try:
        return ConfigDict(read_json(path))
    except (ValueError, TypeError, AttributeError):
        raise UsageError(f"{path} is not the configuration of a run; {_CURE}") from None


def read_stages(workdir):
    """Finished stages of the run in ``workdir``: name -> figures, ``seconds`` among them; UsageError as above."""
    path = pathlib.Path(workdir) / "stages.json"
    if not path.exists():
        return {}
    stages = read_json(path)
    for name, figures in stages.items():
        if not isinstance(figures, dict) or not isinstance(figures.get("seconds"), int | float):
            raise UsageError(f"{path} does not say how long {name} took: no run wrote it so; {_CURE}")
    return stages
