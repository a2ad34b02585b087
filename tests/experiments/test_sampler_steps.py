"""The command that compares numbers of Euler steps answers every mistake in one line, with exit code 2.

What it measures is tested on a run: ``test_quickstart_tiny.py``.
"""

import json

import mistakes
import pytest

from experiments import sampler_steps
from experiments.configs.quickstart import get_config


@pytest.fixture
def workdir(tmp_path):
    (tmp_path / "config.json").write_text(get_config("tiny").to_json())
    (tmp_path / "stages.json").write_text(json.dumps({"world_model": {"seconds": 1.0}}))
    return tmp_path


def mistake(capsys, *argv):
    return mistakes.answer(capsys, sampler_steps.main, *argv)


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--steps=4,0"], "'0' is not a whole number of at least 1"),
        (["--steps="], "'' is not a whole number"),
        (["--cache=rollling"], "'rollling' is not one of window, rolling"),
        (["--clips=-1"], "'-1' is not a whole number"),
        (["--set=held_out/nowhere"], "--set=held_out/nowhere is not one of in_distribution, held_out/look_around"),
        (["--step=3"], "--step=3"),
        (["--levels=1,.5,.6,0"], "'1,.5,.6,0' does not fall from 1 to 0"),
        (["--levels=1,.5"], "'1,.5' does not fall from 1 to 0"),
        (["--levels=1,x,0"], "'1,x,0' does not fall from 1 to 0"),
        (["--levels=1,.5,0"], "--levels: world_model.network=dit takes --steps and --cache"),
        (["--output=/no/where/x.json"], "--output: there is no directory /no/where"),
    ],
)
def test_a_mistaken_flag(workdir, capsys, flags, words):
    assert words in mistake(capsys, f"--workdir={workdir}", *flags)


def test_a_workdir_must_be_named_and_hold_a_finished_phase_1(workdir, capsys, tmp_path):
    assert "--workdir" in mistake(capsys)
    assert "holds no run: there is no config.json" in mistake(capsys, f"--workdir={tmp_path / 'nowhere'}")
    (workdir / "stages.json").unlink()
    assert "phase 1 (stage world_model) is not done" in mistake(capsys, f"--workdir={workdir}")
    config = json.loads((workdir / "config.json").read_text())
    del config["world_model"]["cache"]
    (workdir / "config.json").write_text(json.dumps(config))
    assert "has no world_model.cache: the run is of another version" in mistake(capsys, f"--workdir={workdir}")
    (workdir / "config.json").write_text("{")
    assert "config.json cannot be read" in mistake(capsys, f"--workdir={workdir}")
