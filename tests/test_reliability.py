"""The tests that docs/reliability.md names are there."""

import ast
import pathlib
import re

ROOT = pathlib.Path(__file__).parent
DOCUMENT = (ROOT.parent / "docs" / "reliability.md").read_text(encoding="utf-8")


def test_every_promise_names_tests_that_exist():
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", DOCUMENT)
    assert len(named) > 40
    assert len(re.findall(r"test_\w+", DOCUMENT)) == 2 * len(named) + 1  # the one is this file
    for path in {path for path, _ in named}:
        tree = ast.parse((ROOT.parent / path).read_text(encoding="utf-8"))
        there = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert {name for other, name in named if other == path} <= there, path


def test_every_subject_has_a_table_of_tests():
    subjects = re.split(r"^## ", DOCUMENT, flags=re.MULTILINE)[1:]
    promises = [text for text in subjects if not text.startswith(("Not done", "The torture run"))]
    assert len(promises) == 10
    for text in promises:
        rows = [line for line in text.splitlines() if line.startswith("|")][2:]
        assert rows and all("`tests/" in row or "`torture " in row for row in rows), text.splitlines()[0]
