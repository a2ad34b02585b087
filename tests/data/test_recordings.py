"""Recordings are found in every published form, and one is read with its two files held together."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st
from toy_recordings import grey_of, tick, write_recording

from prowl_jax.data.recordings import SHORT, Settings, read_recording
from prowl_jax.data.sources import find
from prowl_jax.minecraft import SPEC


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_a_folder_with_subfolders(tmp_path):
    touch(*(tmp_path / f"{name}{end}" for name in ("b", "8.0/c-1.2", "a") for end in (".mp4", ".jsonl")))
    touch(tmp_path / "alone.mp4", tmp_path / "lone.jsonl", tmp_path / "a-options.json", tmp_path / "a.zip")
    found, absent = find(tmp_path)
    assert [r.name for r in found] == ["8.0/c-1.2", "a", "alone", "b", "lone"] and absent == 0
    assert found[0].video == tmp_path / "8.0/c-1.2.mp4" and found[0].ticks == tmp_path / "8.0/c-1.2.jsonl"
    assert found[2].ticks is None and found[4].video is None


INDEXES = {
    "with extension": {"basedir": "https://example.org/", "relpaths": ["data/10.0/a.mp4", "data/10.0/b.mp4"]},
    "without": {"basedir": "https://example.org/", "relpaths": ["data/10.0/a", "data/10.0/b"]},
    "of either file": {"basedir": "https://example.org", "relpaths": ["data/10.0/a.mp4", "data/10.0/b.jsonl"]},
    "named twice": {"basedir": "", "relpaths": ["data/10.0/a.mp4", "data/10.0/a", "data/10.0/b"]},
}
PLACES = {
    "as in the index": "data/10.0",
    "in one folder": ".",
    "in a folder beside it": "MineRLBasaltFindCave-v0",
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("form", INDEXES)
def test_an_index(tmp_path, form, place):
    index = INDEXES[form]
    index["relpaths"] = [*index["relpaths"], "data/10.0/not-downloaded", "data/10.0/nor-this.mp4"]
    (tmp_path / "index.json").write_text(json.dumps(index))
    folder = tmp_path / PLACES[place]
    touch(folder / "a.mp4", folder / "a.jsonl", folder / "b.mp4", folder / "other.mp4")
    found, absent = find(tmp_path / "index.json")
    assert [r.name for r in found] == ["data/10.0/a", "data/10.0/b"] and absent >= 2
    assert found[0].video.samefile(folder / "a.mp4") and found[0].ticks.samefile(folder / "a.jsonl")
    assert found[1].video.samefile(folder / "b.mp4") and found[1].ticks is None
    index["relpaths"] = index["relpaths"][:-2]


def test_an_index_whose_basedir_is_a_folder_and_whose_list_ends_in_a_comma(tmp_path):
    touch(tmp_path / "far" / "x" / "a.mp4", tmp_path / "far" / "x" / "a.jsonl")
    (tmp_path / "i.json").write_text(f'{{"basedir": "{tmp_path}/far", "relpaths": ["x/a", ]}}')
    (found,), absent = find(tmp_path / "i.json")
    assert found.video == tmp_path / "far/x/a.mp4" and absent == 0


ODD_INDEXES = {
    "no basedir": {"relpaths": ["x/a.mp4"]},
    "null for the basedir": {"basedir": None, "relpaths": ["x/a.mp4"]},
    "a number for the basedir": {"basedir": 3, "relpaths": ["x/a.mp4"]},
    "others between": {"basedir": "", "relpaths": [None, 1, "", "x/a.mp4", [], {}, "\0"]},
    "large letters": {"basedir": "", "relpaths": ["x/a.MP4"]},
    "a list": ["x/a.mp4"],
    "objects": [{"id": 7, "video": "x/a.mp4", "actions": "x/a.jsonl"}],
    "objects inside": {"basedir": "", "relpaths": [{"path": "x/a.mp4"}]},
}


@pytest.mark.parametrize("form", ODD_INDEXES)
def test_of_an_odd_index_what_can_be_read_is_read(tmp_path, form):
    touch(tmp_path / "x" / "a.mp4", tmp_path / "x" / "a.jsonl")
    (tmp_path / "index.json").write_text(json.dumps(ODD_INDEXES[form]))
    (found,), absent = find(tmp_path / "index.json")
    assert found.video == tmp_path / "x/a.mp4" and found.ticks == tmp_path / "x/a.jsonl" and absent == 0


def test_endings_in_large_letters(tmp_path):
    touch(tmp_path / "a.MP4", tmp_path / "a.jsonl", tmp_path / "b.mp4", tmp_path / "b.JSONL")
    found, _ = find(tmp_path)
    assert [(r.video.name, r.ticks.name) for r in found] == [("a.MP4", "a.jsonl"), ("b.mp4", "b.JSONL")]
    (tmp_path / "index.json").write_text(json.dumps({"basedir": "", "relpaths": ["a", "b.mp4"]}))
    assert [(r.video.name, r.ticks.name) for r in find(tmp_path / "index.json")[0]] == [
        ("a.MP4", "a.jsonl"), ("b.mp4", "b.JSONL"),
    ]  # fmt: skip


BAD_SOURCES = {
    "nothing there": (lambda folder: folder / "no", FileNotFoundError, "no folder or index file"),
    "an empty folder": (lambda folder: folder, FileNotFoundError, "no recordings (.mp4 and .jsonl) in"),
    "no JSON": ("hello", ValueError, "is not an index"),
    "bytes": ("\udcff\udcfe", ValueError, "is not an index"),
    "nested": ("[" * 9999, ValueError, "is not an index"),
    "null": ('{"basedir": null, "relpaths": null}', ValueError, "is not an index"),
    "a text": ('{"basedir": "", "relpaths": "a.mp4"}', ValueError, "is not an index"),
    "objects of another schema": ('[{"id": 1, "size": 3}]', ValueError, "it names no recording"),
    "no index": ('{"a": 1}', ValueError, "is not an index"),
    "a list": ("[1]", ValueError, "is not an index"),
    "other paths": ('{"basedir": "", "relpaths": [1]}', ValueError, "is not an index"),
    "an index alone": ('{"basedir": "https://e/", "relpaths": ["a"]}', FileNotFoundError, "none of the 1 recordings"),
}


@pytest.mark.parametrize("case", BAD_SOURCES)
def test_what_is_no_source_is_answered_in_one_line_with_its_cure(tmp_path, case):
    content, kind, message = BAD_SOURCES[case]
    if isinstance(content, str):
        source = tmp_path / "index.json"
        source.write_text(content, errors="surrogateescape")
    else:
        source = content(tmp_path)
    with pytest.raises(kind) as caught:
        find(source)
    said = str(caught.value)
    assert message in said and len(said.splitlines()) == 1
    assert kind is ValueError or "download an index file named in the README of github.com/openai" in said


PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["a.mp4", "a", "", "\0", "../a", "x"])
INDEX = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.sampled_from(["basedir", "relpaths", "video"]), inner, max_size=3),
    max_leaves=10,
)


@settings_of_hypothesis(max_examples=100, deadline=None)
@given(text=INDEX.map(json.dumps) | INDEX.map(repr) | st.text(max_size=30))
def test_any_index_is_read_or_told_in_one_line(text, tmp_path_factory):
    folder = tmp_path_factory.mktemp("index")
    touch(folder / "a.mp4")
    (folder / "index.json").write_bytes(text.encode(errors="surrogatepass"))
    try:
        found, absent = find(folder / "index.json")
    except (ValueError, FileNotFoundError) as told:
        assert "\n" not in str(told)
    else:
        assert found and absent >= 0


def test_what_is_too_large_is_no_index(tmp_path):
    with (tmp_path / "index.json").open("wb") as file:
        file.truncate(2**27)
    with pytest.raises(ValueError, match="larger than 64 MB"):
        find(tmp_path / "index.json")


@pytest.mark.parametrize(
    "settings",
    [{"size": (7, 128)}, {"size": (361, 640)}, {"gui": "keep"}, {"min_frames": 0}, {"max_frames": 19}],
    ids=str,
)
def test_settings_that_cannot_be(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        Settings(**settings)


# One recording.


def read(folder, count, ticks, **settings):
    """Read a recording of ``count`` frames and these ticks: the part, its frames' greys in order."""
    write_recording(folder, "a", count, ticks)
    (recording,), _ = find(folder)
    settings = Settings(**{"size": (45, 80), "min_frames": 2, **settings})
    part = read_recording(recording, folder / "part", settings)
    return part, np.fromfile(folder / "part", np.uint8).reshape(-1, 45, 80, 3)


