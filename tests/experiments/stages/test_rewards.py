"""Rewards from a configuration: there where their weights are, and refused in a line where they are not."""

import pytest

from experiments.configs.quickstart import get_config
from experiments.run.command_line import UsageError
from experiments.stages import build
from experiments.stages.build.rewards import check_rewards
from prowl_jax.rewards import OF_JUDGE
from prowl_jax.rewards.best_of import BestOf


@pytest.fixture
def config():
    return get_config("tiny")


def test_a_judge_is_a_reward_where_one_is_trained(config):
    assert set(OF_JUDGE) <= build.make_rewards(config).keys()
    config.inverse_dynamics.steps = 0
    assert not set(OF_JUDGE) & build.make_rewards(config).keys()


@pytest.mark.parametrize(
    ("arm", "key"), [("nft", "nft.reward"), ("prowl_grpo", "grpo.reward"), ("best_of_n", "best_of_n.best_by")]
)
def test_a_reward_without_its_weights_is_one_line_before_any_work(config, arm, key):
    group, name = key.split(".")
    config[group][name], config.arms = "inverse_dynamics", (arm,)
    check_rewards(config)
    assert "inverse_dynamics" in build.make_method(config, arm).rewards_asked()
    config.inverse_dynamics.steps = 0
    with pytest.raises(UsageError, match=f"^{key}=inverse_dynamics: there is no model that reads actions; set inv"):
        check_rewards(config)
    with pytest.raises(ValueError, match=f"{key}=inverse_dynamics is not there or lacks its weights; there are regret"):
        build.make_method(config, arm)


def test_dreams_are_chosen_among_where_a_judge_can(config):
    assert build.make_used_world_model(config) == build.make_world_model(config)
    config.world_model.best_of = 3
    used = build.make_used_world_model(config)
    assert isinstance(used, BestOf) and used.dreams == 3 and used.chunk == build.make_world_model(config).chunk
    check_rewards(config)
    config.inverse_dynamics.steps = 0
    with pytest.raises(UsageError, match="^world_model.best_of=3: there is no model that reads actions"):
        check_rewards(config)
