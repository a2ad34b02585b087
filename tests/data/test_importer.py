"""An import from end to end: the store it makes, what it skips, and how it goes on after an interrupt."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from toy_recordings import (
    PIXELS_PER_DEGREE,
    correlation_at,
    flow_to_the_right,
    grey,
    panorama,
    real_recording,
    tick,
    write_recording,
    write_ticks,
    write_video,
)

from prowl_jax.data import importer
from prowl_jax.data.importer import NothingReadError, import_recordings
from prowl_jax.data.recordings import Settings
from prowl_jax.data.store import ClipStore
from prowl_jax.data.vpt import read_ticks
from prowl_jax.minecraft import CAMERA, SPEC

SMALL = Settings(size=(8, 16), min_frames=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four recordings of 5, 6, 7 and 8 frames, the second cut in two by a screen."""
    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    for i, name in enumerate("abcd"):
        count = 5 + i + 2 * (name == "b")
        ticks = [tick(dx=float(rng.integers(-99, 99)), gui=name == "b" and t == 3) for t in range(count)]
        write_recording(folder / ("sub" if name == "b" else "."), name, count, ticks)
    return folder


def contents(path):
    """Every file of a folder, with its bytes."""
    return {p.relative_to(path).as_posix(): p.read_bytes() for p in path.rglob("*") if p.is_file()}


# The store.


def test_a_store_holds_frames_actions_and_their_arrays(folder, tmp_path):
    seen = []
    summary = import_recordings(folder, tmp_path / "clips", SMALL, 1, lambda *at: seen.append(at))
    assert (summary.episodes, summary.frames, summary.skipped, summary.absent) == (5, 27, [], 0)
    assert seen == [(0, 4, 0), (1, 4, 5), (2, 4, 12), (3, 4, 20), (4, 4, 27)]
    store = ClipStore.open(tmp_path / "clips", SPEC)
    assert store.lengths.tolist() == [5, 7, 8, 3, 4] and store.frame_shape == (8, 16, 3)  # a, c, d, sub/b
    camera = np.concatenate([read_ticks(folder / f"{n}.jsonl").camera for n in ("a", "c", "d")])
    np.testing.assert_array_equal(store.array("camera")[:20], camera)
    np.testing.assert_array_equal(store.actions[:, SPEC.index("yaw")], CAMERA.encode(store.array("camera")[:, 1]))
    assert store.array("gui").dtype == bool and not store.array("gui").any()
    np.testing.assert_array_equal(store.array("null"), ~store.array("camera").any(1))
    arrays = [f"{name}.npy{end}" for name in ("camera", "null", "gui") for end in ("", ".crc32")]
    assert sorted(contents(store.path)) == sorted(
        ["frames.bin", "actions.bin", "index.json", "recordings.jsonl", *arrays]
    )
    rows = [json.loads(line) for line in (store.path / "recordings.jsonl").read_text().splitlines()]
    settings = {"size": [8, 16], "gui": "drop", "skip_nulls": False, "min_frames": 3, "max_frames": 0}
    assert rows[0] == {"settings": settings}
    episodes = [{"start": 0, "stop": 3, "frames": 3}, {"start": 4, "stop": 8, "frames": 4}]
    told = {"recording": "sub/b", "ticks": 8, "video_frames": 8, "episodes": episodes}
    assert rows[4] == told | {"left_out": {"open screen": 1}}
    assert summary.left_out == {"open screen": 1} and summary.notes == {}


def test_in_parallel_it_is_the_same_store(folder, tmp_path):
    for name, workers in (("one", 1), ("two", 2)):
        import_recordings(folder, tmp_path / name, SMALL, workers)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert sorted(os.listdir(tmp_path)) == ["one", "two"]


# Timing, on moving pictures: what is seen to move from frame t to t+1 is what action t says.


def test_the_picture_moves_with_the_action_of_its_frame(tmp_path):
    dx = np.random.default_rng(1).integers(-20, 21, 40) * 1.0
    yaw = np.concatenate([[0], np.cumsum(0.15 * dx)])[:40]
    source = tmp_path / "in"
    source.mkdir()
    write_ticks(source / "a.jsonl", [tick(dx=d, yaw=y) for d, y in zip(dx, yaw, strict=True)])
    write_video(source / "a.mp4", panorama(yaw))
    import_recordings(source, tmp_path / "clips", Settings(size=(180, 320)), 1)
    store = ClipStore.open(tmp_path / "clips")
    flow, turn = flow_to_the_right(store.frames), store.array("camera")[:, 1]
    np.testing.assert_allclose(flow, -turn[:-1] * PIXELS_PER_DEGREE / 2, atol=0.6)
    assert correlation_at(0, flow, turn) < -0.98
    assert all(abs(correlation_at(lag, flow, turn)) < 0.5 for lag in (-2, -1, 1, 2))


