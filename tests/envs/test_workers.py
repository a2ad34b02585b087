"""What workers do when things go wrong, and what they must not carry along."""

import functools
import glob
import os
import signal
import subprocess
import sys
import tempfile
import time

import grid_toy
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prowl_jax.envs.worker_handle import cores, deal
from prowl_jax.envs.worker_process import episode_seed
from prowl_jax.envs.workers import EnvironmentFailure, ProcessVectorEnv


def make(make_one, num_envs=3, workers=2, **kwargs):
    return ProcessVectorEnv(make_one, num_envs, workers, grid_toy.SPEC, grid_toy.FRAME_SHAPE, **kwargs)


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """What other processes on this machine leave behind is none of these tests' business."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def directories():
    return set(glob.glob(os.path.join(tempfile.gettempdir(), "prowl-worker-*")))


def fail(fault, **kwargs):
    """The RuntimeError when environment 1 of 3 misbehaves, and the seconds until it came."""
    env = make(functools.partial(grid_toy.Faulty, fault), **kwargs)
    env.reset([1, 13, 2])
    start = time.monotonic()
    with pytest.raises(RuntimeError) as caught:
        env.step(np.tile(grid_toy.SPEC.null, (3, 1)))
    with pytest.raises(RuntimeError, match="closed"):
        env.reset([1, 2, 3])
    return caught.value, time.monotonic() - start


def test_an_exception_names_the_environment_and_brings_its_traceback():
    error, _ = fail("raise")
    assert str(error).startswith("environment 1 failed in step: ValueError: the walls")
    assert len(str(error).splitlines()) == 1
    assert "grid_toy.py" in error.__notes__[0]


def test_a_frame_of_another_shape_is_refused():
    with pytest.raises(RuntimeError, match=r"environment 0 failed in reset: ValueError: a frame is uint8 \(4, 16, 3\)"):
        ProcessVectorEnv(grid_toy.Line, 2, 1, grid_toy.SPEC, (1, 16, 3)).reset([1, 2])


def test_frames_are_finished_in_the_workers_and_belong_to_the_caller():
    """Whatever the number of workers; and a later step does not write into them."""
    plain = make(grid_toy.Line)
    finished = ProcessVectorEnv(grid_toy.Line, 3, 2, grid_toy.SPEC, (4, 8, 3), finish=grid_toy.left_half)
    try:
        first, whole = finished.reset([1, 2, 3]).frames, plain.reset([1, 2, 3]).frames
        before = first.copy()
        np.testing.assert_array_equal(first, whole[:, :, :8])
        walk = np.tile(grid_toy.SPEC.null, (3, 1))
        walk[:, 0] = 1
        np.testing.assert_array_equal(finished.step(walk).frames, plain.step(walk).frames[:, :, :8])
        np.testing.assert_array_equal(first, before)
    finally:
        finished.close()
        plain.close()


def test_a_dead_worker_is_reported_at_once():
    error, seconds = fail("die")
    assert "environments 0..1 died in step (exit code 7)" in str(error)
    assert seconds < 10


def test_a_hanging_worker_is_given_up_and_ended():
    error, seconds = fail("hang", timeout=0.5)
    assert "environments 0..1 did not answer step in 0.5 s" in str(error)
    assert seconds < 10


def test_a_worker_that_cannot_start_says_why():
    with pytest.raises(RuntimeError, match="environment 0 failed in start: OSError: no engine here"):
        make(functools.partial(grid_toy.Faulty, "start"))


def test_workers_import_neither_jax_nor_main_and_clean_their_directory():
    before = directories()
    start = time.monotonic()
    env = make(grid_toy.Introspective)
    step = env.reset([1, 2, 3])
    assert time.monotonic() - start < 10  # about 0.3 s when nothing else runs
    np.testing.assert_array_equal(step.info["pose"], [[0, 0, 1]] * 3)
    assert len(directories() - before) == 2
    env.close()
    assert not directories() - before


@pytest.fixture
def five():
    """Five environments in two groups, of which each of two workers has a share."""
    env = make(grid_toy.Line, 5, 2)
    yield env
    env.close()


def test_infos_of_any_shape_and_type_arrive_and_belong_to_the_caller():
    env = make(grid_toy.Talkative, 4, 2)
    try:
        info = env.reset([1, 2, 3, 4]).info
        x = info["pose"][:, 0].astype(int)
        forward = still(4)
        forward[:, 0] = 1
        after = env.step(forward).info
        np.testing.assert_array_equal(info["ways"], np.arange(6).reshape(2, 3) + x[:, None, None])
        np.testing.assert_array_equal(after["ways"], info["ways"] + 1)
        np.testing.assert_array_equal(after["event_home"], x + 1 == 8)
        assert {name: value.dtype.name for name, value in after.items()} == {
            "pose": "float32", "event_home": "bool", "ways": "int64"
        }  # fmt: skip
    finally:
        env.close()


@pytest.mark.parametrize(
    "seeds, message",
    [
        (([1, 13],), "environments disagree about their infos"),
        (([1, 2], [1, 13]), "environment 1 failed in reset: ValueError: an info has"),
        (([14, 14],), "environment 0 failed in reset: ValueError: .*itemsize"),
    ],
)
def test_infos_that_differ_or_are_too_large_are_refused(seeds, message):
    env = make(grid_toy.Talkative, 2, 2)
    try:
        with pytest.raises(RuntimeError, match=message):
            for some in seeds:
                env.reset(some)
    finally:
        env.close()


def test_workers_keep_to_a_core_where_every_core_gets_as_many(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5, 2}, raising=False)
    assert [cores(n) for n in (1, 2, 3, 4)] == [[None], [2, 5], [None] * 3, [2, 5, 2, 5]]


def still(n):
    return np.tile(grid_toy.SPEC.null, (n, 1))


def test_groups_may_be_received_in_the_order_they_were_sent_to_alone(five):
    with pytest.raises(RuntimeError, match="reset"):
        five.send(still(3), 0)
    five.reset([1, 2, 3, 4, 5])
    with pytest.raises(RuntimeError, match="group 0 was sent no actions"):
        five.receive(0)
    five.send(still(2), 1)
    with pytest.raises(RuntimeError, match="group 1 has been sent actions already"):
        five.send(still(2), 1)
    with pytest.raises(RuntimeError, match="group 1 has been sent actions already"):
        five.step(still(5))
    five.send(still(3), 0)
    with pytest.raises(RuntimeError, match="group 1 was sent actions before group 0"):
        five.receive(0)
    assert five.receive(1).frames.shape[0] == 2 and five.receive(0).frames.shape[0] == 3
    with pytest.raises(ValueError, match=r"actions must be \[3, A\]"):
        five.send(still(2), 0)
    for method in (five.receive, lambda group: five.send(still(2), group)):
        with pytest.raises(ValueError, match="no group 2 in 2"):
            method(2)
    five.step(still(5))  # none of these mistakes did anything


def test_a_reset_drops_what_is_under_way(five):
    poses = five.reset([1, 2, 3, 4, 5]).info["pose"]
    forward = still(5)
    forward[:, 0] = 1
    for group, rows in enumerate(five.groups):
        five.send(forward[rows], group)
    np.testing.assert_array_equal(five.reset([1, 2, 3, 4, 5]).info["pose"], poses)
    np.testing.assert_array_equal(five.step(forward).info["pose"][:, 0], poses[:, 0] + 1)


def test_a_worker_that_dies_while_two_groups_are_under_way_is_reported():
    env = make(functools.partial(grid_toy.Faulty, "die"), 6, 2)
    env.reset([1, 2, 3, 4, 5, 13])
    env.send(still(3), 0)
    env.send(still(3), 1)
    with pytest.raises(RuntimeError, match=r"environments 2..2 and 4..5 died in step \(exit code 7\)"):
        for group in range(2):
            env.receive(group)
    with pytest.raises(RuntimeError, match="closed"):
        env.receive(1)


@pytest.mark.parametrize("fault", ["raise", "die", "hang", "shape", "nan"])
def test_a_worker_that_fails_starts_again_and_the_others_play_on(fault, capfd):
    """Environment 1 fails, whose worker has environments 0 and 1; environment 2 never notices."""
    forward = still(3)
    forward[:, 0] = 1
    alone = make(grid_toy.Line, 1, 1)
    env = make(functools.partial(grid_toy.Faulty, fault), restarts=1, timeout=1.0)
    try:
        expected = [alone.reset([2]), alone.step(forward[:1]), alone.step(forward[:1])]
        steps = [env.reset([1, 13, 2]), env.step(forward), env.step(forward)]
        assert [s.info["broken"].tolist() for s in steps] == [[False] * 3] + [[True, True, False]] * 2
        assert all(s.done[:2].all() for s in steps[1:])
        for ours, theirs in zip(steps, expected, strict=True):
            np.testing.assert_array_equal(ours.frames[2], theirs.frames[0])
            np.testing.assert_array_equal(ours.info["pose"][2], theirs.info["pose"][0])
        assert "; 0..1 start again with the next trajectories" in capfd.readouterr().err
        whole = env.reset([2, 2, 2])
        assert not whole.info["broken"].any()
        np.testing.assert_array_equal(whole.frames, np.repeat(expected[0].frames, 3, 0))
        np.testing.assert_array_equal(env.step(forward).frames, np.repeat(expected[1].frames, 3, 0))
    finally:
        env.close()
        alone.close()


def test_killed_between_two_steps_they_start_again_and_leave_nothing():
    env = make(grid_toy.Line, restarts=2)
    try:
        env.reset([1, 2, 3])
        os.kill(env._workers[0].process.pid, signal.SIGKILL)
        assert env.step(still(3)).info["broken"].tolist() == [True, True, False]
        assert not env.reset([1, 2, 3]).info["broken"].any()
    finally:
        env.close()
    assert not os.listdir(tempfile.gettempdir())


def test_where_all_fail_again_and_again_it_ends_with_what_they_said():
    env = make(functools.partial(grid_toy.Faulty, "mutter"), 2, 2, restarts=2)
    for _ in range(2):
        assert not env.reset([13, 13]).info["broken"].any()
        assert env.step(still(2)).info["broken"].all()
    with pytest.raises(EnvironmentFailure, match=r"all environments failed 2 times in a row, .*exit code 9") as caught:
        env.reset([13, 13])
    assert "no more monsters" in "".join(caught.value.__notes__) and "\n" not in str(caught.value)


def test_one_round_that_some_survive_forgives_the_ones_before():
    env = make(functools.partial(grid_toy.Faulty, "die"), 2, 2, restarts=2)
    try:
        for seeds in ([13, 13], [1, 13], [13, 13], [1, 1]):
            env.reset(seeds)
            assert env.step(still(2)).info["broken"].tolist() == [seed == 13 for seed in seeds]
    finally:
        env.close()


@given(num_envs=st.integers(1, 40), workers=st.integers(1, 8), groups=st.integers(1, 5))
def test_dealing(num_envs, workers, groups):
    """Every environment once; every worker in every group; nobody has two more than another."""
    workers = min(workers, num_envs)
    slices, shares = deal(num_envs, workers, groups)
    assert [i for rows in slices for i in range(num_envs)[rows]] == list(range(num_envs))
    assert len(slices) == min(groups, num_envs // workers) and len(shares) == workers
    for group, rows in enumerate(slices):
        assert [i for share in shares for i in share[group]] == list(range(num_envs)[rows])
        assert all(share[group] for share in shares)
    if len(slices) <= 2:
        counts = [sum(map(len, share)) for share in shares]
        assert max(counts) - min(counts) <= 1


SCRIPT = """
import os, signal, sys
import numpy as np
import grid_toy
from prowl_jax.envs.workers import ProcessVectorEnv
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit that it is ignored
env = ProcessVectorEnv(grid_toy.Line, 2, 2, grid_toy.SPEC, grid_toy.FRAME_SHAPE)
env.reset([1, 2])
print(*[w.process.pid for w in env._workers], *[w.directory for w in env._workers], flush=True)
while sys.argv[1] == "loop":
    env.step(np.tile(grid_toy.SPEC.null, (2, 1)))
