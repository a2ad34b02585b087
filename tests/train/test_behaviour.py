"""Behaviour cloning: what it is shown, what it is measured by, and that it learns a rule."""

import jax
import jax.numpy as jnp
import numpy as np

from prowl_jax.models.policies.small import Policy, PolicyNetwork
from prowl_jax.train.behaviour import (
    make_train_step,
    marginal_nll,
    negative_log_likelihood,
    previous_actions,
)
from prowl_jax.train.state import init_state, make_optimizer
from prowl_jax.types import Clip

SIZES = (2, 3)


def test_previous_actions_are_shifted_by_one():
    actions = np.arange(12).reshape(2, 3, 2)
    previous = np.asarray(previous_actions(jnp.asarray(actions)))
    assert (previous[:, 0] == -1).all()
    np.testing.assert_array_equal(previous[:, 1:], actions[:, :-1])


class Told:
    """A policy with given logits, which writes down what it was asked."""

    sizes = SIZES

    def initial_state(self, batch):
        return f"{batch} fresh memories"

    def apply(self, logits, state, frames, previous, first):
        self.asked = state, previous, first
        return jnp.broadcast_to(logits, (*previous.shape[:2], 5)), None, None


def test_the_likelihood_of_both_factors_together():
    policy, actions = Told(), jnp.array([[[0, 2], [1, 1]], [[1, 0], [1, 2]]])
    clip = Clip(np.zeros((2, 2, 8, 8, 3), np.uint8), actions)
    probabilities = np.array([0.25, 0.75]), np.array([0.5, 0.3, 0.2])
    nll = negative_log_likelihood(policy, jnp.log(np.concatenate(probabilities)), clip)
    chosen = [probabilities[0][a] * probabilities[1][b] for a, b in np.asarray(actions).reshape(-1, 2)]
    np.testing.assert_allclose(nll, -np.log(chosen).mean(), rtol=1e-5)
    state, previous, first = policy.asked
    assert state == "2 fresh memories"
    np.testing.assert_array_equal(first, [[True, False], [True, False]])
    np.testing.assert_array_equal(previous, previous_actions(actions))


def test_marginal_likelihood_in_closed_form():
    train = np.array([[0, 0], [0, 1], [1, 2], [0, 0]])  # one count is added to each
    held_out = np.array([[0, 1], [1, 0]])
    first, second = np.array([4, 2]) / 6, np.array([3, 2, 2]) / 7
    expected = -np.mean([np.log(first[0] * second[1]), np.log(first[1] * second[0])])
    np.testing.assert_allclose(marginal_nll(train, held_out, SIZES), expected, rtol=1e-5)


def test_a_value_never_seen_is_not_impossible():
    """It counts as if each value had been seen once more."""
    nll = marginal_nll(np.zeros((5, 2), int), np.array([[1, 2]]), SIZES)
    np.testing.assert_allclose(nll, np.log(5 + SIZES[0]) + np.log(5 + SIZES[1]), rtol=1e-5)


def test_it_clones_a_rule_of_frame_and_past(random_params):
    """Factor 0: is the frame bright? Factor 1: is it brighter than the one before (or the first)?"""
    rng = np.random.default_rng(0)
    light = rng.choice([30, 220], (64, 5))
    frames = np.broadcast_to(light[..., None, None, None], (64, 5, 8, 8, 3)).astype(np.uint8)
    turn = np.concatenate([np.zeros((64, 1)), 1 + (np.diff(light) > 0)], axis=1)
    clip = Clip(frames, np.stack([light > 100, turn], axis=-1).astype(np.int32))
    policy = Policy(PolicyNetwork(SIZES, features=16, memory=2, hidden=32))
    optimizer = make_optimizer(1e-2, 100)
    step = make_train_step(policy, optimizer)
    params = random_params(policy.init, (8, 8, 3))
    params["logits"] = jax.tree.map(np.zeros_like, params["logits"])
    state, losses = init_state(params, optimizer), []
    for _ in range(60):
        state, metrics = step(state, clip, jax.random.key(0))
        losses.append(float(metrics["loss"]))
    np.testing.assert_allclose(losses[0], np.log(6), rtol=1e-4)  # both factors uniform
    assert losses[-1] < 0.05, losses[::10]
    assert losses[-1] < 0.1 * marginal_nll(*2 * [np.asarray(clip.actions).reshape(-1, 2)], SIZES)
    assert step._cache_size() == 1
