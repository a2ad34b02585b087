"""PSNR and SSIM against scikit-image; gradients against numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from prowl_jax.metrics.image import gradient_energy, psnr, ssim

rng = np.random.default_rng(0)
ramp = np.linspace(0, 1, 48)[:, None, None] * np.linspace(0, 1, 64)[:, None] * np.ones(3)
A = np.stack([rng.random((48, 64, 3)), ramp, np.full((48, 64, 3), 0.4)]).astype(np.float32)
NOISE = rng.normal(size=A.shape) * np.array([0.02, 0.1, 0.3])[:, None, None, None]
B = np.clip(A + NOISE, 0, 1).astype(np.float32)


def test_psnr_agrees_with_scikit_image():
    expected = [peak_signal_noise_ratio(a, b, data_range=1) for a, b in zip(A, B, strict=True)]
    np.testing.assert_allclose(psnr(A, B), expected, rtol=1e-4)


def test_ssim_agrees_with_scikit_image():
    expected = [
        structural_similarity(
            a, b, gaussian_weights=True, use_sample_covariance=False, channel_axis=-1, data_range=1
        )
        for a, b in zip(A, B, strict=True)
    ]
    assert min(expected) < 0.3 and max(expected) > 0.95
    np.testing.assert_allclose(jax.jit(ssim)(A, B), expected, atol=1e-4)


def test_identical_frames():
    np.testing.assert_allclose(psnr(A, A), 100.0)
    np.testing.assert_allclose(ssim(A, A), 1.0, atol=1e-6)


def test_leading_axes_are_kept():
    clips = jnp.array(A)[None, :, None]
    assert psnr(clips, clips).shape == ssim(clips, clips).shape == (1, 3, 1)


def test_frames_smaller_than_the_window_are_refused():
    with pytest.raises(ValueError, match="11"):
        ssim(jnp.zeros((10, 64, 3)), jnp.zeros((10, 64, 3)))


def test_gradient_energy_is_that_of_neighbours_and_falls_with_blur():
    down, right = np.diff(A, axis=1) ** 2, np.diff(A, axis=2) ** 2
    np.testing.assert_allclose(gradient_energy(A), down.mean((1, 2, 3)) + right.mean((1, 2, 3)), rtol=1e-5, atol=1e-9)
    blurred = gaussian_filter(A, (0, 1, 1, 0))
    assert gradient_energy(blurred)[0] < 0.2 * gradient_energy(A)[0]
    assert gradient_energy(A)[2] == 0  # one colour
