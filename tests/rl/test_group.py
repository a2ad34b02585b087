"""Advantages within groups, against the formula in float64 and where it would divide by nothing."""

import numpy as np
import pytest

from prowl_jax.rl.group import group_advantages

REWARDS = np.random.default_rng(0).normal(3.0, [[0.1], [1.0], [4.0]], (3, 6))


@pytest.mark.parametrize("scale", ["batch", "group"])
def test_is_the_centred_reward_over_a_deviation(scale):
    advantages, idle = group_advantages(REWARDS, scale=scale)
    for group, got in zip(REWARDS, advantages, strict=True):
        std = REWARDS.std() if scale == "batch" else group.std()
        np.testing.assert_allclose(got, (group - group.mean()) / (std + 1e-4), rtol=1e-4, atol=1e-5)
    assert idle == 0.0


def test_by_the_batch_a_group_whose_members_hardly_differ_hardly_counts():
    spread = {scale: np.asarray(group_advantages(REWARDS, scale=scale)[0]).std(1) for scale in ("batch", "group")}
    assert spread["batch"][0] < 0.1 * spread["batch"][2]
    np.testing.assert_allclose(spread["group"], 1.0, rtol=1e-2)


@pytest.mark.parametrize("scale", ["batch", "group"])
def test_equal_rewards_and_rewards_that_are_no_numbers_teach_nothing_and_are_counted(scale):
    rewards = np.concatenate([REWARDS, np.full((1, 6), 0.1), REWARDS[:1] + np.array([np.nan, 0, 0, 0, 0, np.inf])])
    advantages, idle = group_advantages(rewards.astype(np.float32), scale=scale)
    assert not np.asarray(advantages[3:]).any() and idle == pytest.approx(0.4)
    assert np.isfinite(advantages).all() and np.asarray(advantages[:3]).any(1).all()
    if scale == "group":
        np.testing.assert_array_equal(advantages[:3], group_advantages(REWARDS, scale=scale)[0])
    else:
        finite = rewards[:4]
        np.testing.assert_allclose(advantages[:4], group_advantages(finite, scale=scale)[0], rtol=1e-5)


def test_nothing_but_equal_groups_is_no_division_by_zero():
    advantages, idle = group_advantages(np.full((2, 3), 0.7, np.float32))
    assert not np.asarray(advantages).any() and idle == 1.0


def test_advantages_are_bounded_and_any_axes_may_lead():
    rewards = np.zeros((2, 1, 100))
    rewards[..., 0] = 1.0
    advantages, idle = group_advantages(rewards, clip=5.0)
    assert advantages.shape == (2, 1, 100) and advantages.max() == 5.0 and idle.shape == (2,)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [((np.ones((4, 1)),), "at least 2 outcomes"), ((np.ones(4),), "at least 2 outcomes"), ((REWARDS, "all"), "scale")],
)
def test_what_cannot_be_compared_is_refused(arguments, says):
    rewards, *scale = arguments
    with pytest.raises(ValueError, match=says):
        group_advantages(rewards, scale=scale[0] if scale else "batch")
