"""The MineRL adapter over a stub with faults injected, and once over the real thing where it is installed."""

import ast
import logging
import os
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest
from minerl_stub import KEYS, MARK

from prowl_jax import minecraft as mc
from prowl_jax.envs.area_average import AreaAverage
from prowl_jax.envs.minerl import Patience, make_minerl
from prowl_jax.envs.worker_process import episode_seed

ENVS = pathlib.Path(mc.__file__).parent / "envs"
STUB = pathlib.Path(__file__).with_name("minerl_stub.py")
PYTHON = os.environ.get("PROWL_STUB_PYTHON", sys.executable)
QUICK = Patience(start=60.0, step=60.0, silence=30.0)
MARKED = (slice(None), slice(0, 4), slice(0, 4))  # the stub's marked corner, at a tenth of its size


def make(task="Stub-v0", num_envs=2, **kwargs):
    kwargs = {"python": PYTHON, "make": f"{STUB}:make", "frame_size": (36, 64), "patience": QUICK, **kwargs}
    return make_minerl(task, num_envs, **kwargs)


@pytest.fixture
def made():
    """``make``, and everything it made is closed."""
    envs = []

    def keep(*args, **kwargs):
        envs.append(make(*args, **kwargs))
        return envs[-1]

    yield keep
    for env in envs:
        env.close()


@pytest.fixture(scope="module")
def env():
    env = make()
    yield env
    env.close()


def null(n=2):
    return np.tile(mc.SPEC.null, (n, 1))


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def games(env):
    """Process ids of the stub's games, which it prints to its log."""
    return [int(worker.log_tail().split()[-1]) for worker in env._workers]


# A game that breaks


@pytest.mark.parametrize(
    "fault, patience, reason",
    [
        ("die", QUICK, "it died in step (exit code 7)"),
        ("hang", Patience(60.0, 2.0, 30.0), "no answer to step in 2 s"),
        ("freeze", Patience(60.0, 60.0, 3.0), "no sign of life for 3 s in step"),
        ("raise", QUICK, "RuntimeError: the connection is gone"),
        ("error", QUICK, "Connection timed out!"),
    ],
)
def test_a_broken_game_is_replaced_and_its_step_marked(made, caplog, fault, patience, reason):
    """Environment 1 of 2 breaks in its third step; environment 0 never hears of it."""
    quiet = made()
    env = made(f"Stub-v0?fault={fault}&at=3&seed=13", patience=patience)
    env.reset([5, 13])
    pids = games(env)
    quiet_first = quiet.reset([5, episode_seed(13, 1) & 0x7FFFFFFF])
    quiet_steps = [quiet.step(null()) for _ in range(5)]
    for t in range(1, 6):
        with caplog.at_level(logging.WARNING):
            step = env.step(null())
        assert step.done.tolist() == step.info["broken"].tolist() == [False, t == 3]
        assert (step.frames[MARKED] == MARK).all()  # never the noise
        np.testing.assert_array_equal(step.frames[0], quiet_steps[t - 1].frames[0])
        if t >= 3:  # the next episode from its own seed, in a new game
            expected = quiet_first if t == 3 else quiet_steps[t - 4]
            np.testing.assert_array_equal(step.frames[1], expected.frames[1])
            np.testing.assert_array_equal(step.info["pose"][1], expected.info["pose"][1])
    assert env.faults == [f"environment 1 broke in step: {reason}"]
    assert env.faults[0] in caplog.text
    after = games(env)
    assert after[0] == pids[0] and after[1] != pids[1]
    if os.path.isdir("/proc/self"):
        assert not alive(pids[1]) and all(map(alive, after))


def test_death_in_a_reset_is_tried_again_with_the_same_seed(made, env, tmp_path):
    marker = tmp_path / "struck"
    broken = made(f"Stub-v0?fault=reset&seed=13&marker={marker}")
    step = broken.reset([5, 13])
    assert marker.exists() and broken.faults == ["environment 1 broke in reset: it died in reset (exit code 9)"]
    assert not step.done.any() and not step.info["broken"].any()
    np.testing.assert_array_equal(step.frames, env.reset([5, 13]).frames)


def test_a_game_that_never_begins_is_an_error_with_its_log(made):
    env = made("Stub-v0?fault=reset&seed=13", attempts=2)
    with pytest.raises(RuntimeError, match="environment 1 failed to begin an episode 2 times: it died") as caught:
        env.reset([5, 13])
    assert len(str(caught.value).splitlines()) == 1 and "a game that talks" in caught.value.__notes__[0]
    with pytest.raises(RuntimeError, match="closed"):
        env.reset([5, 6])


