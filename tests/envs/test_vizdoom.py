"""ViZDoom: turns in degrees, walking, frames that look like a place, and the area average."""

import os
import signal
import time

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prowl_jax.envs.area_average import AreaAverage
from prowl_jax.envs.vizdoom import TASKS, action_spec, make_vizdoom


@pytest.fixture(scope="module", params=[1, 4])
def env(request):
    pytest.importorskip("vizdoom")
    env = make_vizdoom("explore", 2, workers=1, frame_skip=request.param)
    env.free_distance = {1: 3.0, 4: 40.0}[request.param]  # of three free steps from rest, at least
    yield env
    env.close()


def test_an_episode_starts_at_rest(env):
    poses = [env.reset([3, 4]).info["pose"]]
    poses += [env.step(np.tile(env.spec.null, (2, 1))).info["pose"] for _ in range(3)]
    np.testing.assert_allclose(np.ptp(poses, axis=0), 0, atol=1.5)


def wrapped(degrees):
    return (degrees + 180) % 360 - 180


def test_every_yaw_bin_turns_by_its_degrees_a_step_to_the_right(env):
    camera = env.spec.factors[env.spec.index("yaw")].camera
    before = env.reset([1, 2]).info["pose"]
    for value, degrees in enumerate(camera.degrees):
        action = np.tile(env.spec.null, (2, 1))
        action[:, env.spec.index("yaw")] = value
        after = env.step(action).info["pose"]
        # ANGLE counts to the left, so a turn to the right makes it smaller.
        np.testing.assert_allclose(wrapped(after[:, 2] - before[:, 2]), -degrees, atol=0.1)
        before = after


@pytest.mark.parametrize(
    "factor, value, side", [("move", 1, 0), ("move", 2, 180), ("strafe", 1, 90), ("strafe", 2, -90)]
)
def test_walking_goes_where_the_label_says(env, factor, value, side):
    """The displacement's bearing, degrees to the left of the heading, over a few seeds."""
    bearings = []
    for seed in range(6):
        start = env.reset([seed, seed + 10]).info["pose"]
        action = np.tile(env.spec.null, (2, 1))
        action[:, env.spec.index(factor)] = value
        for _ in range(3):
            step = env.step(action)
        moved = step.info["pose"][:, :2] - start[:, :2]
        free = np.hypot(*moved.T) > env.free_distance  # not against a wall
        bearing = np.degrees(np.arctan2(moved[:, 1], moved[:, 0]))
        bearings.extend(wrapped(bearing - start[:, 2] - side)[free])
    assert len(bearings) >= 3
    assert np.median(np.abs(bearings)) < 10  # some slide along walls


def test_turning_right_moves_the_picture_left(env):
    """Seen without the engine's angle: the best horizontal shift between two frames."""
    shifts = []
    for seed in range(4):
        before = env.reset([seed, seed + 50]).frames.astype(float)
        action = np.tile(env.spec.null, (2, 1))
        action[:, env.spec.index("yaw")] = 10
        after = env.step(action).frames.astype(float)
        for old, new in zip(before, after, strict=True):
            errors = {s: np.abs(old[:, 12 + s : 52 + s] - new[:, 12:52]).mean() for s in range(-12, 13)}
            shifts.append(min(errors, key=errors.get))
    # 10 degrees of a 90-degree view are about 6 of 64 columns in the middle.
    assert 4 <= np.median(shifts) <= 9


def test_frames_look_like_a_place(env):
    """Contrast and colour, in most starts: not black, not flat, and not grey throughout."""
    frames = np.concatenate([env.reset([s, s + 1]).frames for s in range(0, 12, 2)]).astype(float)
    assert np.median(frames.std(axis=(1, 2, 3))) > 10
    assert np.median(np.ptp(frames, axis=-1).mean(axis=(1, 2))) > 5


@pytest.mark.parametrize("size", [(30, 40), (64, 64), (128, 200)])
def test_other_frame_sizes(size):
    pytest.importorskip("vizdoom")
    env = make_vizdoom("look_around", 1, workers=1, frame_size=size)
    try:
        frames = env.reset([1]).frames
        assert frames.shape == (1, *size, 3) and env.frame_shape == (*size, 3)
        assert frames.std() > 5
    finally:
        env.close()