def ticks_of_frames(frames):
    """Which frame of ``write_recording`` each frame is."""
    return np.abs(frames.mean((1, 2, 3))[:, None] - grey_of(np.arange(50))).argmin(1)


@pytest.mark.parametrize("count, ticks", [(12, 9), (9, 12), (9, 9)])
def test_what_the_longer_file_has_more_is_left_out(tmp_path, count, ticks):
    part, frames = read(tmp_path, count, [tick(keys=["w"])] * ticks)
    assert (part.ticks, part.video_frames) == (ticks, count)
    assert [dict(e) for e in part.episodes] == [{"start": 0, "stop": 9, "frames": 9, "row": 0}]
    assert len(part.actions) == len(part.camera) == 9 and len(frames) == 9


def test_the_change_behind_the_cut_still_gives_its_key(tmp_path):
    part, _ = read(tmp_path, 4, [tick(hotbar=h) for h in (0, 0, 0, 0, 2, 2)])
    assert part.actions[:, SPEC.index("hotbar")].tolist() == [0, 0, 0, 3]


GUI = [tick(dx=t, gui=3 <= t < 6 or t == 8 or t >= 11) for t in range(14)]


def test_gui_screens_are_dropped_and_cut_the_recording(tmp_path):
    part, frames = read(tmp_path, 14, GUI)
    spans = [(e["start"], e["stop"], e["row"]) for e in part.episodes]
    assert spans == [(0, 3, 0), (6, 8, 3), (9, 11, 5)]
    assert ticks_of_frames(frames).tolist() == [0, 1, 2, 6, 7, 9, 10]
    np.testing.assert_allclose(part.camera[:, 1], 0.15 * np.array([0, 1, 2, 6, 7, 9, 10]), rtol=1e-6)
    assert not part.gui.any()
    part, _ = read(tmp_path, 14, GUI, min_frames=3)
    assert [(e["start"], e["stop"]) for e in part.episodes] == [(0, 3)]


