"""The environment that a configuration names is the one that is made."""

import pathlib
import sys

import numpy as np
import pytest

from experiments import build, stages
from experiments.command_line import UsageError
from experiments.configs.quickstart import get_config
from experiments.run import Run
from prowl_jax import minecraft

STUB = pathlib.Path(__file__).parents[1] / "envs" / "minerl_stub.py"


@pytest.fixture
def config():
    config = get_config("tiny")
    config.env.update(name="minerl", task="Stub-v0", held_out_tasks=())
    config.env.minerl.update(python=sys.executable, make=f"{STUB}:make", episode_steps=2)
    return config


def test_minecraft_is_made_as_configured(config):
    assert build.spec_of(config) == minecraft.SPEC
    env = build.make_env(config, config.env.task, 1)
    try:
        assert env.spec == minecraft.SPEC and env.num_envs == 1
        assert env.reset([1]).frames.shape == (1, *build.frame_shape(config))
        null = np.tile(env.spec.null, (1, 1))
        assert [bool(env.step(null).done[0]) for _ in range(4)] == [False, True, False, True]
    finally:
        env.close()


def test_without_recordings_of_minecraft_the_first_stage_says_what_to_do(config, tmp_path):
    with pytest.raises(UsageError, match=r"put a clip store of recordings of 'Stub-v0' at .*data.Stub-v0"):
        stages.demonstrations(Run(tmp_path, config))
