"""PPO that learns as far as its anchor lets it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prowl_jax.actions import ActionSpec, choice
from prowl_jax.methods.acting import Seen, make_act
from prowl_jax.models.policies.small import Policy, PolicyNetwork
from prowl_jax.rl.ppo import PPOConfig
from prowl_jax.train.adversary import Adversary, advantages, make_update
from prowl_jax.train.state import init_state
from prowl_jax.types import Trajectory

SPEC = ActionSpec((choice("move", "forward", "back"), choice("jump", "jump")))  # 3 and 2 values
POLICY = Policy(PolicyNetwork(SPEC.sizes, features=8, memory=3, hidden=8))
ACT = make_act(POLICY)


@pytest.fixture(scope="module")
def params(random_params):
    return random_params(POLICY.init, (8, 8, 3))


def some_trajectory(value, valid):
    value = jnp.asarray(value, jnp.float32)
    shape = value.shape
    return Trajectory(
        jnp.zeros((*shape, 8, 8, 3), jnp.uint8), jnp.zeros((*shape, 2), jnp.int32), jnp.zeros(shape, bool),
        jnp.zeros(shape), value, jnp.asarray(valid),
    )  # fmt: skip


def normalised(advantage):
    return (advantage - advantage.mean()) / advantage.std()


def test_advantages_of_a_terminal_reward():
    """lambda = 1: reward less value, at every step; the last frame's action is not learned from."""
    value = np.random.default_rng(0).normal(size=(3, 4))
    reward = np.array([1.0, -2.0, 0.5])
    valid = [True, False, True]
    advantage, target, mask = advantages(some_trajectory(value, valid), jnp.asarray(reward), 1.0)
    np.testing.assert_array_equal(mask, [[1, 1, 1, 0], [0, 0, 0, 0], [1, 1, 1, 0]])
    np.testing.assert_allclose(target[:, :3], np.tile(reward[:, None], 3), atol=1e-5)
    expected = reward[:, None] - value[:, :3]
    np.testing.assert_allclose(advantage[[0, 2], :3], normalised(expected[[0, 2]]), atol=1e-4)


def test_advantages_decay_with_lambda():
    """By hand, T = 4, V = 0 but V_2 = 1, lambda 1/2: deltas 0, 1, R - 1."""
    value = [[0.0, 0.0, 1.0, 7.0]] * 2  # the value of the last frame is beyond the reward
    reward = np.array([3.0, 1.0])
    advantage, target, _ = advantages(some_trajectory(value, [True] * 2), jnp.asarray(reward), 0.5)
    raw = np.array([[0.5 + 0.25 * (r - 1), 1 + 0.5 * (r - 1), r - 1] for r in reward])
    np.testing.assert_allclose(target[:, :3], raw + np.array(value)[:, :3], atol=1e-5)
    np.testing.assert_allclose(advantage[:, :3], normalised(raw), atol=1e-4)


# A bandit of one step: two frames, of which the first action counts; c_kl goes from 0 in cycle 0
# to 5 in cycle 1, so that one program serves all tests.
ADVERSARY = Adversary(
    2e-2, ppo=PPOConfig(kl_cost=0.0, value_cost=0.5), epochs=2, minibatches=2, final_kl_cost=5.0, kl_bound=1.5
)
ROWS, TARGET = 32, 2


@pytest.fixture(scope="module")
def update():
    return make_update(POLICY, ADVERSARY)


@pytest.fixture(scope="module")
def uniform(params):
    return params | {"logits": jax.tree.map(np.zeros_like, params["logits"])}


BANDIT_FRAMES = np.full((ROWS, 8, 8, 3), 120, np.uint8)


