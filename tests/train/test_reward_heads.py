"""Reward and end heads learn what two frames and an action tell, in its own units, and say chances."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prowl_jax.models.reward_heads import RewardHeads, RewardNetwork
from prowl_jax.train.reward_heads import Steps, make_loss, make_train_step
from prowl_jax.train.state import init_state, make_optimizer

FRAME = (16, 16, 3)
HEADS = RewardHeads(RewardNetwork((3, 2), width=4, hidden=16))


def steps(count, seed):
    """Worth .2 where the picture grows brighter, .1 more by the first factor; a bright one ends it half the time."""
    rng = np.random.default_rng(seed)
    before, after = (rng.integers(0, 256, count) for _ in range(2))
    actions = np.stack([rng.integers(0, 3, count), rng.integers(0, 2, count)], -1).astype(np.int32)
    reward = 0.2 * (after > before) + 0.1 * actions[:, 0]
    over = (after > 128) & (rng.random(count) < 0.5)
    frames = [np.broadcast_to(x[:, None, None, None], (count, *FRAME)).astype(np.uint8) for x in (before, after)]
    return Steps(*frames, actions, reward.astype(np.float32), over)


@pytest.fixture(scope="module")
def trained():
    optimizer = make_optimizer(1e-2, 200)
    params = HEADS.init(jax.random.key(0), FRAME, 0.2, 0.13)
    step, state = make_train_step(HEADS, optimizer), init_state(params, optimizer)
    for i in range(200):
        state, metrics = step(state, steps(64, i), jax.random.key(0))
    return params, state.params, float(metrics["loss"])


def test_rewards_are_told_in_their_units_and_ends_as_chances(trained):
    params, learned, _ = trained
    seen = steps(512, 999)
    reward, end = HEADS.apply(learned, seen.before, seen.after, seen.actions)
    assert 1 - np.mean((reward - seen.reward) ** 2) / seen.reward.var() > 0.8
    said, bright = np.asarray(jax.nn.sigmoid(end)), np.asarray(seen.after[:, 0, 0, 0]) > 128
    assert abs(said[bright].mean() - 0.5) < 0.12 and said[~bright].mean() < 0.1
    blank, _ = HEADS.apply(params, seen.before, seen.after, seen.actions)
    assert np.abs(blank - 0.2).max() < 0.02  # the mean, before anything is learned


def test_mean_and_deviation_are_no_parameters_to_learn(trained):
    params, learned, _ = trained
    assert float(learned["mean"]) == float(params["mean"]) and float(learned["std"]) == float(params["std"])


def test_the_loss_is_squared_error_in_deviations_and_cross_entropy():
    params, seen = HEADS.init(jax.random.key(0), FRAME, 0.2, 0.13), steps(32, 0)
    reward, end = (np.asarray(x, np.float64) for x in HEADS.apply(params, seen.before, seen.after, seen.actions))
    chance = 1 / (1 + np.exp(-end))
    surprise = -np.where(seen.over, np.log(chance), np.log(1 - chance)).mean()
    expected = (((reward - seen.reward) / 0.13) ** 2).mean() + surprise
    assert float(make_loss(HEADS)(params, jax.tree.map(jnp.asarray, seen))) == pytest.approx(expected, rel=1e-5)
