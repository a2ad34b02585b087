"""The Euler sampler against a velocity known in closed form, and what each chunk of a rollout is shown."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prowl_jax.diffusion import flow, sampler

MEAN, DEVIATION = 1.5, 0.5


def gaussian_velocity(z, sigma):
    """E[eps - x | z_sigma = z] for data x ~ N(MEAN, DEVIATION^2): linear in z.

    z_sigma is normal with mean (1-s) m and variance v = (1-s)^2 d^2 + s^2, and its covariance
    with eps - x is s - (1-s) d^2.
    """
    variance = (1.0 - sigma) ** 2 * DEVIATION**2 + sigma**2
    slope = (sigma - (1.0 - sigma) * DEVIATION**2) / variance
    return -MEAN + slope * (z - (1.0 - sigma) * MEAN)


def sampled_moments(steps, shift=1.0):
    noise = jax.random.normal(jax.random.key(0), (20_000,))
    noise = (noise - noise.mean()) / noise.std()  # so that what is left is the sampler's own error
    z = jax.jit(sampler.euler, static_argnums=0)(gaussian_velocity, noise, flow.sigma_schedule(steps, shift))
    return float(z.mean()), float(z.std())


def test_a_gaussian_is_sampled_with_its_mean_and_deviation():
    mean, deviation = sampled_moments(400)
    np.testing.assert_allclose(mean, MEAN, atol=1e-3)
    np.testing.assert_allclose(deviation, DEVIATION, rtol=5e-3)


def test_the_sampler_converges_at_first_order():
    errors = [abs(sampled_moments(steps)[1] - DEVIATION) for steps in (100, 200, 400)]
    assert errors[0] > 1e-3  # or there would be nothing to see
    np.testing.assert_allclose([errors[0] / errors[1], errors[1] / errors[2]], 2.0, atol=0.2)


def test_a_shifted_schedule_samples_the_same_gaussian():
    mean, deviation = sampled_moments(400, shift=3.0)
    np.testing.assert_allclose([mean, deviation], [MEAN, DEVIATION], rtol=1e-2)


def test_a_single_point_is_reached_in_one_step():
    """For data that is one point the lines do not cross: v = eps - x = (z - x) / sigma."""
    noise = jnp.array([0.3, -2.0, 1.0])
    z = sampler.euler(lambda z, sigma: (z - 4.0) / sigma, noise, flow.sigma_schedule(1))
    np.testing.assert_allclose(z, 4.0, atol=1e-6)


def test_the_levels_asked_for_are_all_but_the_last():
    seen = []

    def velocity(z, sigma):
        jax.debug.callback(lambda s: seen.append(float(s)), sigma, ordered=True)
        return jnp.zeros_like(z)

    sigmas = flow.sigma_schedule(5, 2.0)
    jax.block_until_ready(sampler.euler(velocity, jnp.zeros(2), sigmas))
    jax.effects_barrier()
    np.testing.assert_allclose(seen, sigmas[:-1], rtol=1e-6)


class Recorder:
    """A model that writes down what it was shown and answers with a known next chunk."""

    def __init__(self):
        self.contexts, self.context_actions, self.actions, self.noises = [], [], [], []

    def remember(self, context, actions):
        jax.debug.callback(lambda c, a: self._past(c, a), context, actions, ordered=True)
        return context[:, -1:] + 1.0

    def velocity(self, memory, z, sigma, actions):
        jax.debug.callback(lambda z, a: self._now(z, a), z, actions, ordered=True)
        # In one step from sigma 1 to 0, z - v: the chunk counts on from the last latent.
        return z - (memory + jnp.arange(z.shape[1], dtype=z.dtype)[None, :, None, None, None])

    def _past(self, context, actions):
        self.contexts.append(np.array(context)[:, :, 0, 0, 0])
        self.context_actions.append(np.array(actions)[:, :, 0])

    def _now(self, z, actions):
        self.noises.append(np.array(z)[:, :, 0, 0, 0])
        self.actions.append(np.array(actions)[:, :, 0])


def test_each_chunk_sees_the_last_latents_and_their_actions():
    batch, context_length, horizon, chunk = 2, 4, 6, 2
    model = Recorder()
    offset = jnp.array([0.0, 100.0])[:, None, None, None, None]
    context = jnp.arange(4.0)[None, :, None, None, None] + offset
    noise = jax.random.normal(jax.random.key(0), (batch, horizon, 1, 1, 1))
    actions = 10 + jnp.arange(batch * (context_length + horizon)).reshape(batch, -1, 1)
    out = sampler.rollout(
        model.remember, model.velocity, noise, context, actions, chunk, flow.sigma_schedule(1)
    )
    jax.block_until_ready(out)
    jax.effects_barrier()

    # Row 0 counts 0 1 2 3 | 4 5 | 6 7 | 8 9 and row 1 is 100 higher.
    everything = np.arange(10) + np.array([[0], [100]])
    np.testing.assert_allclose(out[:, :, 0, 0, 0], everything[:, 4:], atol=1e-5)
    assert len(model.contexts) == 3
    for i in range(3):
        past, now = slice(2 * i, 2 * i + 4), slice(2 * i + 4, 2 * i + 6)
        np.testing.assert_allclose(model.contexts[i], everything[:, past], atol=1e-5)
        np.testing.assert_array_equal(model.context_actions[i], actions[:, past, 0])
        np.testing.assert_array_equal(model.actions[i], actions[:, now, 0])
        np.testing.assert_array_equal(model.noises[i], noise[:, 2 * i : 2 * i + 2, 0, 0, 0])


def test_the_past_is_run_once_a_chunk_and_not_once_a_step():
    model = Recorder()
    noise, context = jnp.zeros((1, 2, 1, 1, 1)), jnp.zeros((1, 4, 1, 1, 1))
    out = sampler.sample_chunk(
        model.remember, model.velocity, noise, context, jnp.zeros((1, 4, 1)), jnp.zeros((1, 2, 1)),
        flow.sigma_schedule(5),
    )  # fmt: skip
    jax.block_until_ready(out)
    jax.effects_barrier()
    assert len(model.contexts) == 1 and len(model.noises) == 5


@pytest.mark.parametrize(
    "context, horizon, actions, message",
    [
        (3, 4, 10, "3 context and 4 predicted latents are not whole chunks of 2"),
        (4, 3, 10, "4 context and 3 predicted latents are not whole chunks of 2"),
        (0, 2, 10, "0 context and 2 predicted"),
        (2, 0, 10, "2 context and 0 predicted"),
        (4, 4, 7, "7 actions do not cover 4 \\+ 4 latents"),
    ],
)
def test_what_is_not_whole_is_refused(context, horizon, actions, message):
    with pytest.raises(ValueError, match=message):
        sampler.rollout(
            None, None, jnp.zeros((1, horizon, 1, 1, 1)), jnp.zeros((1, context, 1, 1, 1)),
            jnp.zeros((1, actions, 1)), 2, flow.sigma_schedule(1),
        )  # fmt: skip