@pytest.mark.parametrize(("size", "cut"), [((64, 64), np.s_[:, 20:140]), ((32, 64), np.s_[20:100])])
def test_a_frame_of_another_shape_is_cut_from_the_middle_and_not_squeezed(size, cut):
    """By OpenCV from the whole picture that the engine draws."""
    pytest.importorskip("vizdoom")
    frames = {}
    for shape in (size, (120, 160)):
        env = make_vizdoom("explore", 1, workers=1, frame_size=shape)
        try:
            turn = np.tile(env.spec.null, (1, 1))
            turn[0, -1] = 9
            frames[shape] = [env.reset([5]).frames[0], *(env.step(turn).frames[0] for _ in range(3))]
        finally:
            env.close()
    for frame, whole in zip(frames[size], frames[120, 160], strict=True):
        expected = cv2.resize(np.ascontiguousarray(whole[cut]), size[::-1], interpolation=cv2.INTER_AREA)
        assert np.abs(frame.astype(int) - expected).max() <= 1


def test_no_engine_outlives_a_killed_worker():
    pytest.importorskip("vizdoom")
    env = make_vizdoom("explore", 2, workers=1)
    env.reset([1, 2])
    group = env._workers[0].process.pid
    os.killpg(group, 0)  # the worker leads a group with its two engines
    os.kill(group, signal.SIGKILL)
    with pytest.raises(RuntimeError, match="environments 0..1 died in step"):
        env.step(np.tile(env.spec.null, (2, 1)))
    deadline = time.monotonic() + 10
    with pytest.raises(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(group, 0)
            time.sleep(0.05)


def test_registry():
    assert not TASKS["explore"].held_out and TASKS["look_around"].held_out
    assert TASKS["look_around"].wad == TASKS["explore"].wad  # the same map, another behaviour
    trained_on = {(t.wad, t.doom_map) for t in TASKS.values() if not t.held_out}
    assert any((t.wad, t.doom_map) not in trained_on for t in TASKS.values())
    for name, task in TASKS.items():
        assert task.name == name and task.description
    known = {t.wad for t in TASKS.values() if not (t.held_out or t.mortal)}
    assert known == {"my_way_home.wad"}  # one map, that can be known; who can die has a map of their own
    assert action_spec().names == ("move", "strafe", "attack", "use", "yaw")
    assert action_spec().sizes == (3, 3, 2, 2, 11)


@pytest.mark.parametrize(
    "task, kwargs, message",
    [
        ("tetris", {}, "there are explore"),
        ("explore", {"frame_size": (481, 64)}, "frame_size"),
        ("explore", {"frame_skip": 0}, "frame_skip"),
        ("explore", {"max_turn_degrees": 0.0}, "max_degrees"),
    ],
)
def test_bad_arguments_are_refused(task, kwargs, message):
    with pytest.raises(ValueError, match=message):
        make_vizdoom(task, 1, **kwargs)


@given(seed=st.integers(0, 2**32 - 1), size=st.tuples(st.integers(1, 12), st.integers(1, 16)))
def test_area_average_is_exact(seed, size):
    """Against a brute-force mean: every old pixel is repeated until both grids divide it."""
    image = np.random.default_rng(seed).integers(0, 256, (12, 16, 3)).astype(np.uint8)
    fine = image.repeat(size[0], 0).repeat(size[1], 1).astype(int)
    blocks = fine.reshape(size[0], 12, size[1], 16, 3).sum((1, 3))
    expected = (2 * blocks + 12 * 16) // (2 * 12 * 16)
    np.testing.assert_array_equal(AreaAverage((12, 16), size)(image), expected)


def test_area_average_agrees_with_opencv():
    image = np.random.default_rng(0).integers(0, 256, (120, 160, 3)).astype(np.uint8)
    ours = AreaAverage((120, 160), (48, 64))(image).astype(int)
    theirs = cv2.resize(image, (64, 48), interpolation=cv2.INTER_AREA)
    assert np.abs(ours - theirs).max() <= 1