"""


@pytest.mark.parametrize("how", ["exit", "interrupt", "kill"])
def test_workers_end_with_their_parent(how, tmp_path):
    """Whether it forgets to close, gets Ctrl-C in the terminal, or is killed outright."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, script, "exit" if how == "exit" else "loop"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    first, second, *folders = process.stdout.readline().split()
    if how == "interrupt":
        os.killpg(process.pid, signal.SIGINT)
    elif how == "kill":
        process.kill()
    try:
        _, errors = process.communicate(timeout=20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    assert errors.count("Traceback") == (1 if how == "interrupt" else 0), errors
    deadline = time.monotonic() + 10
    alive = [f"/proc/{first}", f"/proc/{second}", *folders]
    while any(os.path.exists(path) for path in alive):
        assert time.monotonic() < deadline, alive
        time.sleep(0.05)


def test_episode_seeds_are_distinct_and_start_with_the_given_one():
    seeds = [episode_seed(s, e) for s in range(20) for e in range(20)]
    assert len(set(seeds)) == len(seeds)
    assert episode_seed(7, 0) == 7


@pytest.mark.parametrize("counts", [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_counts_are_checked(counts):
    with pytest.raises(ValueError, match="must be positive"):
        make(grid_toy.Line, *counts[:2], groups=counts[2])
