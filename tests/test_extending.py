"""docs/extending.md: its additions are made in a copy of the tree, as the page says, and what it shows is run."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE))
BLOCK = re.compile(r"(?:^`([\w./]+)`\n\n)?^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
COSTS = {
    # Section -> (new files, changed files) and what its blocks print, in order.
    "An environment": (
        (2, 1),
        [r"\{'frames': 480\}"],
    ),
    "A reward": ((1, 1), [r"^\[1\. 1\.\] \[0\.3\d* 0\.3\d* *\]\nConfig\(dreams=4, best_by='detail'"]),
    "A model size": ((0, 1), [r"^7\.0 M parameters\nmemory: .* GB"]),
    "A method": ((1, 2), [r"^cycle 1: loss \d+\.\d\d, spent .*'environment_steps': 0"]),
    "Own recordings": (
        (0, 0),
        [r"(?m)^\{'frames': 640\}", r"^$", r"read: 2 episodes, 60 frames; skipped: 0 files", r"^60 frames; forward"],
    ),
}
"""A method may cost 4 files, an environment 2 and a configuration, a reward 1 and a row, a size 1."""


def changed(text, diff):
    """``text`` with a diff of one hunk without numbers applied: its lines must be there, once and in a row."""
    lines = diff.splitlines(keepends=True)
    before = "".join(line[1:] for line in lines if line[0] in " -")
    after = "".join(line[1:] for line in lines if line[0] in " +")
    assert text.count(before) == 1, f"these lines are not there once:\n{before}"
    return text.replace(before, after)


def test_a_diff_that_does_not_fit_is_told():
    assert changed("a\nb\nc\n", " a\n-b\n+B\n c\n") == "a\nB\nc\n"
    with pytest.raises(AssertionError, match="these lines are not there once"):
        changed("a\nb\nc\n", " a\n c\n+d\n")


def test_every_section_is_held_to_its_cost():
    assert SECTIONS.keys() == COSTS.keys()
    table = dict(re.findall(r"^\| \[(.*?)\].* \| (.*) \|$", PAGE, re.MULTILINE))
    words = {
        name: ", ".join(filter(None, (f"{new} new" * bool(new), f"a row in {rows}" * bool(rows)))) or "none"
        for name, ((new, rows), _) in COSTS.items()
    }
    assert table == words


@pytest.mark.parametrize("section", COSTS)
def test_what_the_page_adds_works(section, tmp_path):
    pytest.importorskip("av")
    for folder in ("prowl_jax", "experiments"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    environment = {
        **os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(tmp_path), "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    }  # fmt: skip
    new, rows, printed = 0, set(), []
    for path, language, code in BLOCK.findall(SECTIONS[section]):
        file = tmp_path / path
        if language == "text":
            assert code in printed[-1]
            continue
        if path and language == "diff":
            rows.add(path)
            file.write_text(changed(file.read_text(encoding="utf-8"), code), encoding="utf-8")
        elif path:
            assert language == "python"
            assert not file.exists()
            new += 1
            file.write_text(code, encoding="utf-8")
        else:
            command = ["bash", "-ec", code.replace("python -m", f"{sys.executable} -m")]
            command = command if language == "bash" else [sys.executable, "-c", code]
            done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{code}\n{done.stderr[-3000:]}"
            printed.append(done.stdout)
    (cost, expected) = COSTS[section]
    assert (new, len(rows)) == cost
    assert len(printed) == len(expected)
    for text, pattern in zip(printed, expected, strict=True):
        assert re.search(pattern, text), f"{pattern}\n{text}"
