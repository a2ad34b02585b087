"""The small autoencoder: folding pixels, shapes, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prowl_jax.models.autoencoders.small import Autoencoder, depth_to_space, space_to_depth

small = st.integers(1, 3)


@settings(deadline=None, max_examples=12)
@given(small, small, small, st.sampled_from([1, 2, 4]), st.sampled_from([(), (2,), (1, 2)]))
def test_folding_pixels_into_channels_is_undone(height, width, channels, block, lead):
    shape = (*lead, height * block, width * block, channels)
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    folded = space_to_depth(x, block)
    assert folded.shape == (*lead, height, width, block * block * channels)
    np.testing.assert_array_equal(depth_to_space(folded, block), x)
    # A folded pixel is its block, row by row.
    last = np.asarray(folded)[..., -1, -1, :].reshape(*lead, block, block, channels)
    np.testing.assert_array_equal(last, x[..., -block:, -block:, :])


NETWORK = Autoencoder(channels=3, widths=(8, 8), blocks=1)
FRAMES = np.random.default_rng(0).uniform(-1, 1, (2, 16, 24, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def params(random_params):
    return random_params(NETWORK.init, FRAMES, jnp.zeros((2, 2, 3, 3)))["params"]


def run(params, *arguments, method):
    return jax.jit(lambda p, *a: NETWORK.apply({"params": p}, *a, method=method))(params, *arguments)


def test_an_eighth_of_the_pixels_and_back(params):
    mean, log_variance = run(params, FRAMES, method="encode")
    assert mean.shape == log_variance.shape == (2, 2, 3, 3)
    assert run(params, mean, method="decode").shape == FRAMES.shape


def test_a_posterior_sample_is_the_mean_and_scaled_noise(params):
    noise = np.random.default_rng(1).normal(size=(2, 2, 3, 3)).astype(np.float32)
    decoded, mean, log_variance = run(params, FRAMES, noise, method="__call__")
    sample = mean + np.exp(0.5 * np.asarray(log_variance)) * noise
    np.testing.assert_allclose(run(params, sample, method="decode"), decoded, atol=1e-4)


def test_rows_do_not_mix(params):
    mean, _ = run(params, FRAMES, method="encode")
    other = FRAMES.copy()
    other[1] = 0.0
    changed, _ = run(params, other, method="encode")
    np.testing.assert_array_equal(changed[0], mean[0])
    assert (changed[1] != mean[1]).any()


@pytest.mark.parametrize("shape", [(1, 12, 16, 3), (1, 16, 20, 3)])
def test_other_sizes_are_refused(shape):
    with pytest.raises(ValueError, match=f"{shape[1]}x{shape[2]} are not multiples of 8"):
        jax.eval_shape(NETWORK.init, jax.random.key(0), jnp.zeros(shape), jnp.zeros((1, 2, 2, 3)))


def test_a_clip_is_not_a_batch_of_frames():
    with pytest.raises(AssertionError):
        jax.eval_shape(NETWORK.init, jax.random.key(0), jnp.zeros((1, 2, 16, 16, 3)), jnp.zeros((1, 2, 2, 3)))
