"""Frames as VPT sees them: squeezed to a square by OpenCV's bilinear resize, to the last bit.

VPT calls ``cv2.resize(frame, (128, 128), interpolation=cv2.INTER_LINEAR)``, which keeps no aspect,
does not smooth before it shrinks (so ``jax.image.resize`` must be told not to), and for bytes works
in integers: weights of 11 bits, a horizontal pass, then a vertical one that drops the low bits.
"""

import jax.numpy as jnp
import numpy as np

_ONE = 2048  # a weight of 1 in OpenCV's fixed-point arithmetic


def _taps(source, target):
    """For each of ``target`` pixels: the two source pixels it lies between, and their int weights."""
    x = np.float32((np.arange(target) + 0.5) * (source / target) - 0.5)
    left = np.floor(x).astype(np.int32)
    weight = x - left  # float32, as there
    weights = np.rint(np.stack([1 - weight, weight]) * np.float32(_ONE)).astype(np.int32)
    return left, weights


def resize(frames, size):
    """uint8 ``[..., H, W, 3]`` -> uint8 ``[..., size, size, 3]``, equal to OpenCV's INTER_LINEAR."""
    height, width = frames.shape[-3:-1]
    if (height, width) == (size, size):
        return frames
    top, (weight_top, weight_bottom) = _taps(height, size)
    left, weights = _taps(width, size)
    beyond = (left < 0) | (left >= width - 1)  # past the outermost pixels' centres their values hold
    weights = np.where(beyond, np.array([[_ONE], [0]]), weights)
    weight_left, weight_right = (w.astype(np.int32)[:, None] for w in weights)
    columns = np.clip(np.stack([left, left + 1]), 0, width - 1)

    def row(y):  # int32, 255 * 2048 at most
        lines = jnp.take(frames, np.clip(y, 0, height - 1), axis=-3)
        both = [jnp.take(lines, x, axis=-2).astype(jnp.int32) for x in columns]
        return both[0] * weight_left + both[1] * weight_right

    above = (row(top) >> 4) * weight_top[:, None, None] >> 16
    below = (row(top + 1) >> 4) * weight_bottom[:, None, None] >> 16
    return (above + below + 2 >> 2).astype(jnp.uint8)
