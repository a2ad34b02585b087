"""The command answers every mistake in one line. What it measures is tested on a run: ``test_quickstart_tiny.py``."""

import json

import mistakes
import pytest

from experiments import uncertainty
from experiments.configs.quickstart import get_config


@pytest.fixture
def workdir(tmp_path):
    (tmp_path / "stages.json").write_text(json.dumps(dict.fromkeys(("world_model", "phase2/prowl"), {"seconds": 1.0})))
    return mistakes.begun_run(tmp_path, get_config("tiny"))


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--clips=1"], "'1' is not a whole number of at least 2"),
        (["--dreams=0"], "'0' is not a whole number of at least 1"),
        (["--tasks=nowhere"], "--tasks: 'nowhere' is not one of look_around"),
        (["--arms=uniform"], "--arms: the arm uniform is not done"),
        (["--output=/no/where/x.json"], "--output: there is no directory /no/where"),
    ],
)
def test_a_mistaken_flag(workdir, capsys, flags, words):
    assert words in mistakes.answer(capsys, uncertainty.main, f"--workdir={workdir}", *flags)


def test_arms_are_those_of_a_run(tmp_path, capsys):
    argv = ["--weights=voxel", "--arms=prowl", f"--output={tmp_path / 'x.json'}"]
    assert "--arms names arms of a run" in mistakes.answer(capsys, uncertainty.main, *argv)
    argv = ["--weights=voxel", "--tasks=nowhere", f"--output={tmp_path / 'x.json'}"]
    assert "--tasks: 'nowhere' is not one of" in mistakes.answer(capsys, uncertainty.main, *argv)
