"""Every host environment keeps the protocol of ``envs/base.py``. Minecraft's is held to it over a stub."""

import ctypes.util
import dataclasses
import functools
import importlib.util
import os
import pathlib
import sys

import grid_toy
import numpy as np
import pytest
import tiny_dream

from prowl_jax.envs.base import GroupedEnv, HostEnv, Step, grouped
from prowl_jax.envs.craftax.environment import Craftax
from prowl_jax.envs.device import DeviceVectorEnv
from prowl_jax.envs.gymnasium import Gymnasium
from prowl_jax.envs.minerl import make_minerl
from prowl_jax.envs.vizdoom import TASKS, make_vizdoom
from prowl_jax.envs.voxel import make_voxel
from prowl_jax.envs.workers import ProcessVectorEnv


def make_toy(num_envs, workers):
    return ProcessVectorEnv(grid_toy.Line, num_envs, workers, grid_toy.SPEC, grid_toy.FRAME_SHAPE)


def make_minerl_stub(num_envs, workers):
    """In another process, and in another Python where PROWL_STUB_PYTHON names one; one worker a game."""
    stub = pathlib.Path(__file__).with_name("minerl_stub.py")
    python = os.environ.get("PROWL_STUB_PYTHON", sys.executable)
    return make_minerl("Stub-v0", num_envs, python=python, make=f"{stub}:make", frame_size=(36, 64))


def make_small_voxel(num_envs, workers):
    """It has no workers: the device steps all environments."""
    return make_voxel("wander", num_envs, worlds=2, frame_size=(24, 32), episode_steps=40)


def make_dream(num_envs, workers):
    """Nor have dreams."""
    return DeviceVectorEnv(tiny_dream.make_dreams()[0], num_envs)


def make_gymnasium(make, num_envs, workers, **settings):
    """An environment of others."""
    return Gymnasium(make_with=make, frame_size=(32, 32), workers=workers, **settings).make("play", num_envs)


def make_craftax(num_envs, workers):
    """Nor has Craftax."""
    return Craftax(frame_size=(32, 32), worlds=16).make("wander", num_envs)


MAKERS = {"toy": make_toy, "minerl_stub": make_minerl_stub, "voxel": make_small_voxel, "dream": make_dream}
MAKERS["craftax"] = make_craftax
GYMNASIUM = {
    "CartPole-v1": ("pygame", 25),
    "CarRacing-v3": ("Box2D", 8),
    "ALE/Pong-v5": ("ale_py", 8),
    "MiniGrid-FourRooms-v0": ("minigrid", 8),
    "VizdoomHealthGathering-v1": ("vizdoom", 8),
    "MiniWorld-Hallway-v0": ("miniworld", 8),
}
"""ID -> what it needs beside Gymnasium, and how many steps are rolled: fewer where starting or drawing takes long.

Rendered, continuous, an Atari game, a grid, and first person twice.
"""
FRAMES = {"VizdoomHealthGathering-v1": "screen"}
MAKERS["vector"] = lambda num_envs, workers: make_gymnasium("gym_toys:make_vector", num_envs, workers, vector=True)
MAKERS["envpool"] = lambda num_envs, workers: make_gymnasium("envpool:CartPole-v1", num_envs, workers, vector=True)
for _make in GYMNASIUM:
    MAKERS[_make] = functools.partial(make_gymnasium, _make, frames=FRAMES.get(_make, ""))
for _task in {(task.wad, task.doom_map): name for name, task in reversed(TASKS.items())}.values():
    MAKERS[_task] = lambda num_envs, workers, task=_task: make_vizdoom(task, num_envs, workers=workers)


@pytest.fixture(scope="module", params=MAKERS)
def kind(request):
    """A key of ``MAKERS``, if what it needs is there."""
    name = request.param
    needed = {"craftax": ("imageio", "craftax"), "envpool": ("gymnasium", "envpool"), "vector": ("gymnasium",)}
    if name in TASKS:
        needed[name] = ("vizdoom",)
    if name in GYMNASIUM:
        needed[name] = ("gymnasium", GYMNASIUM[name][0])
    for package in needed.get(name, ()):
        if importlib.util.find_spec(package) is None:  # not imported: pyglet would look for a screen
            pytest.skip(f"{package} is not installed")
    if name.startswith("MiniWorld") and not (os.environ.get("DISPLAY") or ctypes.util.find_library("EGL")):
        pytest.skip("MiniWorld draws with OpenGL, and there is neither a display nor EGL")
    return name


