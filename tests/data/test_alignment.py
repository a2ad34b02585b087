"""Recordings that lie: what does not belong together is left out by its kind, and the rest is kept as it was."""

import json
import pathlib
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_recordings import real_ticks, tick, write_ticks

from experiments.torture.odd_recordings import damaged
from prowl_jax.data import alignment
from prowl_jax.data.alignment import FAULTS
from prowl_jax.data.vpt import RecordingError, read_ticks
from prowl_jax.minecraft import MINERL_KEYS

CASES = pathlib.Path(__file__).parents[3] / "shared" / "cases"
WALK = MINERL_KEYS.index("forward")


def played(count=60, scale=0.15, **more):
    """Ticks of a player who turns and walks, as a whole recorder writes them."""
    dx = [float(t % 7) for t in range(count)]
    yaw = scale * np.concatenate([[0], np.cumsum(dx)])
    turned = [{"dx": dx[t], "yaw": float(yaw[t]), "pitch": 0.0, "tick": 100 + t} for t in range(count)]
    return [tick(keys=["w"] * (t % 2), **turned[t], **more) for t in range(count)]


@pytest.fixture
def read(tmp_path):
    return lambda ticks, frames=None: read_ticks(write_ticks(tmp_path / "a.jsonl", ticks), frames and (lambda: frames))


def faults(ticks):
    return {FAULTS[k - 1]: np.flatnonzero(ticks.fault == k).tolist() for k in np.unique(ticks.fault) if k}


def test_a_recording_that_keeps_to_the_law_has_no_fault(read):
    ticks = read(played(), 60)
    assert faults(ticks) == {} and ticks.notes == () and ticks.viewed and ticks.doubled == 0


# Ticks that are not there, or twice.


def test_behind_missing_ticks_every_action_lies_on_its_own_picture(read):
    whole = read(played())
    ticks = read(played()[:20] + played()[30:], 60)
    assert len(ticks) == 60 and faults(ticks) == {"missing": list(range(20, 30))}
    for name in ("keys", "camera", "null", "gui"):
        np.testing.assert_array_equal(getattr(ticks, name)[ticks.sound], getattr(whole, name)[ticks.sound])


def test_where_pictures_are_missing_as_well_only_the_step_over_the_gap_is_left_out(read):
    ticks = read(played()[:20] + played()[30:], 50)
    assert len(ticks) == 50 and faults(ticks) == {"missing": [19]}


@pytest.mark.parametrize("frames", [5, 30, 55, 90])
def test_where_the_video_tells_neither_nothing_is_known_behind_the_gap(read, frames):
    assert faults(read(played()[:20] + played()[30:], frames)) == {"missing": list(range(19, 50))}


def test_one_missing_tick_is_not_guessed_at(read):
    """The video of a whole recording may be a frame longer or shorter than its ticks."""
    records = played()[:20] + played()[21:]
    assert faults(read(records, 60)) == {"missing": [20]}
    assert faults(read(records, 59)) == {"missing": [19]}
    assert faults(read(records, 58)) == faults(read(records, 61)) == {"missing": list(range(19, 59))}


def test_a_change_of_the_hotbar_over_a_gap_is_no_key(read):
    records = [record | {"hotbar": 3 * (t >= 30)} for t, record in enumerate(played())]
    assert not read(records[:20] + records[30:], 60).keys[:, MINERL_KEYS.index("hotbar.4")].any()
    assert read(records).keys[:, MINERL_KEYS.index("hotbar.4")].sum() == 1


def test_ticks_told_twice(read):
    records = played()[:20] + played()[19:20] + played()[20:]
    ticks = read(records, 60)  # a frame a tick
    assert len(ticks) == 60 and faults(ticks) == {"twice": [19]} and ticks.doubled == 1
    np.testing.assert_array_equal(ticks.camera[ticks.sound], read(played()).camera[ticks.sound])
    ticks = read(records, 61)  # a frame a record
    assert len(ticks) == 61 and faults(ticks) == {"twice": [19]} and ticks.doubled == 0


def test_a_clock_that_goes_back_cuts(read):
    records = played()[:30] + played()[:30]
    assert faults(read(records, 60)) == {"missing": [29]}
    assert faults(read(records, 200)) == {"missing": list(range(29, 60))}


def test_records_without_a_tick_go_on_from_the_one_before(read):
    records = played()
    del records[7]["tick"], records[8]["tick"]
    records[40]["tick"] = None
    assert faults(read(records, 60)) == {}


# Movement and turns.


