"""Held out means held out: no frame of the one side lies within a clip's reach of the other."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_recordings import tick, write_recording

from prowl_jax.data.held_out import Origin, hold_out, session_of
from prowl_jax.data.importer import import_recordings
from prowl_jax.data.recordings import Settings
from prowl_jax.data.store import ClipStore, StoreWriter

PLAYER = "10.0/cheeky-cornflower-setter-a7571f853c8f"
SESSION, OTHER = f"{PLAYER}-20220420-20", "lovely-persimmon-angora-03ea7a071963-20220420-00"


def origins(*names, pieces=3, length=10):
    return [Origin(name, length * i, length * (i + 1)) for name in names for i in range(pieces)]


def test_the_names_of_vpt_and_basalt_tell_the_session():
    assert session_of(f"{SESSION}2416") == session_of(f"{SESSION}9999") == "cheeky-cornflower-setter-a7571f853c8f"
    assert session_of("my_recording") is session_of("Player-2022-01-01") is session_of("") is None


def test_segments_of_a_session_stay_together():
    names = [f"{SESSION}2416", f"{SESSION}2917", f"{OTHER}1633", "other"]
    seen = set()
    for seed in range(20):
        split = hold_out(origins(*names), 0.5, seed)
        assert split.way == "by session"
        sides = [{names[e // 3] for e in side} for side in split[:2]]
        assert not sides[0] & sides[1] and len({names[0] in side for side in sides}) == 2
        assert (names[0] in sides[0]) == (names[1] in sides[0])
        seen.add(tuple(split.held_out))
    assert len(seen) > 1


def test_one_session_is_told_apart_by_recording():
    split = hold_out(origins(f"{SESSION}2416", f"{SESSION}2917"), 0.1, 0)
    assert split.way == "by recording" and len(split.held_out) == len(split.train) == 3


@given(
    pieces=st.lists(st.integers(1, 6), min_size=1, max_size=6), fraction=st.floats(0, 1), seed=st.integers(0, 99),
    gap=st.integers(0, 12), between=st.integers(0, 12),
)  # fmt: skip
def test_nothing_of_a_recording_is_on_both_sides(pieces, fraction, seed, gap, between):
    step = 10 + between
    made = [Origin(f"r{r}", step * i, step * i + 10) for r, count in enumerate(pieces) for i in range(count)]
    try:
        split = hold_out(made, fraction, seed, gap)
    except ValueError as told:
        assert len(made) < 2 or (len(pieces) == 1 and ("read more recordings" in str(told)))
        return
    train, held_out = ([made[e] for e in side] for side in split[:2])
    assert train and held_out and len({*split.train, *split.held_out}) == len(train) + len(held_out)
    if len(pieces) > 1:
        assert not {o.recording for o in train} & {o.recording for o in held_out}
        assert len(train) + len(held_out) == len(made)
    else:
        assert max(o.stop for o in train) + gap <= min(o.start for o in held_out)
        assert "the end of the one recording" in split.way


def test_a_store_remembers_where_its_episodes_are_from(tmp_path):
    for name in (f"{SESSION}2416", f"{SESSION}2917", f"{OTHER}1633"):
        write_recording(tmp_path / "in", name.replace("/", "-"), 12, [tick(keys=["w"], gui=t == 5) for t in range(12)])
    import_recordings(tmp_path / "in", tmp_path / "clips", Settings(size=(8, 16), min_frames=2, max_frames=4), 1)
    store = ClipStore.open(tmp_path / "clips")
    assert [tuple(o)[1:] for o in store.origins] == [(0, 4), (6, 10), (10, 12)] * 3
    assert store.hold_out(0.1, 0).way == "by session"
    train, held_out = store.split(0.1, 0)
    assert {store.origins[e].recording[:6] for e in held_out} != {store.origins[e].recording[:6] for e in train}


def test_what_lies_before_the_held_out_end_of_one_recording_is_on_neither_side(tmp_path):
    write_recording(tmp_path / "in", "a", 40)
    import_recordings(tmp_path / "in", tmp_path / "clips", Settings(size=(8, 16), min_frames=3, max_frames=8), 1)
    store = ClipStore.open(tmp_path / "clips")
    assert [(o.start, o.stop) for o in store.origins] == [(0, 8), (8, 16), (16, 24), (24, 32), (32, 40)]
    split = store.hold_out(0.1, 0, gap=5)
    assert split.train.tolist() == [0, 1, 2] and split.held_out.tolist() == [4]
    assert split.way == "the end of the one recording, 8 ticks after what is trained on"
    with pytest.raises(ValueError, match="are of one recording, a, and none ends 20 ticks before the last 3"):
        store.split(0.6, 0, gap=20)


def test_a_store_of_an_older_version_holds_its_episodes_apart(tmp_path):
    from prowl_jax.actions import ActionSpec, choice

    with StoreWriter(tmp_path / "s", ActionSpec((choice("move", "forward"),)), (2, 2, 3)) as writer:
        for length in (2, 3, 4):
            writer.add_episode(np.zeros((length, 2, 2, 3), np.uint8), np.zeros((length, 1), np.int32))
    index = json.loads((tmp_path / "s" / "index.json").read_text())
    del index["origins"]
    (tmp_path / "s" / "index.json").write_text(json.dumps(index))
    store = ClipStore.open(tmp_path / "s")
    assert [o.stop for o in store.origins] == [2, 3, 4] and store.hold_out(0.3, 0).way == "by recording"
    for wrong in (5, [], [[1]], [["a", 0]] * 3, [["a", 0, "x"]] * 3, {"a": 1}):
        (tmp_path / "s" / "index.json").write_text(json.dumps(index | {"origins": wrong}))
        with pytest.raises(ValueError, match="index.json is damaged"):
            ClipStore.open(tmp_path / "s")
