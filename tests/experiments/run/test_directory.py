"""A run directory: finished stages are skipped, an interrupted stage's time counts, one run one configuration."""

import json
import os
import pathlib
import signal
import subprocess
import sys

import ml_collections
import pytest

from experiments.run import directory as run_module
from experiments.run.command_line import UsageError
from experiments.run.directory import Run

ROOT = pathlib.Path(__file__).parents[3]


def config(**changes):
    values = {"seed": 0, "world_model": {"steps": 3, "size": "XS"}, "widths": (1, 2)} | changes
    return ml_collections.ConfigDict(values)


@pytest.fixture
def clock(monkeypatch):
    """Time stands still but for what a stage spends."""

    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(run_module, "time", clock)
    return clock


def test_a_finished_stage_is_not_done_again(tmp_path, clock, capsys):
    calls = []

    def stage(run):
        calls.append(run.config.seed)
        clock.now += 5.0
        return {"psnr_db": 30.5}

    run = Run(tmp_path / "r", config())
    first = run.run_stage("autoencoder", stage)
    assert first["psnr_db"] == 30.5 and first["seconds"] == 5.0 and 0 < first["peak_memory_gb"] < 100
    again = Run(tmp_path / "r", config())
    assert again.run_stage("autoencoder", stage) == first and calls == [0]
    assert "autoencoder: done before (5 s)" in capsys.readouterr().out
    assert again.run_stage("phase2/prowl", stage)["seconds"] == 5.0 and calls == [0, 0]
    assert list(again.stages()) == ["autoencoder", "phase2/prowl"]


def test_the_seconds_of_an_interrupted_stage_count(tmp_path, clock):
    def interrupted(run):
        clock.now += 7.0
        raise KeyboardInterrupt

    def finished(run):
        clock.now += 2.0

    run = Run(tmp_path, config())
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run.run_stage("phase2/prowl", interrupted)
        assert run.stages() == {}
    clock.now += 1000.0  # nobody was at work
    figures = Run(tmp_path, config()).run_stage("phase2/prowl", finished)
    assert figures["seconds"] == 16.0
    files = [".lock", "config.json", "provenance.json", "stages.json"]
    assert sorted(p.name for p in tmp_path.iterdir()) == files


def test_a_stage_that_fails_says_so_and_is_not_done(tmp_path):
    run = Run(tmp_path, config())
    with pytest.raises(FloatingPointError):
        run.run_stage("world_model", lambda run: (_ for _ in ()).throw(FloatingPointError("loss")))
    assert run.stages() == {}


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"seed": 1}, "holds a run with seed=0, asked was 1; choose another --workdir"),
        ({"world_model": {"steps": 4, "size": "XS"}}, "world_model.steps=3, asked was 4"),
        ({"world_model": {"steps": 4, "size": "S"}, "seed": 9}, "seed=0, asked was 9 (and 2 more keys)"),
        ({"extra": 1}, "extra=None, asked was 1"),
    ],
)
def test_another_configuration_is_refused_and_nothing_changes(tmp_path, changes, words):
    run = Run(tmp_path, config())
    run.run_stage("autoencoder", lambda run: {})
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(UsageError) as error:
        Run(tmp_path, config(**changes))
    assert words in str(error.value) and str(tmp_path) in str(error.value)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_the_configuration_is_written_once_and_the_same_one_is_welcome(tmp_path):
    Run(tmp_path / "a" / "b", config())
    text = (tmp_path / "a" / "b" / "config.json").read_text()
    assert json.loads(text)["world_model"] == {"steps": 3, "size": "XS"}
    Run(tmp_path / "a" / "b", config())
    assert (tmp_path / "a" / "b" / "config.json").read_text() == text


