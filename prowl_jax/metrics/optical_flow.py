"""Optical flow of small frames in JAX, after Lucas and Kanade (IJCAI 1981).

PROWL measures motion with SEA-RAFT, a trained network. On the small frames of the small
configurations this classical flow takes its place: it needs no weights, runs inside ``jit``
beside the world model, and can be differentiated.

Two resolutions. At half resolution every whole-pixel displacement of a search window is
tried and the best match is taken (block matching), which finds the large motions of a
turning camera that a gradient method cannot reach. Lucas-Kanade steps at half and then at full
resolution refine it to fractions of a pixel.

Inside, images lie as ``[h, n, w]``, the batch between rows and columns. So a Gaussian window
is one matrix product from the left and one from the right, without a transposition: at
these sizes that is several times faster than convolutions or batched products.
"""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
# In full precision: accelerators round the factors of a float32 product to 8 or 11 bits
# by default, which is coarser than the differences between frames.
_matmul = functools.partial(jnp.matmul, precision="highest")
# Squared brightness gradient at which texture and prior weigh the same: below it (flat walls,
# 8-bit rounding) the flow of the surroundings is kept instead of solving for noise.
_FLAT = 1e-5
# Block matching, in pixels of half resolution: deviation of the window, the least share of a
# window that must stay in sight, and what a squared pixel of displacement costs (it breaks
# ties on flat ground in favour of no motion).
_MATCH_WINDOW, _LEAST_SHARE, _LENGTH_COST = 2.0, 0.05, 1e-6


def optical_flow(first, second, *, search=(6, 12), iterations=(2, 3)):
    """Where every pixel of ``first`` has gone: ``second(x + flow(x)) = first(x)``.

    Args:
      first: float ``[..., H, W, 3]`` in 0..1, ``H`` and ``W`` even.
      second: the same shape, a moment later.
      search: static, largest motion looked for (down or up, sideways), in pixels.
      iterations: static, Lucas-Kanade steps at (half, full) resolution.

    Returns:
      float32 ``[..., H, W, 2]``: pixels to the right, pixels down. Identical frames
      give exactly 0. Where nothing is textured the flow is that of the
      surroundings, and 0 if there are none.

    Raises:
      ValueError: odd height or width.
    """
    chex.assert_equal_shape([first, second])
    *batch, height, width, _ = first.shape
    if height % 2 or width % 2:
        raise ValueError(f"optical flow needs even height and width, got {height} x {width}")
    first, second = (x.reshape(-1, height, width, 3) for x in (first, second))
    return _flow(first, second, search, iterations).reshape(*batch, height, width, 2)


def small_flow(params, first, second):
    """``optical_flow`` where a flow is handed the world model's parameters, among which others find their weights."""
    del params
    return optical_flow(first, second)