def test_long_stretches_are_cut(tmp_path):
    """0..8 in threes, a rest of 2 that is too short, and after the screen 12 and 13."""
    ticks = [tick(dx=t, gui=t == 11) for t in range(14)]
    part, frames = read(tmp_path, 14, ticks, max_frames=3, min_frames=3)
    assert [(e["start"], e["stop"], e["row"]) for e in part.episodes] == [(0, 3, 0), (3, 6, 3), (6, 9, 6)]
    assert ticks_of_frames(frames).tolist() == list(range(9)) and len(part.actions) == 9
    part, _ = read(tmp_path, 14, ticks, max_frames=4, min_frames=2)
    assert [(e["start"], e["stop"]) for e in part.episodes] == [(0, 4), (4, 8), (8, 11), (12, 14)]


def test_gui_screens_with_a_cursor_are_kept(tmp_path):
    part, frames = read(tmp_path, 14, GUI, gui="cursor")
    assert [(e["start"], e["stop"]) for e in part.episodes] == [(0, 14)] and len(frames) == 14
    assert part.gui.tolist() == [t["isGuiOpen"] for t in GUI]
    uneven = np.ptp(frames.reshape(14, -1), axis=1) > 20  # the cursor in an even grey
    assert uneven.tolist() == part.gui.tolist()


def test_nulls_stay_and_are_marked_or_are_skipped(tmp_path):
    pressed = np.array([1, 0, 0, 1, 1, 0, 1, 0], bool)
    ticks = [tick(keys=["w"] if p else []) for p in pressed]
    part, frames = read(tmp_path, 8, ticks)
    assert len(frames) == 8 and part.null.tolist() == (~pressed).tolist()
    part, frames = read(tmp_path, 8, ticks, skip_nulls=True)
    assert ticks_of_frames(frames).tolist() == np.flatnonzero(pressed).tolist() and not part.null.any()
    assert [dict(e) for e in part.episodes] == [{"start": 0, "stop": 8, "frames": 4, "row": 0}]
    assert len(part.actions) == 4
    part, _ = read(tmp_path, 8, ticks, skip_nulls=True, min_frames=5)
    assert part.skipped == "a has no 5 ticks in a row to keep (4 null)"


def test_every_tick_is_kept_or_counted_under_its_reason(tmp_path):
    gui = {3, 4, 11}
    ticks = [tick(dx=1.0, gui=t in gui, keys=["w"], tick=t) for t in range(16)]
    ticks[6]["mouse"] = None
    part, _ = read(tmp_path, 14, ticks, min_frames=3)
    assert [(e["start"], e["stop"]) for e in part.episodes] == [(0, 3), (7, 11)]
    assert part.left_out == {"unknown": 1, "open screen": 3, "beyond the video": 2, SHORT: 3}
    assert sum(e["frames"] for e in part.episodes) + sum(part.left_out.values()) == part.ticks == 16


def test_actions_behind_missing_ticks_lie_on_their_pictures(tmp_path):
    ticks = [tick(dx=float(t), tick=t) for t in range(30)]
    part, frames = read(tmp_path, 30, ticks[:10] + ticks[15:])
    assert [(e["start"], e["stop"]) for e in part.episodes] == [(0, 10), (15, 30)]
    kept = [*range(10), *range(15, 30)]
    assert ticks_of_frames(frames).tolist() == kept and part.left_out == {"missing": 5}
    np.testing.assert_allclose(part.camera[:, 1], 0.15 * np.array(kept), rtol=1e-6)


def test_skipping_nulls_in_a_recording_that_a_screen_cuts(tmp_path):
    gui = [0, 0, 0, 1, 0, 0, 0, 0]
    keys = [1, 0, 1, 1, 0, 1, 1, 1]
    ticks = [tick(keys=["w"] if k else [], gui=bool(g)) for g, k in zip(gui, keys, strict=True)]
    part, frames = read(tmp_path, 7, ticks, skip_nulls=True)
    assert [dict(e) for e in part.episodes] == [
        {"start": 0, "stop": 3, "frames": 2, "row": 0},
        {"start": 4, "stop": 7, "frames": 2, "row": 2},
    ]
    assert ticks_of_frames(frames).tolist() == [0, 2, 5, 6]