@pytest.fixture(scope="module")
def maker(kind):
    return MAKERS[kind]


@pytest.fixture(scope="module")
def env(maker):
    env = maker(3, 2)
    yield env
    env.close()


@pytest.fixture(scope="module")
def other(maker):
    """As ``env``, in one worker instead of two."""
    other = maker(3, 1)
    yield other
    other.close()


@pytest.fixture(scope="module")
def begun(env):
    """``env``, at whatever step of its episodes."""
    env.reset([1, 2, 3])
    return env


@pytest.fixture(scope="module")
def actions(kind, env):
    """What the longer tests roll: int32 ``[T, 3, A]``."""
    _, steps = GYMNASIUM.get(kind, (None, 25))
    return some_actions(env.spec, steps, 3)


@pytest.fixture(scope="module")
def rolled(env, actions):
    """What ``env`` rolls of them from the seeds 4, 5, 6."""
    return roll(env, [4, 5, 6], actions)


def some_actions(spec, steps, num_envs, seed=0):
    sizes = np.array(spec.sizes)
    return np.random.default_rng(seed).integers(0, sizes, (steps, num_envs, len(sizes))).astype(np.int32)


def roll(env, seeds, actions):
    """Frames [T+1, N, H, W, 3], done [T+1, N] and poses [T+1, N, 3] of a reset and T steps."""
    steps = [env.reset(seeds)] + [env.step(a) for a in actions]
    return tuple(np.stack(x) for x in zip(*((s.frames, s.done, where(s)) for s in steps), strict=True))


def where(step):
    """The pose, or what else tells states apart: the observation, or the frame."""
    told = [step.info[name] for name in ("pose", "observation") if name in step.info]
    return told[0] if told else step.frames.reshape(len(step.frames), -1)


def turns(env):
    """Skips where there is no yaw and no pose that could tell of it."""
    if "yaw" not in env.spec.names:
        pytest.skip("it knows no pose")


def test_shapes_and_dtypes(env):
    assert isinstance(env, HostEnv)
    assert env.num_envs == 3
    for step in (env.reset(np.array([1, 2, 3])), env.step(np.tile(env.spec.null, (3, 1)))):
        assert isinstance(step, Step)
        assert step.frames.shape == (3, *env.frame_shape) and step.frames.dtype == np.uint8
        assert step.done.shape == (3,) and step.done.dtype == bool and not step.done.any()
        if "yaw" in env.spec.names:
            assert step.info["pose"].shape == (3, 3) and step.info["pose"].dtype == np.float32


def test_same_seed_and_actions_give_the_same_frames_whatever_was_before(env, actions, rolled):
    roll(env, [7, 8, 9], actions[::-1])
    for a, b in zip(rolled, roll(env, [4, 5, 6], actions), strict=True):
        np.testing.assert_array_equal(a, b)


def test_new_processes_and_another_number_of_workers_give_the_same_frames(other, actions, rolled):
    for a, b in zip(rolled, roll(other, [4, 5, 6], actions), strict=True):
        np.testing.assert_array_equal(a, b)


def roll_in_groups(env, seeds, actions):
    """What ``roll`` gives, each group stepped while the others are under way."""
    env = grouped(env)
    start = env.reset(seeds)
    parts = [[dataclasses.replace(start, frames=start.frames[r], done=start.done[r])] for r in env.groups]
    for t, a in enumerate(actions):
        for group, rows in enumerate(env.groups):
            if t:
                parts[group].append(env.receive(group))
            env.send(a[rows], group)
    for group, steps in enumerate(parts):
        steps.append(env.receive(group))
    frames = np.concatenate([np.stack([s.frames for s in steps]) for steps in parts], axis=1)
    done = np.concatenate([np.stack([s.done for s in steps]) for steps in parts], axis=1)
    poses = np.concatenate([np.stack([where(s) for s in steps[1:]]) for steps in parts], axis=1)
    return frames, done, np.concatenate([where(start)[None], poses])