def play(params, key):
    """One round of the bandit with the policy that learns; the reward is for the first factor."""
    none = np.full((ROWS, 2), -1, np.int32)
    seen = Seen(POLICY.initial_state(ROWS), BANDIT_FRAMES, none, np.ones(ROWS, bool))
    actions, log_prob, value, _ = ACT(params, seen, key)

    def twice(x):
        return np.stack([np.asarray(x)] * 2, axis=1)

    first = np.tile([True, False], (ROWS, 1))
    trajectory = Trajectory(
        twice(BANDIT_FRAMES), twice(actions), first, twice(log_prob), twice(value), np.ones(ROWS, bool)
    )
    return trajectory, (trajectory.actions[:, 0, 0] == TARGET).astype(np.float32)


def learn(update, params, cycle, rounds):
    state, safe = init_state(params, ADVERSARY.optimizer), jax.tree.map(jnp.copy, params)
    for i in range(rounds):
        trajectory, reward = play(state.params, jax.random.key(i))
        state, safe, metrics = update(state, safe, params, trajectory, reward, jax.random.key(i), cycle)
    _, reward = play(state.params, jax.random.key(100))
    return reward.mean(), {name: float(value) for name, value in metrics.items()}


def test_ppo_finds_the_reward_and_the_anchor_holds_it_back(update, uniform):
    assert 0.1 < play(uniform, jax.random.key(100))[1].mean() < 0.6
    free_reward, free = learn(update, uniform, cycle=0, rounds=8)
    held_reward, held = learn(update, uniform, cycle=1, rounds=8)
    assert free["kl_cost"] == 0.0 and held["kl_cost"] == 5.0
    assert free_reward > 0.75, "the rewarded action is not found"
    assert held_reward < free_reward
    assert held["kl_to_reference"] < 0.2 * free["kl_to_reference"]
    assert free["restored"] == held["restored"] == 0.0
    assert update._cache_size() == 1


def test_beyond_the_bound_the_last_safe_policy_comes_back(update, uniform):
    """The reference is made to differ by more than the bound from anything that learning reaches."""
    far = jax.tree.map(np.copy, uniform)
    far["logits"]["bias"] += np.array([9, 0, 0, 0, 9], np.float32)
    trajectory, reward = play(uniform, jax.random.key(0))
    marked = jax.tree.map(lambda x: jnp.asarray(x + 1), uniform)
    arguments = trajectory, reward, jax.random.key(0), 0
    state, safe, metrics = update(init_state(uniform, ADVERSARY.optimizer), marked, far, *arguments)
    assert float(metrics["restored"]) == 1.0 and float(metrics["kl_to_reference"]) > 1.5
    expected = jax.tree.map(lambda x: x + 1, uniform)
    jax.tree.map(np.testing.assert_array_equal, state.params, expected)
    jax.tree.map(np.testing.assert_array_equal, safe, expected)
    # Within it, the new policy is the safe one from now on.
    marked = jax.tree.map(lambda x: jnp.asarray(x + 1), uniform)
    state, safe, metrics = update(init_state(uniform, ADVERSARY.optimizer), marked, uniform, *arguments)
    assert float(metrics["restored"]) == 0.0
    jax.tree.map(np.testing.assert_array_equal, state.params, safe)
    assert (np.asarray(safe["logits"]["bias"]) != uniform["logits"]["bias"]).any()


def test_an_invalid_trajectory_teaches_nothing(update, uniform):
    trajectory, reward = play(uniform, jax.random.key(0))
    trajectory.valid[3] = False
    other_frames, other_actions = trajectory.frames.copy(), trajectory.actions.copy()
    other_reward = reward.copy()
    other_frames[3], other_actions[3], other_reward[3] = 7, (trajectory.actions[3] + 1) % 2, 1e3
    other = dataclasses.replace(trajectory, frames=other_frames, actions=other_actions)

    def after(trajectory, reward):
        state = init_state(uniform, ADVERSARY.optimizer)
        safe = jax.tree.map(jnp.copy, uniform)
        return update(state, safe, uniform, trajectory, reward, jax.random.key(0), 0)[0].params

    jax.tree.map(np.testing.assert_array_equal, after(trajectory, reward), after(other, other_reward))
