"""Fidelity of single frames: PSNR and SSIM, and how sharp they are, for float images in 0..1."""

import chex
import jax.numpy as jnp
import numpy as np

_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2


def psnr(a, b):
    """Peak signal-to-noise ratio in dB: two float ``[..., H, W, 3]`` in 0..1 -> ``[...]``.

    Capped at 100 dB, so that identical frames do not make a mean over frames infinite.
    """
    chex.assert_equal_shape([a, b])
    mse = jnp.mean(jnp.square(a - b), axis=(-3, -2, -1))
    return -10.0 * jnp.log10(jnp.maximum(mse, 1e-10))


def gradient_energy(frames):
    """Sharpness: float ``[..., H, W, 3]`` -> ``[...]``, the mean square of the steps between neighbouring pixels.

    Of rows and columns together. Blur lowers it, noise raises it: compare it with real frames'.
    """
    down, right = jnp.diff(frames, axis=-3), jnp.diff(frames, axis=-2)
    return jnp.mean(jnp.square(down), axis=(-3, -2, -1)) + jnp.mean(jnp.square(right), axis=(-3, -2, -1))


def ssim(a, b):
    """Structural similarity (Wang et al., IEEE TIP 2004), the mean over channels and pixels.

    Gaussian window of 11 pixels with deviation 1.5, K1 = 0.01, K2 = 0.03, population
    covariances, only where the window fits into the frame.

    Args:
      a: float ``[..., H, W, 3]`` in 0..1, at least 11 pixels each way.
      b: the same shape.

    Returns:
      float ``[...]``, at most 1.

    Raises:
      ValueError: a frame smaller than the window.
    """
    chex.assert_equal_shape([a, b])
    height, width = a.shape[-3:-1]
    if min(height, width) < _WINDOW:
        raise ValueError(f"SSIM needs frames of at least {_WINDOW} pixels, got {height} x {width}")
    rows, columns = _gaussian(height), _gaussian(width)

    def blur(x):
        # A convolution by two banded matrices: at these sizes a matrix product is fastest.
        # In full precision, since the variances below are small differences of large numbers.
        return jnp.einsum("ih,...hwc,jw->...ijc", rows, x, columns, precision="highest")

    mean_a, mean_b = blur(a), blur(b)
    variance_a = blur(a * a) - mean_a * mean_a
    variance_b = blur(b * b) - mean_b * mean_b
    covariance = blur(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + _C1) / (mean_a**2 + mean_b**2 + _C1)
    structure = (2 * covariance + _C2) / (variance_a + variance_b + _C2)
    return jnp.mean(luminance * structure, axis=(-3, -2, -1))


def _gaussian(size):
    """Matrix ``[size - 10, size]`` of the window at every place where it fits."""
    x = np.arange(_WINDOW) - _WINDOW // 2
    window = np.exp(-0.5 * (x / _SIGMA) ** 2)
    matrix = np.zeros((size - _WINDOW + 1, size), np.float32)
    for i in range(len(matrix)):
        matrix[i, i : i + _WINDOW] = window / window.sum()
    return matrix
