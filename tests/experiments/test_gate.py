"""The command answers every mistake in one line, with exit code 2; a run may be unfinished."""

import types

import mistakes
import numpy as np
import pytest

from experiments import gate
from experiments.configs.base_voxel import get_config
from experiments.study.gate import taken_apart


@pytest.fixture
def workdir(tmp_path):
    return mistakes.begun_run(tmp_path, get_config("tiny"))


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--dreams=1"], "'1' is not a whole number of at least 2"),
        (["--trainable=half"], "'half' is not one of phase2, all"),
        (["--on=gaps,swim"], "--on: 'swim' cannot be recorded; there are gaps, wander"),
        (["--held-out=moon"], "--held-out: 'moon' cannot be recorded"),
        (["--weights=voxel"], "not allowed with argument"),
        (["--output=/no/where/x.json"], "--output: there is no directory /no/where"),
    ],
)
def test_a_mistaken_flag(workdir, capsys, flags, words):
    assert words in mistakes.answer(capsys, gate.main, f"--workdir={workdir}", *flags)


def test_theta_0s_error_is_taken_apart_whole():
    before = {"square": np.full(9, 10.0), "spread": np.full(9, 3.0)}
    after = {"square": np.full(9, 7.0), "spread": np.full(9, 2.0), "floor": np.full(9, 1.0)}
    config = types.SimpleNamespace(seed=0, evaluation=types.SimpleNamespace(resamples=50))
    told = {name: of["value"] for name, of in taken_apart(config, after, before).items()}
    assert told == pytest.approx({"mendable": 0.3, "spread": 0.2, "floor": 0.1, "rest": 0.4, "spread_of_theta_0": 0.3})
