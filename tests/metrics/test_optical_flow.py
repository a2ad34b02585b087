"""Optical flow of textures moved by a known amount, and against OpenCV."""

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from prowl_jax.metrics.optical_flow import optical_flow

SMALL = [(0.3, -0.2), (0.5, 0.5), (-1.4, 0.8), (3.0, 1.0)]
LARGE = [(-5.5, 2.3), (8.0, 0.0), (-8.0, 1.5), (6.5, -3.7)]
BATCH = 8  # every call has this shape, so that the flow is compiled once


def texture(blur, seed, height=48, width=64, margin=16):
    """A random texture with a margin all around, float ``[H + 2m, W + 2m, 3]`` in 0..1."""
    noise = np.random.default_rng(seed).normal(size=(height + 2 * margin, width + 2 * margin, 3))
    smooth = ndimage.gaussian_filter(noise, (blur, blur, 0))
    return (smooth - smooth.min()) / np.ptp(smooth)


def moved(image, x, y, margin=16):
    """Two views of a texture, between which everything moves ``x`` to the right and ``y`` down."""
    second = np.clip(ndimage.shift(image, (y, x, 0), order=3, mode="nearest"), 0, 1)
    inside = slice(margin, -margin)
    return image[inside, inside].astype(np.float32), second[inside, inside].astype(np.float32)


def pairs(motions, blur, seed=0):
    first, second = zip(*[moved(texture(blur, seed + i), *m) for i, m in enumerate(motions)], strict=True)
    return np.stack(first), np.stack(second)


def interior_error(flow, motions, margin=8):
    error = np.linalg.norm(flow - np.array(motions)[:, None, None], axis=-1)
    return error[:, margin:-margin, margin:-margin].mean(axis=(1, 2))


def dense_inverse_search(first, second):
    """OpenCV's DIS flow of each pair, its best preset."""
    solver = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def grey(x):
        return cv2.cvtColor((x * 255).round().astype(np.uint8), cv2.COLOR_RGB2GRAY)

    return np.stack([solver.calc(grey(a), grey(b), None) for a, b in zip(first, second, strict=True)])


@pytest.mark.parametrize("blur", [1.5, 3.0, 5.0])
def test_translations(blur):
    first, second = pairs(SMALL + LARGE, blur)
    flow = np.asarray(optical_flow(first, second))
    assert flow.shape == (BATCH, 48, 64, 2) and flow.dtype == np.float32
    error = interior_error(flow, SMALL + LARGE)
    assert error[:4].max() < 0.1, error
    assert error[4:].max() < 0.3, error
    # Close to OpenCV where OpenCV manages, far ahead where it does not: DIS loses fine
    # textures that move far.
    theirs = interior_error(dense_inverse_search(first, second), SMALL + LARGE)
    assert (error < np.maximum(3 * theirs, 0.06)).all(), (error, theirs)
    assert error.mean() < 2 * theirs.mean()


def test_the_border_that_leaves_the_frame_follows_its_surroundings():
    motions = [(8.0, 0.0), (-8.0, 0.0), (0.0, 4.0), (0.0, -4.0)] * 2
    error = interior_error(np.asarray(optical_flow(*pairs(motions, 3.0))), motions, margin=1)
    assert error.mean() < 0.2 and error.max() < 0.8, error


def test_a_turn_of_the_camera():
    # A pinhole camera with a field of view of 90 degrees turns right about a far cylinder of
    # texture: everything moves left, in the middle of the frame by 32 pixels a radian.
    image, degrees = texture(2.5, 0, 48, 160, margin=0), 8.0
    x, y = np.arange(64) - 31.5, np.arange(48) - 23.5

    def view(yaw):
        column = 79.5 + 40.0 * (np.arctan(x / 32) + np.radians(yaw))
        row = 23.5 + 0.6 * y[:, None] / np.sqrt(1 + (x / 32) ** 2)
        rows, columns = np.broadcast_arrays(row, column)
        channels = [ndimage.map_coordinates(c, [rows, columns], order=3) for c in np.moveaxis(image, -1, 0)]
        return np.clip(np.stack(channels, axis=-1), 0, 1).astype(np.float32)

    first, second = view(0.0), view(degrees)
    flow = np.asarray(optical_flow(np.stack([first] * BATCH), np.stack([second] * BATCH)))[0]
    expected = 32 * np.tan(np.arctan(x / 32) - np.radians(degrees)) - x
    np.testing.assert_allclose(np.median(flow[..., 0], axis=0)[11:-4], expected[11:-4], atol=0.4)


def test_identical_frames_do_not_move():
    first, _ = pairs(SMALL + LARGE, 1.5)
    assert not np.asarray(optical_flow(first, first)).any()


def test_flat_frames_do_not_blow_up():
    rng = np.random.default_rng(0)
    flat = np.full((BATCH, 48, 64, 3), 0.5, np.float32)
    assert not np.asarray(optical_flow(flat, flat + 0.1)).any()
    rounding = rng.integers(-1, 2, flat.shape).astype(np.float32) / 255
    assert np.abs(optical_flow(flat, flat + rounding)).max() < 0.1
    first, second = pairs([(5.0, 0.0)] * BATCH, 2.0)
    first[:, :, :32], second[:, :, :32] = 0.5, 0.5  # a wall beside moving things
    flow = np.asarray(optical_flow(first, second))
    assert np.abs(flow).max() < 14 and np.abs(flow[:, :, :20]).mean() < 1.0
    np.testing.assert_allclose(np.median(flow[:, :, 42:-8, 0]), 5.0, atol=0.1)


def test_brightness_is_weighed_not_one_channel():
    first, second = pairs([(2.0, 1.0)] * BATCH, 3.0)
    for kept in range(3):
        mask = np.arange(3) == kept
        flow = np.asarray(optical_flow(first * mask, second * mask))
        np.testing.assert_allclose(np.median(flow, axis=(0, 1, 2)), [2.0, 1.0], atol=0.15)


def test_leading_axes_are_kept():
    first, second = pairs(SMALL + LARGE, 3.0)
    flow = optical_flow(first.reshape(2, 4, 48, 64, 3), second.reshape(2, 4, 48, 64, 3))
    np.testing.assert_array_equal(flow, optical_flow(first, second).reshape(2, 4, 48, 64, 2))


def test_is_differentiable_in_the_motion():
    # Moving the second image on by s pixels moves the flow by s.
    first, second = moved(texture(3.0, 0, 24, 32), 1.2, 0.0)  # small, for the compiler
    slope = np.gradient(second, axis=1)
    tangents = (jnp.zeros_like(first), -jnp.array(slope))
    _, derivative = jax.jvp(
        lambda a, b: optical_flow(a, b, search=(2, 2), iterations=(1, 2)), (first, second), tangents
    )
    assert np.isfinite(derivative).all()
    np.testing.assert_allclose(np.median(derivative[6:-6, 6:-6], axis=(0, 1)), [1.0, 0.0], atol=0.15)


def test_odd_sizes_are_refused():
    with pytest.raises(ValueError, match="even"):
        optical_flow(jnp.zeros((47, 64, 3)), jnp.zeros((47, 64, 3)))
