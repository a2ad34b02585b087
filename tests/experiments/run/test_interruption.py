"""Whatever ends a training, the next call goes on and ends with the same bits and the same rows."""

import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from experiments import prowl_main
from experiments.run import interruption
from experiments.run.directory import Run
from experiments.run.metrics_log import read_metrics
from experiments.torture import toy_training as toy

ROOT = pathlib.Path(__file__).parents[3]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """(final state, rows) of a run that nothing disturbed."""
    run = Run(tmp_path_factory.mktemp("toy") / "unbroken", toy.config())
    return toy.stage(run), read_metrics(run.workdir)


def assert_goes_on(workdir, unbroken):
    state = toy.stage(Run(workdir, toy.config()))
    jax.tree.map(np.testing.assert_array_equal, state, unbroken[0])
    assert read_metrics(workdir) == unbroken[1]


def child(workdir, *arguments):
    command = [sys.executable, "-m", toy.__name__, str(workdir), *arguments]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("faults", [("save:1", "step:13"), ("save:3",)])
def test_killed_in_a_save_or_between(tmp_path, unbroken, faults):
    for fault in faults:
        process = child(tmp_path, fault)
        assert process.wait(120) == -signal.SIGKILL, process.stderr.read()
    assert_goes_on(tmp_path, unbroken)


def test_killed_at_any_moment(tmp_path, unbroken):
    process = child(tmp_path)
    while process.poll() is None and not read_metrics(tmp_path):
        time.sleep(0.02)
    time.sleep(random.uniform(0, 0.9))
    process.kill()
    process.wait()
    assert_goes_on(tmp_path, unbroken)


@pytest.fixture
def listening():
    before = signal.getsignal(signal.SIGTERM)
    interruption.listen()
    yield
    interruption.listen()  # what was heard is forgotten
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("index", [8, toy.STEPS - 1])
def test_sigterm_ends_the_step_and_saves_it(tmp_path, unbroken, listening, index):
    def fetch(i):
        if i == index:
            os.kill(os.getpid(), signal.SIGTERM)
        return toy.batch_of(i)

    run = Run(tmp_path, toy.config())
    with pytest.raises(interruption.Terminated):
        toy.stage(run, fetch)
    steps = sorted(int(p.name) for p in run.checkpoints("toy").iterdir())
    assert index - 3 <= steps[-1] <= index + 1  # batches are fetched a little ahead
    assert steps[-1] % 5 or index == toy.STEPS - 1  # a checkpoint out of turn
    interruption.listen()
    assert_goes_on(tmp_path, unbroken)


def test_sigterm_outside_of_a_loop_and_a_second_one_end_at_once(listening):
    with pytest.raises(interruption.Terminated):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)
    interruption.listen()
    with pytest.raises(interruption.Terminated), interruption.after_the_step():
        os.kill(os.getpid(), signal.SIGTERM)
        assert interruption.asked()
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("the second one was not heard")
    interruption.listen()
    with pytest.raises(interruption.Terminated), interruption.after_the_step():
        os.kill(os.getpid(), signal.SIGTERM)  # in the last step


def test_ctrl_c_in_the_middle(tmp_path, unbroken):
    def fetch(i):
        if i == 17:
            raise KeyboardInterrupt
        return toy.batch_of(i)

    with pytest.raises(KeyboardInterrupt):
        toy.stage(Run(tmp_path, toy.config()), fetch)
    assert_goes_on(tmp_path, unbroken)


@pytest.mark.parametrize(
    "error, code, words",
    [
        (interruption.Terminated(), 143, "terminated: saved; the same command goes on"),
        (KeyboardInterrupt(), 130, "interrupted: the same command goes on"),
        (OSError(28, "No space left on device", "a/x"), 1, "error: a/x: No space left on device; make room"),
        (MemoryError("RESOURCE_EXHAUSTED: Out of memory: 9 bytes"), 1, "the largest part is a step of the auto"),
    ],
)  # fmt: skip
def test_the_command_ends_with_a_line_and_a_code(monkeypatch, capsys, tmp_path, error, code, words):
    from experiments.stages import pipeline

    def fail(*_):
        raise error

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(pipeline, "run_all", fail)
    try:
        assert prowl_main.main(["--config=experiments/configs/quickstart.py:tiny", f"--workdir={tmp_path}"]) == code
    finally:
        signal.signal(signal.SIGTERM, before)
    said = capsys.readouterr().err.strip()
    assert words in said and len(said.splitlines()) == 1


def test_ctrl_c_while_jax_is_imported_ends_the_process_and_is_ours_again_afterwards():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(ImportError), interruption.importing():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
            raise ImportError
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with interruption.importing():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN, "a background process goes on ignoring it"
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_interrupted_process_leaves_without_waiting_for_the_device(monkeypatch):
    left = []
    monkeypatch.setattr(interruption.os, "_exit", left.append)
    for code in (0, 1, 2, 130, 143):
        with pytest.raises(SystemExit) as stop:
            interruption.exit_process(code)
        assert stop.value.code == code
    assert left == [130, 143]