def test_death_while_nobody_asks_is_seen_in_the_next_reset(made):
    env = made()
    env.reset([1, 2])
    env._workers[0]._process.kill()
    step = env.reset([1, 2])
    assert not step.info["broken"].any() and len(env.faults) == 1
    assert (step.frames[MARKED] == MARK).all()


# Episodes


@pytest.mark.parametrize("task, steps", [("Stub-v0?length=4", None), ("Stub-v0", 4), ("StudioStub?length=4", None)])
def test_an_episode_ends_and_another_begins(made, task, steps):
    """Ended by the task (4-tuples and 5-tuples) or by our own limit, which counts anew."""
    env = made(task, episode_steps=steps)
    starts = [env.reset([5, 6]).frames]
    for t in range(1, 10):
        step = env.step(null())
        assert step.done.tolist() == [t % 4 == 0] * 2 and not step.info["broken"].any()
        assert (step.frames[MARKED] == MARK).all()
        if step.done.all():
            starts.append(step.frames)
    assert len(starts) == 3 and not env.faults
    for i in range(2):
        assert len({frames[i].tobytes() for frames in starts}) == 3  # each from a seed of its own


def test_every_value_of_every_factor_reaches_the_game_and_escape_does_not(made):
    """The stub refuses any dict but the full one, ends its episode at ESC, and echoes the rest as its pose."""
    env = made("Stub-v0?echo=1")
    env.reset([5, 6])
    for factor, size in enumerate(mc.SPEC.sizes):
        for value in range(size):
            actions = null()
            actions[0, factor] = value
            step = env.step(actions)
            action = mc.factors_to_minerl(actions)
            bits = sum(action[key] << i for i, key in enumerate(KEYS))
            camera = action["camera"].astype(np.float32)
            expected = np.stack([bits, camera[:, 0], camera[:, 1] % 360], -1)
            np.testing.assert_allclose(step.info["pose"], expected, rtol=1e-6)
            assert not step.done.any() and not action["ESC"].any()
    assert not env.faults


def test_walking_goes_along_the_heading(env):
    """The pose counts degrees to the left of east, as ViZDoom's does."""
    start = env.reset([5, 6]).info["pose"]
    actions = null()
    actions[0, mc.SPEC.index("move")] = 1
    pose = env.step(actions).info["pose"]
    heading = np.radians(start[0, 2])
    np.testing.assert_allclose(pose[0, :2] - start[0, :2], [0.2 * np.cos(heading), 0.2 * np.sin(heading)], atol=1e-5)
    assert (pose[1] == start[1]).all()


def test_without_a_position_the_pose_is_not_a_number(made):
    assert np.isnan(made("Stub-v0?blind=1").reset([1, 2]).info["pose"]).all()


@pytest.mark.parametrize("size", [(36, 64), (128, 128), (127, 251), (360, 640)])
def test_frames_are_area_averages_of_what_the_game_draws(made, env, size):
    whole = made(num_envs=1, frame_size=(360, 640)).reset([5]).frames[0]
    frames = made(num_envs=1, frame_size=size).reset([5]).frames
    exact = np.abs(frames[0].astype(float) - area_by_integrals(whole, size)) <= 0.5 + 1e-6
    assert frames.shape == (1, *size, 3) and exact.all()
    np.testing.assert_array_equal(frames[0], AreaAverage((360, 640), size)(whole))


def area_by_integrals(image, size):
    """Area averages from differences of the summed-area table, interpolated: exact up to float64's rounding."""
    for axis, new in enumerate(size):
        old = image.shape[axis]
        sums = np.concatenate([np.zeros_like(image.take([0], axis), float), image.cumsum(axis, dtype=float)], axis)
        edges = np.arange(new + 1) * old / new
        low = np.minimum(edges.astype(int), old - 1)
        shape = [-1 if a == axis else 1 for a in range(3)]
        part = sums.take(low, axis) + (edges - low).reshape(shape) * (sums.take(low + 1, axis) - sums.take(low, axis))
        image = np.diff(part, axis=axis) * new / old
    return image


# The other Python


def test_the_worker_knows_nothing_of_this_package(made, monkeypatch):
    """Not even its folder, where a minerl.py lies that is not MineRL; and our PYTHONPATH stays here."""
    monkeypatch.setenv("PYTHONPATH", str(ENVS.parents[1]))
    assert (made("Stub-v0?tell=1").reset([1, 2]).info["pose"][:, :2] == 0).all()


