"""What can be started here: every command, what it does, writes and costs, from their docstrings.

    python -m experiments

Writes: nothing.
Costs: nothing.
"""

import ast
import dataclasses
import pathlib
import sys
import textwrap

FOLDER = pathlib.Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class Command:
    """A row of the table: ``python -m`` what, and its docstring's first line, ``Writes:`` and ``Costs:``."""

    module: str
    does: str
    writes: str
    costs: str


def commands():
    """All of them, by name; ValueError names a command whose docstring says less."""
    files = [path for path in FOLDER.glob("*.py") if not path.name.startswith("__")]
    return [_command(path) for path in sorted([*files, *FOLDER.glob("*/__main__.py")], key=_module)]


def _module(path):
    return "experiments." + (path.parent.name if path.stem == "__main__" else path.stem)


def _command(path):
    lines = (ast.get_docstring(ast.parse(path.read_bytes())) or "").splitlines() or [""]
    said = {
        name: line.partition(": ")[2] for line in lines for name in ("Writes", "Costs") if line.startswith(f"{name}: ")
    }
    if not lines[0].endswith(".") or len(said) != 2:
        raise ValueError(
            f"{path}: its docstring needs one sentence in its first line, a line 'Writes: ...' and one 'Costs: ...'"
        )
    return Command(_module(path), lines[0], said["Writes"], said["Costs"])


def text(rows):
    """The table for a terminal of 80 columns."""
    blocks = []
    for row in rows:
        lines = [f"python -m {row.module}"]
        for words in (row.does, f"Writes {row.writes}", f"Costs {row.costs}"):
            lines += textwrap.wrap(words, 79, initial_indent="    ", subsequent_indent="      ", break_on_hyphens=False)
        blocks.append("\n".join(lines))
    return "\n\n".join([*blocks, "Each says more with --help."]).replace("``", "")


def markdown(rows):
    """The table as README.md has it."""
    lines = ["| `python -m` | what it does | writes | costs |", "|---|---|---|---|"]
    lines += [f"| `{row.module}` | {row.does} | {row.writes} | {row.costs} |" for row in rows]
    return "\n".join(lines).replace("``", "`")


def main():
    """Print the table; returns the exit code."""
    print(text(commands()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
