"""What the README and docs/choices.md say can be done, can be done."""

import contextlib
import io
import pathlib
import re
import shlex

import pytest

from experiments import __main__ as overview
from experiments.configs.quickstart import get_config
from experiments.planning import consistency
from experiments.run import command_line

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CHOICES = (ROOT / "docs" / "choices.md").read_text(encoding="utf-8")


def blocks(language):
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    return [text for name, text in fenced if name == language]


def test_the_code_runs_and_prints_what_it_says():
    (code,) = blocks("python")
    assert len([line for line in code.splitlines() if line]) <= 12
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "README.md", "exec"), {})  # noqa: S102
    said = re.search(r"# (kept \[.*?\])", code)[1]
    assert printed.getvalue().startswith(said)
    drawn = re.search(r"drawn \[(.*)\]", printed.getvalue())[1].split()
    assert len(drawn) == 3 and set(drawn) <= {"1", "4", "6", "7"}


RUNS = re.findall(r"python -m experiments\.prowl_main (.*)", "".join(blocks("bash")))


@pytest.mark.parametrize("arguments", RUNS)
def test_the_commands_are_understood(arguments, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    arguments = shlex.split(arguments)
    if "--help" in arguments:
        with pytest.raises(SystemExit) as exit:
            command_line.parse(arguments, program="p")
        assert exit.value.code == 0
        return
    config, workdir = command_line.parse(arguments, program="p")
    command_line.validate(config, consistency.RULES)
    assert workdir is None or not workdir.is_absolute()


def test_the_table_of_commands_is_what_they_say_of_themselves():
    rows = overview.commands()
    _, table, _ = README.split("<!-- commands -->\n")
    assert table.strip() == overview.markdown(rows)
    there = {p.stem for p in (ROOT / "experiments").glob("*.py")} - {"__init__", "__main__"}
    assert there < {row.module.removeprefix("experiments.") for row in rows} >= {"study", "torture"}
    printed = overview.text(rows)
    assert all(f"python -m {row.module}\n" in printed for row in rows) and max(map(len, printed.splitlines())) <= 79


@pytest.mark.parametrize(
    "docstring", ["", "No full stop", "A sentence.\n\nWrites: x", "A sentence.\n\nCosts: x"]
)
def test_a_command_that_says_too_little_is_named(tmp_path, monkeypatch, docstring):
    (tmp_path / "quiet.py").write_text(f'"""{docstring}"""')
    monkeypatch.setattr(overview, "FOLDER", tmp_path)
    with pytest.raises(ValueError, match=r"quiet\.py: its docstring needs one sentence"):
        overview.commands()


def test_the_tree_is_there():
    (tree,) = [block for block in blocks("") if "prowl_jax/types.py" in block]
    named = [line.split()[0] for line in tree.splitlines() if not line.startswith(" ")]
    assert all((ROOT / name).exists() for name in named)
    parts = {p.name for p in (ROOT / "prowl_jax").iterdir() if not p.name.startswith(("__", "py."))}
    assert {pathlib.Path(name).name for name in named if name.startswith("prowl_jax/")} == parts


def test_files_and_links_are_there():
    links = re.findall(r"(?<!!)\[[^\]]*\]\(([^)#]+)\)", README)
    paths = re.findall(r"`((?:prowl_jax|experiments|notebooks|docs)/[\w./-]+)`", README + CHOICES)
    for name in [*links, *paths]:
        assert name.startswith("https://") or (ROOT / name).exists(), name


def test_the_choices_name_keys_that_exist():
    config = get_config()
    keys = re.findall(r"`((?:[a-z]\w*\.)+[a-z_]\w*)`", CHOICES)
    keys = [key for key in keys if not key.endswith(".py")]
    assert len(keys) > 30
    for key in keys:
        value = config
        for part in key.split("."):
            assert part in value, f"docs/choices.md names {key}, which the configuration does not have"
            value = value[part]
    for row in CHOICES.splitlines():
        if row.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", row)) == 5, row


def test_the_list_of_limits_names_what_is_there_and_is_named_there():
    """Each file that has never met the real thing stands in docs/limits.md, and says so itself."""
    listed = (ROOT / "docs" / "limits.md").read_text(encoding="utf-8")
    files = re.findall(r"`((?:models|envs|metrics|configs)/[\w/.*]*)`", listed)
    for name in files:
        place = ROOT / ("experiments" if name.startswith("configs/") else "prowl_jax")
        assert list(place.glob(name)), name
    saying = [p for p in (*ROOT.glob("prowl_jax/**/*.py"), *ROOT.glob("experiments/**/*.py"))
              if "docs/limits.md" in p.read_text()]  # fmt: skip
    assert len(saying) >= 10 and "docs/limits.md" in README