def test_a_real_recording_moves_with_the_action_of_its_frame(tmp_path):
    video, ticks = real_recording()
    (tmp_path / "in").mkdir()
    for path in (video, ticks):
        os.symlink(path, tmp_path / "in" / path.name)
    summary = import_recordings(tmp_path / "in", tmp_path / "clips", Settings(size=(180, 320)), 1)
    store = ClipStore.open(tmp_path / "clips")
    # Of 445 frames and 446 ticks the last 155 ticks show the inventory, and the first two the loading of the world.
    assert (summary.episodes, summary.frames) == (1, 289) and summary.skipped == []
    assert summary.left_out == {"not yet the game": 2, "open screen": 154, "beyond the video": 1}
    turn = store.array("camera")[:, 1]
    yaw = np.array([json.loads(line)["yaw"] for line in ticks.read_text().splitlines()])
    np.testing.assert_allclose(np.diff(yaw)[2:290], turn[:288], atol=2e-3)
    flow = flow_to_the_right(store.frames)[5:]
    by_lag = {lag: -correlation_at(lag, flow, turn[5:]) for lag in (-2, -1, 0, 1, 2)}
    # Turns last several ticks, so the neighbouring lags are not low; but they are lower.
    assert by_lag[0] > 0.8 and by_lag[0] > max(value for lag, value in by_lag.items() if lag) + 0.1


# What cannot be read.


def bad_folder(folder):
    """Good recordings between files that cannot be read; returns what is said of these."""
    write_recording(folder, "good1", 5)
    write_recording(folder, "zgood2", 6)
    said = {}
    for name, part, message, damage in (
        ("cut", "mp4", "is cut off: its index is incomplete", lambda p: p.write_bytes(p.read_bytes()[:-400])),
        ("empty", "mp4", "is empty", lambda p: p.write_bytes(b"")),
        ("novideo", "mp4", "is not a video", lambda p: p.write_text("hello " * 99)),
        ("size", "mp4", "is 320x180 pixels, not 640x360", lambda p: write_video(p, grey([9] * 5, (180, 320)))),
        ("rate", "mp4", "has 30 frames a second, not 20", lambda p: write_video(p, grey([9] * 5), rate=30)),
        ("emptyticks", "jsonl", "is empty", lambda p: p.write_bytes(b"")),
        ("cutticks", "jsonl", "is cut off in line 5", lambda p: p.write_bytes(p.read_bytes()[:-40])),
        ("nojson", "jsonl", "is not JSON in line 2", lambda p: p.write_text(p.read_text().replace("\n{", "\n[", 1))),
        ("noticks", "mp4", "has no .jsonl beside it", lambda p: p.with_suffix(".jsonl").unlink()),
        ("short", "", "has no 3 ticks in a row to keep", lambda p: write_ticks(folder / "short.jsonl", [tick()] * 2)),
    ):
        path = write_recording(folder, name, 5).with_suffix(f".{part}") if part else write_recording(folder, name, 5)
        damage(path)
        said[name] = f"{path.name if part else name} {message}"
    return said


def test_what_cannot_be_read_is_skipped_and_named_and_the_rest_goes_on(tmp_path):
    said = bad_folder(tmp_path / "in")
    summary = import_recordings(tmp_path / "in", tmp_path / "clips", SMALL, 1)
    assert dict(summary.skipped) == said
    assert (summary.episodes, summary.frames) == (2, 11)
    rows = [json.loads(line) for line in (tmp_path / "clips" / "recordings.jsonl").read_text().splitlines()[1:]]
    assert {r["recording"]: r["skipped"] for r in rows if "skipped" in r} == said


