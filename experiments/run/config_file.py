"""Finds and runs config files; a mistake in one becomes a ``UsageError`` of one line."""

import ast
import difflib
import inspect
import pathlib
import traceback
import types

from ml_collections import ConfigDict

CONFIGS = pathlib.Path(__file__).parents[1] / "configs"
SHOWN = ("quiet", "log.", "evaluation.targets.")
"""Keys that say how a run is shown: a run may go on with others, and older ones have none."""


class UsageError(Exception):
    """A mistake of the user's; its message names the thing and the cure, in one line."""


class UsageErrors(UsageError):
    """Several mistakes at once: ``lines``, one each."""

    def __init__(self, lines):
        super().__init__("; ".join(lines))
        self.lines = lines


def raise_all(mistakes):
    """Raise the ``UsageError``s of a list, together where there are several; nothing where there are none."""
    if len(mistakes) == 1:
        raise mistakes[0]
    if mistakes:
        raise UsageErrors([str(mistake) for mistake in mistakes])


def load_config(argument):
    """Run a config file.

    Args:
      argument: ``"FILE"`` or ``"FILE:ARG"``; ARG is handed to ``get_config``.

    Returns:
      What its ``get_config`` returned, a ConfigDict, locked.

    Raises:
      UsageError: there is no such file, it has no ``get_config``, or it has an error in it.
    """
    name, colon, config_argument = argument.partition(":")
    path = pathlib.Path(name)
    if not path.is_file():
        raise UsageError(_no_file(name, path))
    module = types.ModuleType(path.stem)
    module.__file__ = str(path)
    try:
        # Compiled here rather than imported, so that nothing is written beside it.
        exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)  # noqa: S102
        get_config = getattr(module, "get_config", None)
        if not callable(get_config):
            raise UsageError(f"{name} has no function get_config(); a config file defines one")
        _check_argument(name, get_config, config_argument if colon else None)
        config = get_config(config_argument) if colon else get_config()
    except UsageError:
        raise
    except SyntaxError as error:
        where = error.filename or name
        raise UsageError(f"{where}, line {error.lineno}: {type(error).__name__}: {error.msg}") from error
    except Exception as error:
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
        where = f"{name}, line {lines[-1]}" if lines else name
        raise UsageError(f"{where}: {type(error).__name__}: {error}") from error
    if not isinstance(config, ConfigDict):
        kind = type(config).__name__
        raise UsageError(f"get_config() of {name} returned {kind}; it must return a ConfigDict")
    return config.lock()


def docstring(path):
    """What a config file says of itself: the docstring of its ``get_config``, else of the file.

    Returns ``""`` where there is none; the file is read, not run.
    """
    try:
        tree = ast.parse(pathlib.Path(path).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return ""
    functions = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "get_config"]
    return next(filter(None, map(ast.get_docstring, [*functions, tree])), "")


def files(folder=CONFIGS):
    """The config files in ``folder``, sorted; empty where there is no such folder."""
    return sorted(p for p in folder.glob("*.py") if not p.name.startswith("_"))


def show(path):
    """A path as the user would type it: relative where it lies under the current folder."""
    try:
        return str(path.resolve().relative_to(pathlib.Path.cwd()))
    except ValueError:
        return str(path)


def _check_argument(name, get_config, argument):
    """Raise UsageError where ``--config=FILE:ARG`` does not fit the parameters of ``get_config``."""
    try:
        inspect.signature(get_config).bind(*([] if argument is None else [argument]))
    except TypeError:
        if argument is None:
            raise UsageError(f"{name} needs an argument; write --config={name}:ARG") from None
        raise UsageError(f"{name} takes no argument; write --config={name} without ':{argument}'") from None


def _no_file(name, path):
    """Why ``path`` is no config file, and which file may be meant."""
    if path.is_dir():
        inside = ", ".join(p.name for p in files(path))
        return f"--config={name} is a folder; name a file in it{': ' + inside if inside else ''}"
    for folder in (path.parent, CONFIGS):
        by_stem = {p.stem: p for p in files(folder)}
        near = difflib.get_close_matches(path.stem, by_stem, 1, 0.6)
        if near:
            return f"no config file {name!r}; did you mean {show(by_stem[near[0]])!r}?"
    there = files(path.parent) or files()
    return f"no config file {name!r}" + (f"; there are {', '.join(map(show, there))}" if there else "")
