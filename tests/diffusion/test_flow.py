"""The straight line between data and noise: one point of it, its slope, and the way back."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prowl_jax.diffusion import flow

values = st.floats(-5.0, 5.0, width=32)
levels = st.floats(0.0, 1.0, width=32)


@settings(deadline=None, max_examples=40)
@given(values, values, levels)
def test_the_velocity_points_from_noise_back_to_data(z, noise, sigma):
    z, noise = jnp.full((2, 1, 1, 1), z), jnp.full((2, 1, 1, 1), noise)
    z_sigma = flow.interpolate(z, noise, sigma)
    velocity = flow.velocity_target(z, noise)
    np.testing.assert_allclose(flow.denoised(z_sigma, velocity, sigma), z, atol=2e-5)
    # ... and on the other side at the noise.
    np.testing.assert_allclose(z_sigma + (1.0 - sigma) * velocity, noise, atol=2e-5)


def test_sigma_0_is_data_and_sigma_1_is_noise():
    z, noise = jnp.array([1.0, -2.0]), jnp.array([0.5, 3.0])
    np.testing.assert_array_equal(flow.interpolate(z, noise, 0.0), z)
    np.testing.assert_array_equal(flow.interpolate(z, noise, 1.0), noise)
    np.testing.assert_array_equal(flow.velocity_target(z, noise), [-0.5, 5.0])


def test_sigma_broadcasts_per_latent():
    z, noise = jnp.ones((2, 3, 1, 1, 1)), jnp.zeros((2, 3, 1, 1, 1))
    sigma = jnp.array([[0.0, 0.25, 1.0], [0.5, 0.5, 0.75]])[..., None, None, None]
    np.testing.assert_allclose(flow.interpolate(z, noise, sigma), 1.0 - sigma)


def test_four_steps_at_shift_5_are_those_of_wan():
    np.testing.assert_allclose(flow.sigma_schedule(4, 5.0), [1.0, 0.9375, 0.8333333, 0.625, 0.0], rtol=1e-6)


@settings(deadline=None, max_examples=40)
@given(levels, st.floats(1.0, 20.0))
def test_the_shift_keeps_ends_and_order_and_adds_noise(sigma, shift):
    shifted = float(flow.shift_sigma(sigma, shift))
    assert sigma - 1e-6 <= shifted <= 1.0 + 1e-6
    # A shift in the ratio of noise to data: s'/(1-s') = shift s/(1-s).
    np.testing.assert_allclose(shifted * (1 - sigma), shift * sigma * (1 - shifted), atol=1e-5)
    # 1/shift undoes it.
    np.testing.assert_allclose(flow.shift_sigma(shifted, 1.0 / shift), sigma, atol=1e-5)


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("steps", [1, 7])
def test_a_schedule_falls_from_1_to_0(steps, shift):
    sigmas = np.asarray(flow.sigma_schedule(steps, shift))
    assert sigmas.shape == (steps + 1,) and sigmas[0] == 1.0 and sigmas[-1] == 0.0
    assert (np.diff(sigmas) < 0).all()


def test_without_shift_the_schedule_is_even():
    np.testing.assert_allclose(flow.sigma_schedule(4), [1.0, 0.75, 0.5, 0.25, 0.0])


def test_a_sampler_without_steps_is_refused():
    with pytest.raises(ValueError, match="at least one step, not 0"):
        flow.sigma_schedule(0)