@pytest.mark.parametrize("scale", [0.05, 0.30, 0.6])
def test_the_degrees_of_another_mouse_are_those_of_the_view(read, scale):
    ticks = read(played(scale=scale))
    np.testing.assert_allclose(ticks.camera[:, 1], [scale * (t % 7) for t in range(60)], rtol=1e-5)
    assert faults(ticks) == {} and ticks.notes == (f"another mouse: {scale} degrees a pixel, not 0.15, by the view",)


def test_the_other_axis_has_the_same_mouse_unless_it_tells_otherwise(read):
    records = played(scale=0.3)
    assert np.allclose(read([r | {"mouse": r["mouse"] | {"dy": 0.0}} for r in records]).camera[:, 0], 0)
    pitch = np.concatenate([[0], np.cumsum([-0.3 * (t % 5 - 2) for t in range(60)])])
    inverted = zip(records, pitch, strict=False)
    changed = [r | {"pitch": float(p), "mouse": r["mouse"] | {"dy": t % 5 - 2}} for t, (r, p) in enumerate(inverted)]
    ticks = read(changed)
    np.testing.assert_allclose(ticks.camera[:, 0], [-0.3 * (t % 5 - 2) for t in range(60)], atol=1e-6)
    assert faults(ticks) == {}


def test_turns_without_movement_are_left_out_with_what_proves_nothing_beside_them(read):
    records = [r | {"mouse": r["mouse"] | {"dx": 0.0}} if 20 <= t < 50 else r for t, r in enumerate(played())]
    assert faults(read(records)) == {"turn without movement": list(range(20, 50))}


def test_movement_that_the_view_ignores_is_left_out(read):
    records = played()
    for t in range(21, 50):
        records[t]["yaw"] = records[20]["yaw"]
    for t in range(50, 60):
        records[t]["yaw"] += records[20]["yaw"] - played()[49]["yaw"] - 0.0
    found = faults(read(records))
    assert found.keys() <= {"movement without turn", "another turn"}
    assert set(range(20, 48)) <= set(found["movement without turn"])


def test_a_turn_that_is_not_the_recorded_one_is_left_out(read):
    records = played()
    for t in range(31, 60):
        records[t]["yaw"] += 40.0
    assert faults(read(records)) == {"another turn": [30]}


def test_a_view_that_nobody_wrote_says_nothing(read):
    ticks = read([record | {"yaw": 0.0} for record in played()])
    assert faults(ticks) == {} and not ticks.viewed
    assert not read([tick(dx=3.0)] * 30).viewed


def test_full_turns_and_looking_straight_up_are_no_faults(read):
    dx = [600.0] * 30
    dy = [-100.0] * 15 + [100.0] * 15
    pitch = np.clip(np.concatenate([[0.0], np.cumsum(0.15 * np.array(dy))]), -90, None)
    pitch = [max(-90.0, p) for p in np.minimum.accumulate(pitch[:15])] + [float(-90 + 15 * k) for k in range(15)]
    records = [
        tick(dx=dx[t], dy=dy[t], yaw=(90.0 * t + 180) % 360 - 180, pitch=float(pitch[t]), tick=t) for t in range(30)
    ]
    assert faults(read(records)) == {}


def test_open_screens_are_not_held_against_the_view(read):
    records = [r | {"isGuiOpen": 20 <= t < 40, "yaw": r["yaw"] if t < 20 else 0.0} for t, r in enumerate(played())]
    for t in range(40, 60):
        records[t]["yaw"] = played()[t]["yaw"]
    assert faults(read(records)) == {}


# Records of which nothing is known.


@pytest.mark.parametrize("null", ["keyboard", "mouse", "isGuiOpen"])
def test_a_tick_with_null_in_it_is_left_out_and_the_rest_is_read(read, null):
    records = played()
    records[12][null] = None
    ticks = read(records)
    assert faults(ticks) == {"unknown": [12]} and ticks.notes == ()
    np.testing.assert_array_equal(ticks.camera[ticks.sound], read(played()).camera[ticks.sound])


def test_an_early_recorder_has_no_hotbar(read):
    records = played()
    for record in records:
        del record["hotbar"]
    ticks = read(records)
    assert faults(ticks) == {} and ticks.notes == ("no hotbar, so no keys of it",)
    assert not any(ticks.keys[:, MINERL_KEYS.index(f"hotbar.{n}")].any() for n in range(1, 10))


