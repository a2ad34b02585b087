"""Slips as people make them, and the key that each of them means."""

import pytest

from experiments.configs import base_voxel, minecraft, quickstart, voxel
from experiments.run import command_line
from experiments.run.hints import nearest_key

SLIPS = {
    "lr": "world_model.learning_rate",
    "world_model.lr": "world_model.learning_rate",
    "worldmodel.lr": "world_model.learning_rate",
    "wm.lr": "world_model.learning_rate",
    "phase2.lr": "phase2.learning_rate",
    "adversary.lr": "adversary.learning_rate",
    "learning_rat": "world_model.learning_rate",
    "world_model.learningrate": "world_model.learning_rate",
    "world_modle.steps": "world_model.steps",
    "world_model.step": "world_model.steps",
    "steps": "world_model.steps",
    "wm.steps": "world_model.steps",
    "wd": "world_model.weight_decay",
    "sed": "seed",
    "seeds": "seed",
    "batch_size": "world_model.batch",
    "reference.batch_size": "reference.batch",
    "world_model.bs": "world_model.batch",
    "phase2.cyles": "phase2.cycles",
    "cycle": "phase2.cycles",
    "buffer_size": "phase2.capacity",
    "pat.capacity": "phase2.capacity",
    "temp": "phase2.temperature",
    "kl_coef": "adversary.kl_cost",
    "num_env": "env.num_envs",
    "env.n_envs": "env.num_envs",
    "env.width": "env.frame_width",
    "height": "env.frame_height",
    "checkpoint_interval": "checkpoint_every",
    "adversary.members": "adversary.ensemble.members",
    "phase2.frame_skip": "env.frame_skip",
    "evaluation.lpips_weights": "metrics.lpips_weights",
    "demonstration.episodes": "demonstrations.episodes",
    "xyzzy": None,
    "guidance": None,
}


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_is_told_with_what_it_means(slip):
    assert nearest_key(slip, command_line._keys(quickstart.get_config("tiny"))) == SLIPS[slip]


@pytest.mark.parametrize("config", [quickstart, voxel, base_voxel, minecraft])
@pytest.mark.parametrize("group", ["", "world_model.", "phase2.", "reference.", "adversary.", "autoencoder."])
def test_lr_is_a_learning_rate_in_every_configuration(config, group):
    keys = command_line._keys(config.get_config())
    meant = f"{group or 'world_model.'}learning_rate"
    assert nearest_key(f"{group}lr", keys) == meant or meant not in keys


@pytest.mark.parametrize("key", command_line._keys(quickstart.get_config("tiny")))
def test_a_letter_too_few_of_any_key_means_that_key(key):
    """But for names too short to lose one."""
    keys, name = command_line._keys(quickstart.get_config("tiny")), key.rpartition(".")[2]
    cut = key[: len(key) - len(name) // 2 - 1] + key[len(key) - len(name) // 2 :]
    assert len(name) < 4 or nearest_key(cut, keys) == key
