"""Packages that name what is public in them without importing it: an environment's worker starts without JAX."""

import ast
import importlib
import pathlib


def lazily(package, file):
    """``(__getattr__, __dir__, __all__)`` of a package that imports its public names when they are first asked for.

    The names are those of the block ``if TYPE_CHECKING:`` in its file, which type checkers read as well, so that each
    is stated once. ``NAME as NAME`` tells them that it is meant to be used from here (typing.python.org/en/latest/spec/
    distributing.html, import conventions).

    Args:
      package: its ``__name__``. file: its ``__file__``.
    """
    where = {}
    for node in ast.parse(pathlib.Path(file).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            statements = [statement for statement in node.body if isinstance(statement, ast.ImportFrom)]
            where |= {alias.name: statement.module for statement in statements for alias in statement.names}

    def __getattr__(name):
        if name not in where:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if where[name] == package:
            return importlib.import_module(f"{package}.{name}")
        return getattr(importlib.import_module(where[name]), name)

    names = sorted(where)
    return __getattr__, lambda: names, names
