"""The command answers every mistake in one line, with exit code 2. What it measures is tested in ``test_voxel_run``."""

import json

import mistakes
import pytest

from experiments import learnability
from experiments.configs import quickstart
from experiments.configs.study import get_config
from experiments.run import finished_run
from experiments.study import grid


@pytest.fixture
def config():
    config = get_config("tiny")
    del config.study
    return config


@pytest.fixture
def workdir(config, tmp_path):
    (tmp_path / "config.json").write_text(config.to_json())
    stages = dict.fromkeys(("world_model", "reference", "phase2/unanchored"), {"seconds": 1.0})
    (tmp_path / "stages.json").write_text(json.dumps(stages))
    return tmp_path


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--trajectories=64,0"], "'0' is not a whole number of at least 1"),
        (["--updates=-3"], "'-3' is not a whole number"),
        (["--trainable=phase2,half"], "'half' is not one of phase2, all"),
        (["--priority=softmax"], "--priority"),
        (["--policies=passive"], "--policies: 'passive' has no policy; there are frozen_reference, prowl"),
        (["--policies=unanchored,prowl"], "--policies: the arm prowl is not done"),
        (["--output=/no/where/x.json"], "--output: there is no directory /no/where"),
    ],
)
def test_a_mistaken_flag(workdir, capsys, flags, words):
    assert words in mistakes.answer(capsys, learnability.main, f"--workdir={workdir}", *flags)


def test_a_seed_of_a_study_is_opened_with_what_is_shared(config, tmp_path):
    config = get_config("tiny")
    _, seeds = grid.open_runs(config, tmp_path)
    path = next(iter(seeds.values())).workdir
    run = grid.open_run(path, finished_run.read_config(_with_phase_1(path), quickstart.get_config()))
    assert run.data("wander") == tmp_path / "shared" / "data" / "wander"
    assert run.checkpoints("world_model").parent.parent == path


def test_a_run_of_its_own_is_opened_as_it_is(workdir, config):
    run = grid.open_run(workdir, finished_run.read_config(workdir, quickstart.get_config()))
    assert run.data("wander") == workdir / "data" / "wander"


def _with_phase_1(path):
    (path / "stages.json").write_text(json.dumps({"world_model": {"seconds": 1.0}}))
    return path
