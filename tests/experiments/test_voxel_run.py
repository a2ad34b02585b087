"""configs/voxel.py at its smallest: phase 2 as programs on the device, interrupted, and what the log says."""

import json

import numpy as np
import pytest

from experiments import phase2, phase2_device, stages
from experiments.configs.voxel import get_config
from experiments.logging import read_metrics
from experiments.run import Run
from prowl_jax.envs.voxel import EVENTS
from prowl_jax.train.checkpoint import Checkpoints


@pytest.fixture(scope="module")
def config():
    config = get_config("tiny")
    config.env.held_out_tasks = ()
    config.demonstrations.update(episodes=4, episode_frames=24)
    config.phase2.update(cycles=3, warm_up=1, horizon=4)
    return config


@pytest.fixture(scope="module")
def run(config, tmp_path_factory):
    """A run whose adversary has been stopped after a cycle and gone on."""
    run = Run(tmp_path_factory.mktemp("voxel") / "run", config)
    for stage in (stages.demonstrations, stages.autoencoder, stages.world_model, stages.reference):
        stage(run)
    with pytest.MonkeyPatch.context() as patch:
        save = Checkpoints.save

        def save_once(self, *arguments):
            save(self, *arguments)
            raise KeyboardInterrupt

        patch.setattr(Checkpoints, "save", save_once)
        with pytest.raises(KeyboardInterrupt):
            phase2.run_arm(run, "prowl")
    run.figures = phase2.run_arm(run, "prowl")
    return run


def test_the_log_has_every_cycle_once_with_its_events(run):
    rows = [row for row in read_metrics(run.workdir) if row["stage"] == "phase2"]
    assert [row["step"] for row in rows] == [1, 2, 3]
    for row in rows:
        assert {f"event_{name}" for name in EVENTS} <= set(row)
        assert row["pat_filled"] > 0 and np.isfinite(row["regret"]) and np.isfinite(row["kl_to_reference"])
    assert run.figures["environment_steps"] == 3 * 4 * (1 + 6 - 1)
    assert len({row["regret"] for row in rows}) == 3


def test_what_it_leaves_is_what_every_arm_leaves(run):
    actions = np.load(phase2.actions_path(run, "prowl"))
    assert actions.shape == (4, 5, 9)
    params, buffer = phase2.load_arm(run, "prowl")
    assert int(buffer.filled.sum()) == 8 and "dit" in params
    np.testing.assert_array_equal(np.unique(np.asarray(buffer.inserted)[np.asarray(buffer.filled)]) < 3, True)


def test_the_plan_is_the_chance_of_the_host_path(run, config):
    plan = phase2_device.planner(run, config)(range(1, 3))
    fetch = stages.passive_fetch(run, plan.passive_starts.shape[2], config.world_model.window)
    data = phase2_device.on_device(run)
    for i in range(config.phase2.updates):
        expected = fetch(1 * config.phase2.updates + i)
        clips = data.clips(plan.passive_starts[0, i], config.world_model.window)
        np.testing.assert_array_equal(clips.latents, expected.latents)
        np.testing.assert_array_equal(clips.actions, expected.actions)
    assert plan.env_keys.shape == (2, config.phase2.trajectories)


def test_the_whole_configuration_stands(config):
    full = json.loads(get_config().to_json())
    assert full["phase2"]["program"] == "device" and full["env"]["name"] == "voxel"
    with pytest.raises(ValueError, match="full.*tiny"):
        get_config("huge")
