"""What pictures tell: where the game begins, and whether they turn when the player turns."""

import numpy as np
import pytest
from toy_recordings import panorama, tick, write_ticks, write_video

from prowl_jax.data.pictures import LAGS, Watcher
from prowl_jax.data.recordings import Settings, read_recording
from prowl_jax.data.sources import find

rng = np.random.default_rng(0)
TURNS = rng.integers(-20, 21, 150) * 0.15


def walk(turns=TURNS):
    """Small frames of a camera that turns so."""
    yaws = np.concatenate([[0], np.cumsum(turns)])[: len(turns)]
    return [frame[::4, ::4] for frame in panorama(yaws)]


def watched(frames, size=None):
    watcher = Watcher(size or len(frames))
    for t, frame in enumerate(frames):
        if frame is not None:
            watcher.see(t, frame)
    return watcher


def camera(turns=TURNS):
    return np.stack([np.zeros(len(turns)), turns], axis=1)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_a_loading_screen_is_not_the_game(count):
    frames = walk()
    frames[:count] = [np.full_like(frames[0], 20)] * count
    assert watched(frames).leading(camera()) == count


def test_two_screens_after_one_another_are_not_the_game():
    frames = walk()
    frames[:3] = [np.full_like(frames[0], grey) for grey in (20, 20, 250)]
    assert watched(frames).leading(camera()) == 3


def test_a_game_from_the_first_frame_on_loses_nothing():
    assert watched(walk()).leading(camera()) == 0
    greys = [np.full((90, 160, 3), 30 + t, np.uint8) for t in range(150)]
    assert watched(greys).leading(camera(0 * TURNS)) == 0
    noise = [(128 + rng.normal(0, 1, (90, 160, 3))).astype(np.uint8) for _ in range(150)]
    assert watched(noise).leading(camera(0 * TURNS)) == 0


def test_a_turn_explains_a_change_and_a_short_recording_tells_nothing():
    frames, turns = walk(), TURNS.copy()
    frames[:1] = [np.full_like(frames[0], 20)]
    turns[0] = 120.0
    assert watched(frames).leading(camera(turns)) == 0
    assert watched(frames[:100]).leading(camera()[:100]) == 0


@pytest.mark.parametrize("late", [-5, -1, 0, 1, 2, 5])
def test_the_lag_of_the_pictures_is_found(late):
    frames = walk(np.roll(TURNS, late))
    assert watched(frames).lag(TURNS) == late


def test_frames_that_are_not_seen_are_passed_over():
    frames = walk()
    frames[40:60] = [None] * 20
    assert watched(frames).lag(TURNS) == 0


def test_pictures_that_have_nothing_to_do_with_the_actions_are_told():
    assert watched(walk()).lag(np.random.default_rng(5).permutation(TURNS)) == LAGS + 1


@pytest.mark.parametrize("frames, turns", [
    ([np.full((90, 160, 3), 9, np.uint8)] * 150, TURNS), (walk(), 0 * TURNS), (walk()[:50], TURNS[:50]),
])  # fmt: skip
def test_where_nothing_moves_or_nobody_turns_nothing_is_told(frames, turns):
    assert watched(frames).lag(turns) is None


@pytest.mark.parametrize("late, note", [(0, ()), (3, ("the pictures seem to come 3 ticks after the actions",))])
def test_a_stripped_recording_is_held_against_its_pictures(tmp_path, late, note):
    """BASALT's have neither a tick nor a view; with a view there is nothing to be asked."""
    yaws = np.concatenate([[0], np.cumsum(np.roll(TURNS, late))])[:150]
    write_video(tmp_path / "a.mp4", panorama(yaws))
    stripped = [tick(dx=round(turn / 0.15)) for turn in TURNS]
    write_ticks(tmp_path / "a.jsonl", stripped)
    (recording,), _ = find(tmp_path)
    part = read_recording(recording, tmp_path / "part", Settings(size=(48, 128)))
    assert part.notes == note and part.left_out == {} and not part.skipped