@pytest.mark.parametrize("name", ["minerl_worker.py", "area_average.py"])
def test_the_worker_is_written_for_python_3_8_and_numpy_alone(name):
    tree = ast.parse((ENVS / name).read_text(), feature_version=(3, 8))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    foreign = {module.split(".")[0] for module in imported} - sys.stdlib_module_names
    assert foreign <= {"numpy", "area_average"}


def test_an_environment_that_cannot_be_made_is_one_line(made):
    with pytest.raises(RuntimeError) as caught:
        made("unknown")
    assert str(caught.value).startswith(f"{PYTHON} cannot make 'unknown': KeyError: 'no environment")
    assert len(str(caught.value).splitlines()) == 1 and "minerl_stub.py" in caught.value.__notes__[0]


def test_a_factory_by_a_relative_path(made, monkeypatch):
    monkeypatch.chdir(STUB.parent)
    made(make="minerl_stub.py:make")


def test_a_factory_of_no_known_form_is_named():
    with pytest.raises(RuntimeError, match="make must be minerl, minestudio, .* not 'mineral' .see docs/minerl.md"):
        make(make="mineral")


@pytest.mark.parametrize(
    "python, reason",
    [
        (sys.executable, "ModuleNotFoundError: No module named '(gym|minerl)'"),
        (f"{sys.executable} -S", "it died in start .exit code 1. ModuleNotFoundError: No module named 'numpy'"),
        ("/bin/false", "it died in start .exit code 1."),
    ],
)
def test_a_python_without_minerl_says_so(python, reason):
    with pytest.raises(RuntimeError, match=f"cannot make 'MineRLBasalt': {reason}.* .see docs/minerl.md") as caught:
        make("MineRLBasalt", make="minerl", python=python)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"python": "/no/such/python"}, "cannot start '/no/such/python' as MineRL's Python: No such file"),
        ({"python": ""}, "docs/minerl.md"),
        ({"num_envs": 0}, "num_envs"),
        ({"frame_size": (0, 64)}, "frame_size"),
        ({"episode_steps": 0}, "episode_steps"),
    ],
)
def test_bad_arguments_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        make(**kwargs)


# The end


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks for processes in /proc")
def test_closing_ends_the_games_and_removes_their_folders(made):
    env = made()
    env.reset([1, 2])
    pids = [*games(env), *(worker._process.pid for worker in env._workers)]
    folders = [worker.directory for worker in env._workers]
    assert all(map(alive, pids)) and all(map(os.path.isdir, folders))
    env.close()
    assert not any(map(alive, pids)) and not any(map(os.path.exists, folders))


SCRIPT = """
import sys
from prowl_jax.envs.minerl import make_minerl
env = make_minerl("Stub-v0", 1, python=sys.argv[1], make=sys.argv[2], frame_size=(36, 64))
env.reset([1])
worker = env._workers[0]
print(worker._process.pid, worker.log_tail().split()[-1], worker.directory, flush=True)
while sys.argv[3] == "loop":
    env.step(env.spec.null[None])
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks for processes in /proc")
@pytest.mark.parametrize("how", ["exit", "kill"])
def test_games_end_with_their_parent(how):
    """Whether it forgets to close, or is killed outright."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, PYTHON, f"{STUB}:make", "exit" if how == "exit" else "loop"],
        env={**os.environ, "PYTHONPATH": str(ENVS.parents[1])},
        stdout=subprocess.PIPE,
        text=True,
    )
    worker, game, folder = process.stdout.readline().split()
    if how == "kill":
        process.kill()
    process.wait(30)
    deadline = time.monotonic() + 30
    while alive(worker) or alive(game) or os.path.exists(folder):
        assert time.monotonic() < deadline
        time.sleep(0.05)


# The real thing


def test_minerl_itself(made):
    """Minecraft, where PROWL_MINERL_PYTHON names a Python that has MineRL 1.0; minutes, and a display."""
    python = os.environ.get("PROWL_MINERL_PYTHON")
    if not python:
        pytest.skip("PROWL_MINERL_PYTHON does not name a Python with MineRL 1.0 (docs/minerl.md)")
    env = made("MineRLBasaltFindCave-v0", 1, python=python, make="minerl", frame_size=(72, 128), patience=Patience())
    frames = [env.reset([1]).frames]
    actions = null(1)
    actions[0, [mc.SPEC.index("move"), mc.SPEC.index("yaw")]] = 1, 9
    for _ in range(40):
        step = env.step(actions)
        assert not step.done.any() and not step.info["broken"].any(), env.faults
        frames.append(step.frames)
    assert frames[-1].shape == (1, 72, 128, 3) and frames[-1].std() > 5
    assert np.abs(frames[-1].astype(int) - frames[5].astype(int)).mean() > 2  # it turned
