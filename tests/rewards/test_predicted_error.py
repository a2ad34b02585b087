"""The head that says a dream's error: its likelihood, that it learns expected errors, and its place in the loop."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from table_policy import TablePolicy
from tiny_world import shared_by, start_of

from prowl_jax.methods.prowl import Config, Prowl
from prowl_jax.models.error_head import ErrorHead
from prowl_jax.pat import buffer as pat
from prowl_jax.rewards.predicted_error import NAME, error_maps, make_predicted_error
from prowl_jax.train import error_head as training
from prowl_jax.types import Batch, Dream, RealClip

HEAD = ErrorHead((3, 5), width=8, batch=16, learning_rate=3e-2)
SAY = jax.jit(HEAD.log_scale)
DEVIATIONS = np.array([[0.1, 0.1], [0.5, 0.5]])
"""Of the toy dreams' errors: the picture's lower half is worse; by the action 1 all of it is three times as bad."""


def toy_dream(params, key, clip):
    """What really happened, and normal noise of the deviations above."""
    real = clip.latents[:, 2:]
    led = clip.actions[:, 1 : 1 + real.shape[1], 0]
    deviation = jnp.asarray(DEVIATIONS)[:, :, None] * jnp.where(led == 1, 3.0, 1.0)[..., None, None, None]
    latents = real + params * deviation * jax.random.normal(key, real.shape)
    return Dream(latents, None, None, clip.latents[:, :2], None, clip.actions, RealClip(real, clip.actions))


def clips(tiny, steps, rows, seed=0):
    parts = [Batch(*tiny.batch(rows, seed=seed + i)) for i in range(steps)]
    return jax.tree.map(lambda *x: np.stack(x), *parts)


@pytest.fixture(scope="module")
def taught(tiny):
    fit = jax.jit(training.make_fit(HEAD, toy_dream))
    state = training.init_head(HEAD, jax.random.key(0), (2, 2, 3), typical=50.0)
    return fit(state, 1.0, clips(tiny, 200, 16), jax.random.key(1))[0]


def test_the_loss_is_the_likelihood_of_a_laplace_distribution():
    b, errors = 0.7, np.array([0.1, -2.0, 0.4])
    density = np.exp(-np.abs(errors) / b) / (2 * b)
    ours = training.laplace_loss(jnp.log(b), jnp.abs(errors).mean())
    np.testing.assert_allclose(ours, -np.log(density).mean(), rtol=1e-5)
    grid = np.linspace(0.2, 3, 200)  # and no other b is as good as the mean error
    losses = training.laplace_loss(jnp.log(grid), np.abs(errors).mean())
    np.testing.assert_allclose(grid[np.argmin(losses)], np.abs(errors).mean(), atol=0.02)


def test_it_learns_the_expected_error_of_every_place_and_action(tiny, taught):
    latents, actions = tiny.batch(64, seed=9999)
    dream = toy_dream(1.0, jax.random.key(5), RealClip(latents, actions))
    said = np.exp(SAY(taught.params, dream.context, dream.latents, dream.actions))
    assert said.shape == error_maps(dream).shape == (64, 2, 2, 2)
    for action, times in ((0, 1.0), (1, 3.0), (2, 1.0)):
        rows = actions[:, 1:3, 0] == action
        expected = times * DEVIATIONS * np.sqrt(2 / np.pi)
        np.testing.assert_allclose(np.median(said[rows], axis=0), expected, rtol=0.35)


def test_the_reward_is_the_mean_of_what_is_said_and_looks_at_no_reality(tiny, taught):
    latents, actions = tiny.batch(3, seed=1)
    dream = toy_dream(1.0, jax.random.key(5), RealClip(latents, actions))
    blind = dataclasses.replace(dream, real=None)
    paid = jax.jit(make_predicted_error(HEAD))({NAME: taught.params}, blind)
    rows = (np.resize(x, (64, *x.shape[1:])) for x in (dream.context, dream.latents, dream.actions))
    said = SAY(taught.params, *rows)[:3]  # of as many rows as above, so that it is compiled once
    np.testing.assert_allclose(paid, np.exp(said).mean((1, 2, 3)), rtol=1e-5)
    with pytest.raises(ValueError, match="one a frame"):
        HEAD.log_scale(taught.params, dream.context, dream.latents, dream.actions[:, :2])


def test_the_loop_teaches_the_head_on_demonstrations_and_on_the_buffer(tiny):
    head = dataclasses.replace(HEAD, steps=8, cycle_steps=2, batch=4)
    policy = TablePolicy((3, 5))
    shared = shared_by(tiny, optax.adam(1e-3), policy)
    shared = dataclasses.replace(shared, budget=dataclasses.replace(shared.budget, horizon=2))
    assert Prowl(Config(reward=None, error_head=head), shared).programs.fit_error_head is None
    with pytest.raises(ValueError, match="prowl.reward=predicted_error needs prowl.error_head"):
        Prowl(Config(reward="predicted_error"), shared)
    scoring = pat.Scoring({"regret": 1.0, "predicted_error": 0.0})  # kept, and not paid
    method = Prowl(Config(reward=None, capacity=4, scoring=scoring, error_head=head), shared)
    start = start_of(tiny, policy.init(None, None))
    state, asked = method.init(start, jax.random.key(0)), []

    def demonstrations(steps, rows, length, first=0):
        asked.append((first, steps, rows, length))
        return clips(tiny, steps, rows, seed=first)

    state = method.prepare(state, start, demonstrations, jax.random.key(1))
    assert asked == [(0, 4, 4, 4), (4, 4, 4, 4)] and int(state.error_head.step) == 8
    batch = Batch(*tiny.batch(3))
    empty = jax.tree.map(lambda x: np.zeros((3, *x.shape), x.dtype), shared.example_clip)
    found = dataclasses.replace(empty, latents=batch.latents, actions=batch.actions)
    raw = {name: np.ones(3, np.float32) for name in scoring.names}
    buffer = method.programs.insert(state.buffer, found, raw, np.ones(3, bool), 0)
    params = {**start.fixed, "dit": tiny.params["dit"]}
    head_state, metrics = method.programs.fit_error_head(state.error_head, params, buffer, jax.random.key(2))
    assert int(head_state.step) == 10 and np.isfinite(metrics["error_head_loss"])