@functools.partial(jax.jit, static_argnames=("search", "iterations"))
def _flow(first, second, search, iterations):
    """``optical_flow`` of two ``[n, H, W, 3]``."""
    first, second = (_blur(_brightness(x), 0.7) for x in (first, second))
    first_half, second_half = _halve(first), _halve(second)
    flow = _match(first_half, second_half, tuple(-(-s // 2) for s in search))
    flow = _refine(first_half, second_half, flow, iterations[0], sigma=1.6)
    flow = tuple(2.0 * _double(f) for f in flow)
    flow = _refine(first, second, flow, iterations[1], sigma=2.0)
    return jnp.stack([jnp.swapaxes(f, 0, 1) for f in flow], axis=-1)


def _brightness(x):
    """``[n, H, W, 3]`` -> ``[H, n, W]``."""
    return jnp.swapaxes(_matmul(x.astype(jnp.float32), _LUMA), 0, 1)


def _match(first, second, reach):
    """Best whole-pixel displacement: two ``[h, n, w]`` -> flow, a pair (x, y) of these."""
    down, right = reach
    height, _, width = first.shape
    padded = jnp.pad(second, ((down, down), (0, 0), (right, right)))
    shifts = [(dx, dy) for dy in range(-down, down + 1) for dx in range(-right, right + 1)]
    shifts.sort(key=lambda s: s[0] ** 2 + s[1] ** 2)  # of equal matches the shortest wins
    rows, columns = _window(height, _MATCH_WINDOW), _window(width, _MATCH_WINDOW)

    def step(best, shift):
        best_cost, best_x, best_y = best
        # Only what stays in the frame is compared, by its share of the window: at the border,
        # the part of the surroundings that is still in sight decides.
        in_rows, in_columns = _stays(height, shift[1]), _stays(width, shift[0])
        share = jnp.outer(_matmul(rows, in_rows), _matmul(columns, in_columns))[:, None]
        moved = jax.lax.dynamic_slice(padded, (down + shift[1], 0, right + shift[0]), first.shape)
        error = jnp.square(moved - first) * jnp.outer(in_rows, in_columns)[:, None]
        cost = _blur(error, _MATCH_WINDOW) / jnp.maximum(share, _LEAST_SHARE)
        cost = jnp.where(share > _LEAST_SHARE, cost, jnp.inf) + _LENGTH_COST * jnp.sum(jnp.square(shift))
        better = cost < best_cost
        best_x, best_y = (jnp.where(better, s, b) for s, b in zip(shift, (best_x, best_y), strict=True))
        return (jnp.where(better, cost, best_cost), best_x, best_y), None

    nowhere = jnp.zeros(first.shape, jnp.int32)
    start = (jnp.full(first.shape, jnp.inf), nowhere, nowhere)
    (_, x, y), _ = jax.lax.scan(step, start, jnp.array(shifts, jnp.int32))
    return x.astype(jnp.float32), y.astype(jnp.float32)


def _stays(size, shift):
    """1 for the pixels of a row that are still in it after ``shift``, else 0: ``[size]``."""
    moved = jnp.arange(size) + shift
    return ((moved >= 0) & (moved < size)).astype(jnp.float32)


def _refine(first, second, flow, iterations, sigma):
    """Lucas-Kanade steps: for every window the flow that explains it best (least squares)."""
    g_x, g_y = _gradient(first)
    for _ in range(iterations):
        # With g the gradient, r = first - second(x + flow) what is left over, and sums over the
        # window, solve (sum g g^T) u = sum g (r + g . flow): each pixel of the window first
        # takes back its own flow, so that one flow u answers for all of them.
        warped, inside = _warp(second, flow)
        target = first - warped + g_x * flow[0] + g_y * flow[1]
        w_x, w_y = g_x * inside, g_y * inside
        a, b, c = (_blur(v, sigma) for v in (w_x * g_x, w_x * g_y, w_y * g_y))
        p, q = _blur(w_x * target, sigma), _blur(w_y * target, sigma)
        a, c = a + _FLAT, c + _FLAT
        p, q = (v + _FLAT * _blur(f, sigma) for v, f in zip((p, q), flow, strict=True))
        scale = 1.0 / (a * c - b * b)
        flow = (c * p - b * q) * scale, (a * q - b * p) * scale
    return flow


def _warp(image, flow):
    """``image(x + flow)`` by bilinear interpolation, and where that lies inside, as 0 or 1."""
    height, n, width = image.shape
    x = jnp.arange(width) + flow[0]
    y = jnp.arange(height)[:, None, None] + flow[1]
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    x, y = jnp.clip(x, 0, width - 1), jnp.clip(y, 0, height - 1)
    left = jnp.clip(jnp.floor(x), 0, width - 2)
    top = jnp.clip(jnp.floor(y), 0, height - 2)
    f_x, f_y = x - left, y - top
    left, top, which = left.astype(jnp.int32), top.astype(jnp.int32), jnp.arange(n)[:, None]
    upper = image[top, which, left] * (1 - f_x) + image[top, which, left + 1] * f_x
    lower = image[top + 1, which, left] * (1 - f_x) + image[top + 1, which, left + 1] * f_x
    return upper * (1 - f_y) + lower * f_y, inside.astype(jnp.float32)


def _gradient(image):
    """Central differences in x and y of ``[h, n, w]``, the border repeated."""
    padded = jnp.pad(image, ((1, 1), (0, 0), (1, 1)), mode="edge")
    g_x = 0.5 * (padded[1:-1, :, 2:] - padded[1:-1, :, :-2])
    g_y = 0.5 * (padded[2:, :, 1:-1] - padded[:-2, :, 1:-1])
    return g_x, g_y


def _blur(x, sigma):
    """Gaussian mean over the first and last axis; windows are cut at the border and renormalised."""
    rows, columns = _window(x.shape[0], sigma), _window(x.shape[-1], sigma)
    shape, x = x.shape, _matmul(rows, x.reshape(x.shape[0], -1))
    return _matmul(x.reshape(-1, len(columns)), columns.T).reshape(shape)


@functools.lru_cache
def _window(size, sigma):
    distance = np.arange(size)[:, None] - np.arange(size)
    weights = np.exp(-0.5 * (distance / sigma) ** 2) * (np.abs(distance) <= 3 * sigma)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def _halve(x):
    """Mean of 2 x 2 pixels of ``[h, n, w]``."""
    height, n, width = x.shape
    return x.reshape(height // 2, 2, n, width // 2, 2).mean(axis=(1, 4))


def _double(x):
    """Every pixel four times."""
    return jnp.repeat(jnp.repeat(x, 2, axis=0), 2, axis=-1)