def test_the_seconds_of_a_killed_stage_count(tmp_path):
    """No exception, no farewell: what was noted on the way is all that is left."""
    code = (
        "import os, signal, sys, time, ml_collections\n"
        "from experiments.run.directory import Run\n"
        "Run.NOTE_SECONDS = 0.02\n"
        "def stage(run):\n"
        "    time.sleep(0.5)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "Run(sys.argv[1], ml_collections.ConfigDict({'seed': 0})).run_stage('phase2/prowl', stage)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    figures = Run(tmp_path, ml_collections.ConfigDict({"seed": 0})).run_stage("phase2/prowl", lambda run: {})
    assert 0.4 <= figures["seconds"] < 60


def test_a_second_process_is_refused_until_the_first_has_gone(tmp_path):
    code = (
        "import sys, ml_collections\n"
        "from experiments.run.command_line import UsageError\n"
        "from experiments.run.directory import Run\n"
        "try:\n"
        "    run = Run(sys.argv[1], ml_collections.ConfigDict({'seed': 0}))\n"
        "except UsageError as error:\n"
        "    sys.exit(str(error))\n"
        "print('in', flush=True)\n"
        "sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    first = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout.readline() == "in\n"
        with pytest.raises(UsageError, match=f"in use by process {first.pid} on .*; wait for it, or choose another"):
            Run(tmp_path, ml_collections.ConfigDict({"seed": 0}))
    finally:
        first.kill()  # the lock dies with its owner
        first.wait()
    one = Run(tmp_path, ml_collections.ConfigDict({"seed": 0}))
    again = Run(tmp_path, ml_collections.ConfigDict({"seed": 0}))  # in the same process
    second = subprocess.run(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert second.returncode == 1 and f"in use by process {os.getpid()} " in second.stderr
    del one, again


def test_what_is_done_when_something_breaks_may_change(tmp_path):
    Run(tmp_path, config(on_nan="stop", checkpoint_keep=2))
    Run(tmp_path, config(on_nan="rewind", checkpoint_keep=5))


def measured(**changes):
    return config(evaluation={"clips": 4, "horizon": 2} | changes, metrics={"lpips_weights": "", "flow": "small"})


STAGES = ("world_model", "dream_quality", "evaluation", "report")


@pytest.fixture
def finished(tmp_path):
    """The folder of a run in which all of STAGES are done."""
    run = Run(tmp_path, measured())
    for name in STAGES:
        run.run_stage(name, lambda run: {"clips": run.config.evaluation.clips})
    return tmp_path


def test_what_only_measures_may_change_where_it_is_measured_anew(finished):
    calls = []
    run = Run(finished, measured(clips=9), anew=run_module.with_shown(["evaluation"]))
    for name in STAGES:
        run.run_stage(name, lambda run, name=name: calls.append(name) or {"clips": run.config.evaluation.clips})
    assert calls == ["evaluation", "report"]
    assert {name: figures["clips"] for name, figures in run.stages().items()} == {
        "world_model": 4, "dream_quality": 4, "evaluation": 9, "report": 9,
    }  # fmt: skip
    again = Run(finished, measured(clips=9))  # as a run that was always so
    assert again.stages() == run.stages()
    with pytest.raises(UsageError, match="clips=9, asked was 4; --stages=evaluation,report makes these anew"):
        Run(finished, measured())


def test_other_keys_may_not_change_with_them(finished):
    before = {p.name: p.read_bytes() for p in finished.iterdir()}
    with pytest.raises(UsageError, match="seed=0, asked was 1.*; choose another --workdir"):
        other = measured(clips=9)
        other.seed = 1
        Run(finished, other, anew=("evaluation",))
    assert {p.name: p.read_bytes() for p in finished.iterdir()} == before


def test_a_kill_between_forgetting_and_remembering_leaves_a_way_on(finished, monkeypatch):
    write = run_module.write_json

    def killed(path, value):
        if path.name == "stages.json":
            raise KeyboardInterrupt
        write(path, value)

    monkeypatch.setattr(run_module, "write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        Run(finished, measured(clips=9), anew=("evaluation", "report"))
    monkeypatch.undo()
    run = Run(finished, measured(clips=9), anew=("evaluation", "report"))
    assert list(run.stages()) == ["world_model", "dream_quality"]
    with pytest.raises(UsageError, match="has not finished evaluation yet; the same command without --stages goes on"):
        Run(finished, measured(clips=9), anew=("evaluation", "report"))
    assert list(Run(finished, measured(clips=9)).stages()) == ["world_model", "dream_quality"]
