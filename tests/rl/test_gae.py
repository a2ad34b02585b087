"""GAE against rlax and against the sum that defines it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax

from prowl_jax.rl.gae import gae

rng = np.random.default_rng(0)
REWARDS, VALUES = rng.normal(size=(3, 7)).astype(np.float32), rng.normal(size=(3, 8)).astype(np.float32)
DISCOUNTS = np.where(rng.random((3, 7)) < 0.25, 0.0, 0.97).astype(np.float32)  # with ends inside


@pytest.mark.parametrize("lambda_", [0.0, 0.95, 1.0])
def test_agrees_with_rlax(lambda_):
    ours = jax.vmap(gae, (0, 0, 0, None))(REWARDS, VALUES, DISCOUNTS, lambda_)
    theirs = jax.vmap(rlax.truncated_generalized_advantage_estimation, (0, 0, None, 0))(
        REWARDS, DISCOUNTS, lambda_, VALUES
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_is_the_discounted_sum_of_temporal_differences():
    r, v, g = REWARDS[0], VALUES[0], DISCOUNTS[0]
    delta = r + g * v[1:] - v[:-1]
    expected = [sum(np.prod(0.9 * g[t:k]) * delta[k] for k in range(t, 7)) for t in range(7)]
    np.testing.assert_allclose(gae(r, v, g, 0.9), expected, rtol=1e-4, atol=1e-5)


def test_a_terminal_reward_reaches_every_step_undiscounted():
    rewards = jnp.zeros(5).at[-1].set(2.0)
    discounts = jnp.ones(5).at[-1].set(0.0)
    values = jnp.array([0.5, 0.4, 0.3, 0.2, 0.1, 99.0])  # past the end: must not count
    np.testing.assert_allclose(gae(rewards, values, discounts, 1.0), 2.0 - values[:5], rtol=1e-6)
