"""Where figures come from: the commit or why there is none, a start for each process that did work, and in words."""

import json
import subprocess

import ml_collections
import pytest

from experiments.run import provenance
from experiments.run.directory import Run

WHERE = {
    "began": "2026-01-01T00:00:00.000+00:00", "commit": "0123456789abcdef", "dirty": False,
    "versions": {"python": "3.11.7", "jax": "0.10.2"}, "flags": {}, "devices": {"kind": "cpu", "count": 1},
    "machine": {"cores": 2, "memory_gb": 8.0, "cpu": "A"},
}  # fmt: skip


def git(folder, *arguments):
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    out = subprocess.run(["git", "-C", folder, *who, *arguments], check=True, capture_output=True, text=True)
    return out.stdout.strip()


@pytest.fixture
def checkout(tmp_path):
    """A repository with one commit: some code, and a file of results."""
    for name in ("prowl_jax/a.py", "experiments/b.py", "results/r.json"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("1\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    return tmp_path


def test_the_commit_is_that_of_the_checkout_whatever_a_hook_set(checkout, monkeypatch):
    monkeypatch.setenv("GIT_DIR", str(provenance.ROOT / ".git"))
    expected = (checkout / ".git/HEAD").read_text().split("refs/heads/")[1].strip()
    commit = (checkout / ".git/refs/heads" / expected).read_text().strip()
    assert provenance.commit_of(checkout) == {"commit": commit, "dirty": False}


@pytest.mark.parametrize(
    "name, dirty", [("prowl_jax/a.py", True), ("experiments/new.py", True), ("results/r.json", False)]
)
def test_only_changed_code_makes_it_dirty(checkout, name, dirty):
    (checkout / name).write_text("2\n")
    assert provenance.commit_of(checkout)["dirty"] is dirty


def test_without_a_commit_there_is_a_reason(checkout, tmp_path_factory, monkeypatch):
    outside = tmp_path_factory.mktemp("unpacked")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(outside.parent))
    inside = checkout / "prowl_jax"  # unpacked within another project's checkout
    empty = tmp_path_factory.mktemp("empty")
    git(empty, "init", "-q")
    for folder, words in ((outside, "not a git repository"), (inside, "of its own"), (empty, "HEAD")):
        found = provenance.commit_of(folder)
        assert found["commit"] is found["dirty"] is None and words in found["no_commit"], folder
    monkeypatch.setenv("PATH", "")
    assert "git cannot be asked" in provenance.commit_of(checkout)["no_commit"]


def test_this_process_is_told_whole_and_as_json_holds_it():
    told = provenance.this_process()
    assert json.loads(json.dumps(told)) == told
    assert told.keys() - {"no_commit"} == WHERE.keys()
    assert told["versions"].keys() == {"python", "jax", "jaxlib", "flax", "numpy"}
    assert told["machine"]["cores"] >= 1 and told["machine"]["memory_gb"] > 0.5 and told["machine"]["cpu"]


def test_each_start_that_does_work_is_noted_with_its_stages(tmp_path, monkeypatch):
    config = ml_collections.ConfigDict({"seed": 0})
    monkeypatch.setattr(provenance, "this_process", lambda: WHERE)
    run = Run(tmp_path, config)
    assert not (tmp_path / "provenance.json").exists()
    run.run_stage("autoencoder", lambda run: {})
    with pytest.raises(KeyboardInterrupt):
        run.run_stage("world_model", lambda run: (_ for _ in ()).throw(KeyboardInterrupt))
    elsewhere = WHERE | {"began": "later", "machine": WHERE["machine"] | {"cores": 64}}
    monkeypatch.setattr(provenance, "this_process", lambda: elsewhere)
    run = Run(tmp_path, config)
    run.run_stage("autoencoder", lambda run: {})
    assert len(provenance.starts_of(tmp_path)) == 1, "it did nothing yet"
    run.run_stage("world_model", lambda run: {})
    assert provenance.starts_of(tmp_path) == [
        WHERE | {"stages": ["autoencoder", "world_model"]},
        elsewhere | {"stages": ["world_model"]},
    ]
    idle = WHERE | {"began": "last"}
    monkeypatch.setattr(provenance, "this_process", lambda: idle)
    whole = provenance.provenance(config, tmp_path)
    assert whole["config"] == {"seed": 0} and whole["starts"] == [*provenance.starts_of(tmp_path), idle]


def test_a_run_that_is_older_than_the_notes_says_which_stages_are(tmp_path, monkeypatch):
    config = ml_collections.ConfigDict({"seed": 0})
    monkeypatch.setattr(provenance, "this_process", lambda: WHERE)
    run = Run(tmp_path, config)
    run.run_stage("autoencoder", lambda run: {})
    (tmp_path / "provenance.json").unlink()
    run.run_stage("world_model", lambda run: {})
    noted = provenance.provenance(config, tmp_path)
    assert noted["not_noted"] == ["autoencoder"]
    assert provenance.in_words(noted)[0] == "Not noted for autoencoder." and len(provenance.in_words(noted)) == 2
    assert "not_noted" not in provenance.provenance(config)


def test_in_words_each_place_is_told_once_and_a_missing_one_is_called_missing():
    dirty = WHERE | {"dirty": True, "began": "later"}
    unpacked = WHERE | {"commit": None, "dirty": None, "no_commit": "not a git repository"}
    assert provenance.in_words({"config": {}, "starts": [WHERE, WHERE | {"began": "x"}, dirty, unpacked]}) == [
        f"{commit}; python 3.11.7, jax 0.10.2; 1 x cpu; 2 cores of A, 8 GB."
        for commit in (
            "Commit 0123456789ab",
            "Commit 0123456789ab, with changes that are not committed",
            "No commit (not a git repository)",
        )
    ]
    for missing in (None, {}, {"starts": []}):
        assert provenance.in_words(missing) == [provenance.NOT_NOTED]
