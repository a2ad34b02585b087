"""Compiled programs of a process go where they are too many."""

import jax
import numpy as np
import pytest

from experiments.configs import default
from experiments.run.directory import Run
from prowl_jax.train import compilation_cache
from prowl_jax.train.compilation_cache import forget_programs


@pytest.fixture
def traced():
    """A compiled program, and how often it was traced."""
    times = []

    @jax.jit
    def program(x):
        times.append(1)
        return x + 1

    program(np.float32(1))
    return program, times


@pytest.mark.parametrize("most, went", [(10**9, False), (0, True)])
def test_programs_go_above_a_number_of_mappings_and_come_back(traced, most, went):
    program, times = traced
    assert forget_programs(most) == went
    assert program(np.float32(1)) == 2 and len(times) == 1 + went


def test_a_stage_of_a_run_leaves_room_for_the_next(traced, monkeypatch, tmp_path):
    program, times = traced
    monkeypatch.setattr(compilation_cache.forget_programs, "__defaults__", (0,))
    Run(tmp_path / "run", default.get_config()).run_stage("demonstrations", lambda run: {})
    assert program(np.float32(1)) == 2 and len(times) == 2
