"""Stores in the formats of others: what an import reads back is what was there; mistakes are one line."""

import json
import os
import sys

import numpy as np
import pytest
from toy_recordings import grey

from experiments import export_recordings as command
from prowl_jax.actions import ActionSpec, Camera, camera, choice
from prowl_jax.data import exporter
from prowl_jax.data.held_out import Origin
from prowl_jax.data.importer import import_recordings
from prowl_jax.data.recordings import Settings
from prowl_jax.data.store import ClipStore, StoreWriter
from prowl_jax.minecraft import SPEC

SIZE, LENGTHS = (18, 32), (24, 21)
OWN = ActionSpec((choice("jump", "jump"), choice("weapon", "fist", "bow"), camera("yaw", Camera(10.0, 5))))


def store_of(path, spec, arrays=None, **more):
    rng = np.random.default_rng(0)
    with StoreWriter(path, spec, (*SIZE, 3), arrays) as writer:
        for e, length in enumerate(LENGTHS):
            frames = np.stack(grey(30 + 4 * np.arange(length), SIZE))
            actions = np.stack([rng.integers(0, size, length) for size in spec.sizes], 1).astype(np.int32)
            entries = {name: make(length) for name, make in more.items()}
            writer.add_episode(frames, actions, Origin(f"sub/play{e}", 7 * e, 7 * e + length), **entries)
    return ClipStore.open(path)


@pytest.fixture(scope="module")
def minecraft(tmp_path_factory):
    return store_of(tmp_path_factory.mktemp("stores") / "minecraft", SPEC)


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    return store_of(tmp_path_factory.mktemp("stores") / "own", OWN)


def again(source, tmp_path, columns=""):
    import_recordings(source, tmp_path / "again", Settings(size=SIZE, min_frames=3), 1, columns=columns)
    return ClipStore.open(tmp_path / "again")


def same_pictures(store, other, lengths):
    for e, length in enumerate(lengths):
        seen, before = other.episode(e).frames.astype(int), store.episode(e).frames[:length].astype(int)
        assert np.abs(seen - before).max() <= 3


def test_vpts_form_reads_back_as_it_was(minecraft, tmp_path):
    exporter.to_vpt(minecraft, tmp_path / "out")
    names = [f"sub_play{e}-tick{7 * e:06d}" for e in range(2)]
    assert sorted(os.listdir(tmp_path / "out")) == sorted(f"{n}.{end}" for n in names for end in ("mp4", "jsonl"))
    store = again(tmp_path / "out", tmp_path)
    assert store.lengths.tolist() == list(LENGTHS)
    np.testing.assert_array_equal(store.actions, minecraft.actions)
    same_pictures(minecraft, store, LENGTHS)


def test_exact_degrees_and_open_screens_are_kept(tmp_path):
    arrays = {"camera": (np.float32, (2,)), "gui": (bool, ())}
    store = store_of(
        *(tmp_path / "store", SPEC, arrays),
        camera=lambda n: np.full((n, 2), 1.5, np.float32),
        gui=lambda n: np.arange(n) == 2,
    )
    exporter.to_vpt(store, tmp_path / "out")
    rows = [json.loads(line) for line in (tmp_path / "out/sub_play0-tick000000.jsonl").read_text().splitlines()]
    assert [row["isGuiOpen"] for row in rows[:4]] == [False, False, True, False]
    assert rows[0]["mouse"]["dx"] == rows[0]["mouse"]["dy"] == pytest.approx(10.0)  # 0.15 degrees a pixel


def test_minari_reads_back_but_for_the_last_actions(own, tmp_path, capsys):
    pytest.importorskip("h5py", reason="the extra recordings is not installed")
    assert command.main([f"--store={own.path}", f"--output={tmp_path / 'toy'}", "--format=minari"]) == 0
    first, columns = capsys.readouterr().out.splitlines()
    assert first == f"written: {tmp_path / 'toy'}, 2 episodes, 45 frames"
    assert columns == "--columns='jump=actions.0, weapon=actions.1:3, yaw=actions.2:5'"
    store = again(tmp_path / "toy", tmp_path, columns.removeprefix("--columns='").rstrip("'"))
    assert store.lengths.tolist() == [n - 1 for n in LENGTHS]
    np.testing.assert_array_equal(store.episode(1).actions, own.episode(1).actions[:-1])
    same_pictures(own, store, [n - 1 for n in LENGTHS])
    meta = json.loads((tmp_path / "toy/data/metadata.json").read_text())
    assert (meta["total_steps"], meta["dataset_id"]) == (sum(LENGTHS) - 2, "toy-v0")
    assert json.loads(meta["action_space"])["nvec"] == [2, 3, 5] and "fist, bow" in meta["description"]


def test_mistakes_are_one_line_and_write_nothing(own, minecraft, tmp_path, capsys):
    (tmp_path / "there").mkdir()
    (tmp_path / "there/precious").touch()
    cases = (
        (tmp_path / "none", "out", "vpt", "no clip store at"),
        (own.path, "out", "vpt", "VPT's form is of Minecraft's actions; "),
        (minecraft.path, "there", "vpt", "there exists already; name a new folder"),
        (minecraft.path, "out", "csv", "invalid choice: 'csv'"),
        (minecraft.path, "", "vpt", "--output is empty"),
    )
    for store, output, form, told in cases:
        output = tmp_path / output if output else ""
        with pytest.raises(SystemExit) as ended:
            command.main([f"--store={store}", f"--output={output}", f"--format={form}"])
        said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert ended.value.code == 2 and len(said) == 1 and told in said[0]
    assert sorted(os.listdir(tmp_path)) == ["there"]


@pytest.mark.parametrize("module, form", [("av", "vpt"), ("h5py", "minari")])
def test_without_the_extra_it_says_what_to_install(minecraft, tmp_path, monkeypatch, module, form):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match="pip install"):
        command.export(minecraft.path, tmp_path / "out", form)
    assert not os.listdir(tmp_path)


def test_interrupted_nothing_is_left(minecraft, tmp_path):
    def stop(done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        exporter.to_vpt(minecraft, tmp_path / "out", stop)
    assert not os.listdir(tmp_path)
