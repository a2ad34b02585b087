"""The lag at which actions and pictures belong together is found, and a store is shown in lines of a terminal."""

import re

import numpy as np
import pytest
from mistakes import answer

from experiments import inspect
from prowl_jax.data import columns
from prowl_jax.data.held_out import Origin
from prowl_jax.data.importer import import_recordings
from prowl_jax.data.movement import best_lag, explained, flow, lag_table
from prowl_jax.data.overview import percent
from prowl_jax.data.recordings import Settings
from prowl_jax.data.store import StoreWriter

WANTED = columns.parse("steer:-4..4:9, jump")


def moving(lag, count=200):
    """Frames in front of a wide wall, and actions of which the first comes ``lag`` frames before the movement."""
    rng = np.random.default_rng(0)
    wall = rng.integers(0, 255, (16, 2000, 3)).astype(np.uint8).repeat(4, 1)
    steps = rng.integers(-4, 5, count)
    at = 4000 + np.concatenate([[0], np.cumsum(steps)])[:count]
    rows = {"steer": np.roll(steps, -lag).astype(float), "jump": rng.integers(0, 2, count).astype(float)}
    return np.stack([wall[:, a : a + 64] for a in at]), WANTED.encode(rows, "rows")[0], steps


def test_the_movement_is_that_of_the_picture():
    frames, _, steps = moving(0)
    np.testing.assert_array_equal(flow(frames), np.stack([-steps[:-1], np.zeros(199)], axis=1))
    np.testing.assert_array_equal(flow(frames.transpose(0, 2, 1, 3))[:, 1], -steps[:-1])


@pytest.mark.parametrize("lag", [-2, -1, 0, 1, 2])
def test_the_lag_is_found(lag):
    frames, actions, _ = moving(lag)
    steer, jump = lag_table([(frames, actions)])
    assert best_lag(steer) == lag and steer[lag] > 0.95 and best_lag(jump) == 0 and max(jump.values()) < 0.1


def test_by_brute_force_of_a_regression_on_each_value():
    rng = np.random.default_rng(1)
    moved, values = rng.normal(size=(90, 2)), rng.integers(0, 4, 90)
    moved += values[:, None]
    one_hot = np.eye(4)[values]
    rest = moved - one_hot @ np.linalg.lstsq(one_hot, moved, rcond=None)[0]
    assert explained(moved, values) == pytest.approx(1 - rest.var(axis=0).sum() / moved.var(axis=0).sum())
    assert np.isnan(explained(moved, 0 * values)) and np.isnan(explained(0 * moved, values))
    assert best_lag({0: np.nan}) is None


@pytest.mark.parametrize("lag", [0, 1])
def test_a_store_in_lines_of_a_terminal(tmp_path, capsys, lag):
    frames, actions, _ = moving(lag)
    with StoreWriter(tmp_path / "clips", WANTED.spec, frames.shape[1:]) as writer:
        writer.add_episode(frames, actions)
        writer.add_episode(frames[:20], actions[:20])
    assert inspect.main([f"--store={tmp_path / 'clips'}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "2 episodes of 2 recordings, 220 frames of 64x16 pixels"
    assert lines[1] == "frames of an episode: shortest 20, median 110, longest 200"
    assert max(map(len, lines)) <= 80 and sum(line.startswith("    steer") for line in lines) == 9
    told = "warning: the picture moves 1 frame after steer; shift the actions"
    assert lines[-1] == (told if lag else "no action fits clearly better at another lag")


@pytest.mark.parametrize("lag", [0, 1])
def test_an_import_warns_where_another_lag_is_the_best(tmp_path, lag):
    frames, _, steps = moving(lag)
    (tmp_path / "in").mkdir()
    np.savez(tmp_path / "in/a.npz", frames=frames, actions=np.roll(steps, -lag))
    for _ in range(2):  # read, and found read
        summary = import_recordings(
            *(tmp_path / "in", tmp_path / "clips", Settings((16, 64)), 1), columns="steer=actions:-4..4:9"
        )
        told = ["warning: the picture moves 1 frame after steer; shift the actions"] if lag else []
        assert summary.warnings == told and summary.lines()[:-1] == told


def test_a_store_as_one_page(tmp_path, capsys):
    frames, actions, _ = moving(1)
    with StoreWriter(tmp_path / "clips", WANTED.spec, frames.shape[1:]) as writer:
        for start, stop, name in ((0, 200, "one"), (0, 20, "<two>"), (20, 41, "<two>")):
            writer.add_episode(frames[start:stop], actions[start:stop], Origin(name, start, stop))
    page = tmp_path / "new" / "page.html"
    assert inspect.main([f"--store={tmp_path / 'clips'}", f"--output={page}"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"page: {page}"
    text = page.read_text()
    outside = re.findall(r'(?:src|href)="(?!data:)[^"]*"|@import|url\(', text)
    assert text.startswith("<!doctype html>") and text.rstrip().endswith("</html>") and outside == []
    assert "3 episodes of 2 recordings, 241 frames of 64x16 pixels." in text and "&lt;two&gt;" in text
    assert "<two>" not in text and text.count("<img") == 3 and text.count("data:image/webp") == 3
    assert "the picture moves 1 frame after steer" in text and "9 of 9 values occur" in text
    assert re.search(r'<tr><td>20 to 35</td><td class="n">2</td>', text)
    best = re.findall(r'<td class="n best">(\d+)</td>', text)
    assert len(best) == 2 and int(best[0]) > 95  # of steer at lag 1; of jump, which tells nothing, 0


def test_a_page_that_cannot_be_written_is_one_line(tmp_path, capsys):
    frames, actions, _ = moving(0)
    with StoreWriter(tmp_path / "clips", WANTED.spec, frames.shape[1:]) as writer:
        writer.add_episode(frames[:20], actions[:20])
    (tmp_path / "file").touch()
    told = answer(capsys, inspect.main, f"--store={tmp_path / 'clips'}", f"--output={tmp_path / 'file/page.html'}")
    assert str(tmp_path / "file") in told


def test_no_store_is_one_line(tmp_path, capsys):
    assert "no clip store at" in answer(capsys, inspect.main, f"--store={tmp_path}")


def test_what_is_no_number_is_a_dash():
    assert [percent(share) for share in (0.184, 0.0, float("nan"))] == ["18", "0", "–"]