def test_where_nothing_can_be_read_nothing_is_left(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.mp4").write_bytes(b"")
    (tmp_path / "in" / "a.jsonl").write_bytes(b"")
    with pytest.raises(NothingReadError, match="no episode could be read from") as caught:
        import_recordings(tmp_path / "in", tmp_path / "clips", SMALL, 1)
    assert caught.value.summary.skipped == [("a", "a.jsonl is empty")]
    assert os.listdir(tmp_path) == ["in"]


@pytest.mark.parametrize("place, message", [
    ("in", "lies inside the source"), ("in/clips", "lies inside the source"), ("in/x/y", "inside the source"),
    ("file", "is a file; name another folder"), ("file/clips", "which is a file; name another folder"),
])  # fmt: skip
def test_a_place_where_no_store_can_be_is_told_before_anything_is_read(folder, tmp_path, monkeypatch, place, message):
    (tmp_path / "in").symlink_to(folder)
    (tmp_path / "file").touch()
    before = contents(folder)
    with pytest.raises((ValueError, OSError), match=message):
        import_recordings(tmp_path / "in", tmp_path / place, SMALL, 1)
    assert contents(folder) == before


def test_an_empty_folder_is_as_good_as_none(folder, tmp_path, monkeypatch):
    (tmp_path / "clips").mkdir()
    assert import_recordings(folder, tmp_path / "clips", SMALL, 1).frames == 27
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert import_recordings(folder, ".", SMALL, 1).frames == 27
    assert contents(tmp_path / "here") == contents(tmp_path / "clips")


# Going on.


def interrupted(folder, store, after, workers=1):
    """An import that Ctrl-C ends after so many recordings."""

    def stop(done, total, frames):
        if done == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_recordings(folder, store, SMALL, workers, stop)


@pytest.mark.parametrize("after", [0, 1, 3, 4])
def test_an_interrupted_import_goes_on_to_the_same_store(folder, tmp_path, monkeypatch, after):
    import_recordings(folder, tmp_path / "whole", SMALL, 1)
    interrupted(folder, tmp_path / "clips", after)
    assert not (tmp_path / "clips").exists() and not (tmp_path / "clips.partial" / "parts").exists()
    read, calls = importer.read_recording, []

    def counted(recording, *arguments, **options):
        calls.append(recording.name)
        return read(recording, *arguments, **options)

    monkeypatch.setattr(importer, "read_recording", counted)
    summary = import_recordings(folder, tmp_path / "clips", SMALL, 1)
    assert calls == ["a", "c", "d", "sub/b"][after:]  # each file is decoded once
    assert contents(tmp_path / "clips") == contents(tmp_path / "whole") and summary.frames == 27
    assert not (tmp_path / "clips.partial").exists()


def test_in_parallel_an_interrupted_import_goes_on_too(folder, tmp_path):
    import_recordings(folder, tmp_path / "whole", SMALL, 1)
    interrupted(folder, tmp_path / "clips", 2, workers=2)
    import_recordings(folder, tmp_path / "clips", SMALL, 1)
    assert contents(tmp_path / "clips") == contents(tmp_path / "whole")


def test_what_a_killed_import_had_half_written_is_written_again(folder, tmp_path):
    import_recordings(folder, tmp_path / "whole", SMALL, 1)
    interrupted(folder, tmp_path / "clips", 2)
    partial = tmp_path / "clips.partial"
    for name in ("frames.bin", "camera.bin"):
        with (partial / name).open("ab") as file:
            file.write(b"torn")
    with (partial / "recordings.jsonl").open("a") as file:
        file.write('{"recording": "d", "ti')
    (partial / "parts").mkdir()
    (partial / "parts" / "0").write_bytes(b"half a part")
    import_recordings(folder, tmp_path / "clips", SMALL, 1)
    assert contents(tmp_path / "clips") == contents(tmp_path / "whole")


def test_skipped_files_are_remembered_too(tmp_path):
    said = bad_folder(tmp_path / "in")

    def stop(done, total, frames):
        if done == 4:  # cut, cutticks, empty, emptyticks: nothing in the store yet
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_recordings(tmp_path / "in", tmp_path / "clips", SMALL, 1, stop)
    summary = import_recordings(tmp_path / "in", tmp_path / "clips", SMALL, 1)
    assert dict(summary.skipped) == said and summary.frames == 11


def test_a_finished_import_is_not_done_again_and_others_are_not_touched(folder, tmp_path, monkeypatch):
    first = import_recordings(folder, tmp_path / "clips", SMALL, 1)
    before = contents(tmp_path / "clips")
    monkeypatch.setattr(importer, "read_recording", lambda *a, **k: pytest.fail("read again"))
    assert import_recordings(folder, tmp_path / "clips", SMALL, 1) == first
    with pytest.raises(FileExistsError, match="was made with other settings .*size="):
        import_recordings(folder, tmp_path / "clips", Settings(size=(16, 16), min_frames=3), 1)
    more = tmp_path / "more"
    write_recording(more, "x", 4)
    with pytest.raises(FileExistsError, match="exists already and lacks some of these recordings"):
        import_recordings(more, tmp_path / "clips", SMALL, 1)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "precious").touch()
    with pytest.raises(FileExistsError, match="other exists already"):
        import_recordings(folder, tmp_path / "other", SMALL, 1)
    assert contents(tmp_path / "clips") == before
    monkeypatch.undo()
    interrupted(folder, tmp_path / "third", 1)
    with pytest.raises(FileExistsError, match="third.partial was made with other settings"):
        import_recordings(folder, tmp_path / "third", Settings(size=(16, 16), min_frames=3), 1)


def test_no_jax_in_a_reading_process():
    root = pathlib.Path(importer.__file__).parents[2]
    modules = "prowl_jax.data.recordings, prowl_jax.data.pool, experiments.import_recordings"
    code = f"import {modules}, sys; sys.exit('jax' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True)
