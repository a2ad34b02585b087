"""The pages of docs/ and beside README.md: their links lead somewhere, and the site has a place for each of them."""

import importlib.util
import pathlib
import re
import subprocess
import sys
import types

import pytest
import yaml

import prowl_jax

ROOT = pathlib.Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
SITE = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")


def prose(text):
    """Without code, whose brackets are no links."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^( *)```.*?^\1```", "", text, flags=re.DOTALL | re.MULTILINE))


def anchors(page):
    """Of its headings, as GitHub and MkDocs make them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def broken(page):
    links = re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", prose(page.read_text(encoding="utf-8")))
    for link in links:
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if link.startswith(("https://", "http://")):
            continue
        if not target.exists():
            yield f"{link}: no such file"
        elif anchor and target.suffix == ".md" and anchor not in anchors(target):
            yield f"{link}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    assert list(broken(page)) == []


def test_a_broken_link_is_seen(tmp_path):
    page = tmp_path / "page.md"
    text = "# A head: of `it`\n[a](#a-head-of-it) [b](none.md) `[c](none.md)`\n```\n[d](none)\n```\n[e](#else)\n"
    page.write_text(text)
    assert list(broken(page)) == ["none.md: no such file", "#else: no such heading"]


def flat(nav):
    for entry in nav:
        for value in entry.values() if isinstance(entry, dict) else [entry]:
            yield from flat(value) if isinstance(value, list) else [value]


def test_the_site_has_every_page_and_every_package():
    there = {page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")}
    assert set(flat(yaml.safe_load(SITE)["nav"])) == there
    shown = [
        name
        for page in (ROOT / "docs" / "api").glob("*.md")
        for name in re.findall(r"^::: (\S+)$", page.read_text(), re.MULTILINE)
    ]
    assert all(importlib.util.find_spec(name) for name in shown)
    assert {f"prowl_jax.{name}" for name in prowl_jax.__all__ if name[0].islower()} == set(shown)


def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs", reason="the extra docs is not installed")
    # Not --quiet: that hides warnings from --strict.
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", f"--site-dir={tmp_path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "<table" in (tmp_path / "commands" / "index.html").read_text(encoding="utf-8")
    assert "rescore" in (tmp_path / "api" / "pat" / "index.html").read_text(encoding="utf-8")


def test_the_site_shows_the_commands_and_no_links_out_of_docs():
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs" / "hooks.py")
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)

    def shown(name):
        page = types.SimpleNamespace(file=types.SimpleNamespace(src_uri=name))
        return hooks.on_page_markdown((ROOT / "docs" / name).read_text(), page)

    assert "| `experiments.prowl_main` |" in shown("commands.md")
    assert "(../" in (ROOT / "docs" / "voxel.md").read_text() and "](../" not in shown("voxel.md")


def test_the_version_is_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == prowl_jax.__version__
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert re.search(r"^## (\S+?),? ", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[1] == prowl_jax.__version__


def test_contributing_names_files_and_folders_that_are_there():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:prowl_jax|experiments|tests|\.ci)/[\w./]*)`", text)
    assert len(named) >= 8 and all((ROOT / name).exists() for name in named), named
