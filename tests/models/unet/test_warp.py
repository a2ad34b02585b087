"""Explicit motion: pictures moved by a flow, against scipy's own interpolation and against what a turn must do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prowl_jax.models.autoencoders.small import space_to_depth
from prowl_jax.models.unet.warp import BASIS, catmull_rom, global_flow, photometric, upsample, warp

rng = np.random.default_rng(0)
PICTURE = rng.random((2, 12, 16, 3)).astype(np.float32)


def test_no_flow_moves_nothing():
    np.testing.assert_array_equal(warp(PICTURE, jnp.zeros((2, 12, 16, 2))), PICTURE)


@given(st.integers(-5, 5), st.integers(-5, 5))
@settings(max_examples=20, deadline=None)
def test_whole_pixels_are_moved_exactly_and_the_edge_is_repeated(right, down):
    flow = jnp.broadcast_to(jnp.array([right, down], jnp.float32), (2, 12, 16, 2))
    rows, columns = np.clip(np.arange(12) + down, 0, 11), np.clip(np.arange(16) + right, 0, 15)
    inside = (slice(None), slice(1, -1), slice(1, -1))  # beyond the edge the place itself is held back
    expected = PICTURE[:, rows][:, :, columns]
    kept = (np.abs(np.arange(12) + down - 5.5) <= 5.5)[:, None] & (np.abs(np.arange(16) + right - 7.5) <= 7.5)
    moved = np.asarray(warp(PICTURE, flow))
    np.testing.assert_allclose(moved[:, kept], expected[:, kept], atol=1e-6)
    assert np.isfinite(moved[inside]).all()


@given(st.floats(0.0, 0.999))
@settings(max_examples=30, deadline=None)
def test_the_weights_keep_straight_lines_and_parabolas(t):
    weights = np.asarray(catmull_rom(jnp.float32(t)), np.float64)
    places = np.arange(-1, 3)
    for power in (0, 1, 2):  # Keys' cubic convolution reproduces polynomials up to the second degree
        assert abs((weights * places**power).sum() - t**power) < 1e-5


def test_detail_survives_many_resamplings():
    """A wave of 8 pixels, moved by half a pixel, keeps 2 (9/16 cos(pi/8) - 1/16 cos(3 pi/8)) of its amplitude."""
    wave = np.sin(2 * np.pi * np.arange(64) / 8.0).astype(np.float32)
    picture = jnp.broadcast_to(wave[None, None, :, None], (1, 4, 64, 1))
    there, back = (jnp.broadcast_to(jnp.array([x, 0.0]), (1, 4, 64, 2)) for x in (0.5, -0.5))
    for _ in range(10):
        picture = warp(warp(picture, there), back)
    middle = np.asarray(picture)[0, 2, 20:44, 0]
    kept = 2 * (9 / 16 * np.cos(np.pi / 8) - 1 / 16 * np.cos(3 * np.pi / 8))
    assert middle.std() / wave[20:44].std() == pytest.approx(kept**20, rel=1e-4)  # .84; bilinear: cos(pi/8)^20 = .21


def test_the_gradient_reaches_the_flow_and_not_the_picture():
    flow = jnp.full((2, 12, 16, 2), 0.3)
    to_picture, to_flow = jax.grad(lambda p, f: jnp.sum(warp(p, f) ** 2), (0, 1))(PICTURE, flow)
    assert not np.asarray(to_picture).any()
    small = 1e-3
    step = jnp.zeros_like(flow).at[0, 5, 6, 0].set(small)
    change = jnp.sum(warp(PICTURE, flow + step) ** 2) - jnp.sum(warp(PICTURE, flow - step) ** 2)
    assert float(to_flow[0, 5, 6, 0]) == pytest.approx(float(change) / (2 * small), rel=0.05, abs=5e-3)


def test_a_global_flow_is_its_polynomial():
    coefficients = rng.normal(size=(3, 2, BASIS)).astype(np.float32)
    flow = np.asarray(global_flow(coefficients, 5, 7))
    for row, y in enumerate(np.linspace(-1, 1, 5)):
        for column, x in enumerate(np.linspace(-1, 1, 7)):
            expected = coefficients @ np.array([1, x, y, x * x, x * y, y * y])
            np.testing.assert_allclose(flow[:, row, column], expected, atol=1e-5)


def test_upsampling_is_jax_s_own_bilinear():
    small = rng.normal(size=(2, 4, 6, 3)).astype(np.float32)
    expected = jax.image.resize(small, (2, 16, 24, 3), "linear")
    np.testing.assert_allclose(upsample(small, 4), expected, atol=1e-5)


def test_photometric_is_the_mean_over_three_scales():
    guess, real = (rng.random((2, 8, 8, 3)).astype(np.float32) for _ in range(2))
    expected = []
    for size in (1, 2, 4):
        means = (guess - real).reshape(2, 8 // size, size, 8 // size, size, 3).mean((2, 4))
        expected.append(np.abs(means).mean((1, 2, 3)))
    found = photometric(space_to_depth(guess, 4), space_to_depth(real, 4), 4)
    np.testing.assert_allclose(found, np.mean(expected, axis=0), rtol=1e-5)


@pytest.mark.parametrize("axis", [0, 1])
def test_the_gradient_is_that_of_every_pixel_by_its_own_flow(axis):
    """A pixel of the result depends on its own flow alone, so all slopes show in one pair of moved pictures."""
    whole, part = rng.integers(-20, 20, (2, 12, 16, 2)), rng.uniform(0.1, 0.9, (2, 12, 16, 2))  # some beyond the edge
    flow, upstream = jnp.asarray(whole + part, jnp.float32), rng.normal(size=PICTURE.shape).astype(np.float32)
    gradient = jax.grad(lambda f: jnp.sum(upstream * warp(PICTURE, f)))(flow)[..., axis]
    step = np.where(np.arange(2) == axis, 0.02, 0.0)
    slopes = (warp(PICTURE, flow + step) - warp(PICTURE, flow - step)) / 0.04
    np.testing.assert_allclose(gradient, np.sum(upstream * np.asarray(slopes), -1), atol=5e-3)
    assert np.mean(np.asarray(gradient) == 0.0) > 0.2  # beyond the edge a flow changes nothing