def test_groups_give_what_stepping_together_gives(other, actions, rolled):
    """Two groups where workers have several environments, else one; unlike ``env``, which has one."""
    groups = grouped(other).groups
    assert len(groups) == (2 if isinstance(other, GroupedEnv) else 1)
    assert [i for rows in groups for i in range(3)[rows]] == [0, 1, 2]
    for a, b in zip(rolled, roll_in_groups(other, [4, 5, 6], actions), strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_environment_depends_on_its_own_seed_alone(env, actions, rolled):
    swapped, _, _ = roll(env, [6, 5, 4], actions[:10, ::-1])
    np.testing.assert_array_equal(rolled[0][: len(swapped)], swapped[:, ::-1])


def test_seeds_differ(env):
    starts, late = [], False
    for i in range(3):
        start = where(env.reset(np.arange(3) + 3 * i))
        late |= i == 0 and len(np.unique(start, axis=0)) == 1  # Pong's first frames are all the same; its noise is not
        if late:
            steps = [env.step(np.tile(action, (3, 1))) for action in some_actions(env.spec, 40, 1)[:, 0]]
            start = steps[-1].frames.reshape(3, -1)
        starts.append(start)
    assert len(np.unique(np.concatenate(starts), axis=0)) >= 5


def test_frames_are_copies_that_later_steps_leave_alone(env):
    step = env.reset([1, 2, 3])
    kept = step.frames.copy()
    for a in some_actions(env.spec, 5, 3):
        env.step(a)
    np.testing.assert_array_equal(step.frames, kept)


def test_action_t_leads_from_frame_t_to_frame_t_plus_1(env, request):
    """The pose that comes with frame t+1 has turned by action t, no step earlier or later."""
    turns(env)
    if request.node.name.endswith("[take_cover]"):
        pytest.skip("all one can do there is step aside")
    yaw = env.spec.index("yaw")
    actions = np.tile(env.spec.null, (6, 3, 1))
    actions[2, :, yaw] = 0
    actions[4, :, yaw] = 10
    _, _, poses = roll(env, [1, 2, 3], actions)
    turned = (np.diff(poses[..., 2], axis=0) + 180) % 360 - 180
    expected = np.array([0, 0, 10, 0, -10, 0.0])
    np.testing.assert_allclose(turned, np.tile(expected[:, None], (1, 3)), atol=0.1)


@pytest.mark.parametrize("place", [0, -1])
@pytest.mark.parametrize("value", [-1, 99])
def test_out_of_range_actions_name_the_factor(begun, place, value):
    env = begun
    name = env.spec.names[place]
    actions = np.tile(env.spec.null, (3, 1))
    actions[1, env.spec.index(name)] = value
    with pytest.raises(ValueError, match=f"'{name}'"):
        env.step(actions)


@pytest.mark.parametrize("actions", [np.zeros((2, 5), np.int32), np.zeros((3, 5)), np.zeros(5, np.int32)])
def test_actions_of_another_shape_or_type_are_refused(begun, actions):
    with pytest.raises(ValueError, match="actions must be"):
        begun.step(actions[..., : len(begun.spec.factors)])


@pytest.mark.parametrize("seeds", [[1, 2], [1, 2, -3], [1.0, 2.0, 3.0], 1])
def test_bad_seeds_are_refused(env, seeds):
    with pytest.raises(ValueError, match="seeds must be"):
        env.reset(seeds)


def test_close_twice_and_no_step_before_reset(kind, maker):
    if kind in GYMNASIUM and kind != "CartPole-v1":
        pytest.skip("the same processes as CartPole's")
    env = maker(1, 1)
    with pytest.raises(RuntimeError, match="reset"):
        env.step(env.spec.null[None])
    env.close()
    env.close()
    with pytest.raises(RuntimeError, match="closed"):
        env.reset([1])


def test_an_episode_that_ends_restarts_by_itself():
    """On the toy's line, drawn with the walker W between the ends 0 and 15.

    0 . . . W . . . 15   ->   done when it gets to 15, and the frame is another start's
    """
    env = make_toy(2, 2)
    try:
        forward = np.tile(grid_toy.SPEC.null, (2, 1))
        forward[0, 0] = 1  # the second environment stands still
        x = env.reset([1, 2]).info["pose"][:, 0]
        stands = x[1]
        starts = []
        for _ in range(40):
            step = env.step(forward)
            expected = x[0] + 1
            x = step.info["pose"][:, 0]
            assert not step.done[1] and x[1] == stands
            assert step.done[0] == (expected == 15)
            if step.done[0]:
                assert 3 <= x[0] <= 8  # the first frame of the next episode
                starts.append(step.frames[0].max())  # the toy's colour tells the seed
            else:
                assert x[0] == expected
            assert step.frames[0, 0, int(x[0])].all()
        assert len(set(starts)) == len(starts) >= 3  # each episode from a seed of its own
    finally:
        env.close()