@pytest.mark.parametrize("odd", [{"hotbar": None}, {"hotbar": 9}, {"hotbar": "x"}, {"tick": "x"}, {"yaw": None}])
def test_what_only_helps_may_be_odd(read, odd):
    records = played()
    records[30] |= odd
    ticks = read(records, 60)
    assert faults(ticks) == {} and len(ticks) == 60


def test_without_is_gui_open_every_screen_counts_as_closed(read):
    records = played()
    for record in records:
        del record["isGuiOpen"]
    ticks = read(records)
    assert not ticks.gui.any() and "no isGuiOpen" in ticks.notes[0] and faults(ticks) == {}


# Before the game.


def test_as_long_as_the_servers_clock_stands_it_is_not_the_game(read):
    records = [record | {"serverTick": max(t - 3, 0)} for t, record in enumerate(played())]
    assert faults(read(records)) == {"not yet the game": [0, 1, 2]}
    assert faults(read([record | {"serverTick": 5} for record in records])) == {}  # nobody wrote it


def test_steps_that_lead_nowhere_before_the_first_that_does_are_not_the_game(read):
    records = [tick(keys=["w"], xpos=float(max(t - 4, 0)), ypos=64.0, zpos=0.0) for t in range(60)]
    assert faults(read(records)) == {"not yet the game": [0, 1, 2, 3]}
    assert faults(read([record | {"xpos": 0.0} for record in records])) == {}  # a wall


# All of it at once.


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_whatever_is_done_to_records_what_stays_is_as_it_was(seed, tmp_path_factory):
    """What torture does to records; what is kept of them is what was on its frame."""
    folder, good = tmp_path_factory.mktemp("a"), played()
    whole = read_ticks(write_ticks(folder / "a.jsonl", good))
    _, records = damaged(good, random.Random(seed))
    try:
        ticks = read_ticks(write_ticks(folder / "b.jsonl", records), lambda: 60)
    except RecordingError as told:
        assert "holds no tick that can be read" in str(told)
        return
    sound = np.flatnonzero(ticks.sound)
    sound = sound[sound < 59]  # the turn of the last one is not told
    np.testing.assert_array_equal(ticks.keys[sound], whole.keys[sound])
    np.testing.assert_array_equal(ticks.camera[sound], whole.camera[sound])


NAMES = (
    *("mouse", "keyboard", "dx", "dy", "keys", "buttons", "newButtons", "hotbar", "isGuiOpen"),
    *("tick", "yaw", "pitch", "serverTick", "xpos", "x"),
)
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
JSON = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=6),
    max_leaves=12,
)
LINE = JSON.map(json.dumps) | st.text(max_size=20) | st.sampled_from([json.dumps(t) for t in played(8)])


@settings(max_examples=150, deadline=None)
@given(lines=st.lists(LINE, max_size=12))
def test_any_lines_are_read_or_told_in_one(lines, tmp_path_factory):
    path = tmp_path_factory.mktemp("any") / "any.jsonl"
    path.write_bytes("\n".join(lines).encode(errors="surrogatepass"))
    try:
        ticks = read_ticks(path, lambda: len(lines))
    except RecordingError as told:
        assert "\n" not in str(told) and str(told).startswith("any.jsonl")
    else:
        assert len(ticks) <= len(lines) + alignment.SLACK and np.isfinite(ticks.camera).all()


def test_the_real_recordings_have_no_fault_but_their_first_tick():
    """Before it the server's clock has not begun: in one of three what was pressed then had no effect."""
    vain = 0
    for path in real_ticks():
        ticks = read_ticks(path)
        assert faults(ticks) == {"not yet the game": [0]} and ticks.viewed and ticks.notes == ()
        vain += bool(ticks.keys[0, WALK])
    assert vain >= 2


@pytest.mark.parametrize(
    "name", ["a_ticks_missing", "c_other_mouse_scale", "d_actions_lost", "no_hotbar", "null_keyboard"]
)
def test_the_cases_at_hand(name):
    path = CASES / f"{name}.jsonl"
    if not path.exists():
        pytest.skip("../shared/cases is absent")
    ticks = read_ticks(path, lambda: 60)
    found = faults(ticks)
    assert found == {
        "a_ticks_missing": {"missing": list(range(20, 30))},
        "d_actions_lost": {"turn without movement": list(range(20, 50))},
        "null_keyboard": {"unknown": [12]},
    }.get(name, {})
    if name == "c_other_mouse_scale":
        np.testing.assert_allclose(ticks.camera[:, 1], [0.3 * (t % 7) for t in range(60)], rtol=1e-5)
    assert ("no hotbar, so no keys of it" in ticks.notes) == (name == "no_hotbar")
