"""Explicit motion: a picture moved by a flow, and the flow that an action alone tells.

A turn of the camera moves every pixel in a way that two numbers describe; a network that must paint the moved
picture anew learns it slowly and blurs it. Resampling by Catmull-Rom keeps detail over many frames where bilinear
resampling loses it: of a wave of 8 pixels, moved 20 times by half a pixel, .84 of the amplitude is left, bilinear .21.
"""

import jax
import jax.numpy as jnp
import numpy as np

from prowl_jax.models.autoencoders.small import depth_to_space

BASIS = 6
"""Coefficients of ``global_flow`` an axis: 1, x, y, x^2, xy, y^2 hold a turn, a zoom and their perspective."""


def catmull_rom(t):
    """Weights ``[4, ...]`` of the pixels at -1, 0, 1, 2 for a place ``t`` in [0, 1) (Keys 1981, a = -1/2)."""
    t2, t3 = t * t, t * t * t
    return jnp.stack(
        [-0.5 * t + t2 - 0.5 * t3, 1.0 - 2.5 * t2 + 1.5 * t3, 0.5 * t + 2.0 * t2 - 1.5 * t3, -0.5 * t2 + 0.5 * t3]
    )


def warp(image, flow):
    """The image moved: each pixel of the result is read at its own place plus the flow.

    Args:
      image: float ``[B, H, W, C]``; no gradient flows to it, so that the gradient needs no scatter.
      flow: float ``[B, H, W, 2]``, (x, y) in pixels. Beyond the edge stands the edge's pixel.

    Returns:
      float ``[B, H, W, C]``.
    """
    batch, height, width, channels = image.shape
    x = jnp.clip(jnp.arange(width) + flow[..., 0], -1.0, width)
    y = jnp.clip(jnp.arange(height)[:, None] + flow[..., 1], -1.0, height)
    left, top = (jnp.floor(jax.lax.stop_gradient(place)) for place in (x, y))
    across, down = catmull_rom(x - left), catmull_rom(y - top)
    left, top = left.astype(jnp.int32), top.astype(jnp.int32)
    pixels = jax.lax.stop_gradient(jnp.asarray(image)).reshape(batch * height * width, channels)
    first = (jnp.arange(batch) * height * width)[:, None, None]
    out = 0.0
    for i in range(4):
        row = first + jnp.clip(top + i - 1, 0, height - 1) * width
        line = 0.0
        for j in range(4):
            place = row + jnp.clip(left + j - 1, 0, width - 1)
            line += across[j][..., None] * pixels.at[place].get(mode="promise_in_bounds")
        out += down[i][..., None] * line
    return out


def global_flow(coefficients, height, width):
    """The flow of ``coefficients [B, 2, BASIS]`` at every pixel, ``[B, H, W, 2]``, polynomials over [-1, 1]."""
    y, x = jnp.meshgrid(jnp.linspace(-1.0, 1.0, height), jnp.linspace(-1.0, 1.0, width), indexing="ij")
    basis = jnp.stack([jnp.ones_like(x), x, y, x * x, x * y, y * y])
    return jnp.einsum("bcf,fyx->byxc", coefficients, basis)


def upsample(x, factor):
    """``[B, h, w, C]`` -> ``[B, factor h, factor w, C]``, bilinear between pixel centres, as two matrix products."""
    up = [_bilinear(size, factor) for size in x.shape[1:3]]
    return jnp.einsum("yh,xw,bhwc->byxc", *up, x)


def _bilinear(size, factor):
    place = (np.arange(size * factor) + 0.5) / factor - 0.5
    low = np.floor(place).astype(int)
    weights = np.zeros((size * factor, size), np.float32)
    rows = np.arange(size * factor)
    np.add.at(weights, (rows, np.clip(low, 0, size - 1)), 1.0 - (place - low))
    np.add.at(weights, (rows, np.clip(low + 1, 0, size - 1)), place - low)
    return weights


def photometric(guess, real, block):
    """How far two pictures ``[B, h, w, 3 block^2]`` (space to depth) are apart: mean absolute error at three scales.

    Pixels, and means of 2x2 and 4x4 of them: the coarse ones tell a flow that is off by several pixels where to go.

    Returns:
      float ``[B]``.
    """
    difference = depth_to_space(guess - real, block)
    batch, height, width, colours = difference.shape
    scales = []
    for size in (1, 2, 4):
        means = difference.reshape(batch, height // size, size, width // size, size, colours).mean((2, 4))
        scales.append(jnp.abs(means).mean((1, 2, 3)))
    return sum(scales) / len(scales)
