"""Convolutions of few channels, and gradients of convolutions inside loops, that stay fast on a CPU.

XLA's CPU compiler brings the convolutions of a gradient into the layout that its fast kernels take,
but only those outside of loops (jaxlib 0.10): inside ``lax.scan`` the same gradient took 13 times as
long. ``conv`` writes its gradients in that layout by itself. The colours of a frame are too few channels for
these kernels to be fast: a strided convolution of them is written as one of
stride 1, of blocks of pixels (space to depth). On other devices ``conv`` is
``jax.lax.conv_general_dilated``, whose gradients their compilers recognise.
"""

import functools

import jax
import jax.numpy as jnp

from prowl_jax.models import cpu

_LAYOUT = ("NHWC", "HWIO", "NHWC")
FEW = 4
"""Channels up to which strided convolutions are written with blocks of pixels."""


def conv(x, kernel, strides, padding, *, lhs_dilation=None, rhs_dilation=None, feature_group_count=1, **settings):
    """``jax.lax.conv_general_dilated`` of images; for ``flax.linen.Conv(conv_general_dilated=conv)``.

    Args:
      x: float ``[B, H, W, C]``. kernel: float ``[kh, kw, C, D]``. strides: two ints.
      padding: "SAME", "VALID", or two pairs of ints.
      The others as in JAX; with dilation, groups or another device than a CPU it is JAX's own.

    Returns:
      float ``[B, H', W', D]``.
    """
    plain = feature_group_count == 1 and all(d is None or set(d) == {1} for d in (lhs_dilation, rhs_dilation))
    if x.ndim != 4 or not plain or not cpu.tuned():
        return jax.lax.conv_general_dilated(
            x, kernel, strides, padding, lhs_dilation=lhs_dilation, rhs_dilation=rhs_dilation,
            feature_group_count=feature_group_count, **settings,
        )  # fmt: skip
    if isinstance(padding, str):
        padding = jax.lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], strides, padding)
    whole = not any(k % s for k, s in zip(kernel.shape[:2], strides, strict=True))
    if x.shape[-1] <= FEW and min(strides) > 1 and whole:
        x, kernel = _blocks(x, kernel, strides, padding)
        strides, padding = (1, 1), ((0, 0), (0, 0))
    return _conv(x, kernel, tuple(strides), tuple(map(tuple, padding)), settings.get("precision"))


def _blocks(x, kernel, strides, padding):
    """The padded images, a block of ``strides`` pixels a pixel, and the kernel for them: the same products and sums."""
    (down, right), (high, wide) = strides, kernel.shape[:2]
    sides = tuple(zip(x.shape[1:3], padding, (high, wide), strides, strict=True))
    rows, columns = reached = [(size + sum(pads) - k) // s * s + k for size, pads, k, s in sides]
    edges = [(pads[0], end - size - pads[0], 0) for end, (size, pads, _, _) in zip(reached, sides, strict=True)]
    x = jax.lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *edges, (0, 0, 0)])  # below 0: no window reaches there
    x = x.reshape(len(x), rows // down, down, columns // right, right, -1).swapaxes(2, 3)
    kernel = kernel.reshape(high // down, down, wide // right, right, *kernel.shape[2:]).swapaxes(1, 2)
    return x.reshape(*x.shape[:3], -1), kernel.reshape(*kernel.shape[:2], -1, kernel.shape[-1])


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _conv(x, kernel, strides, padding, precision):
    return _product(x, kernel, strides, padding, precision)


def _forward(x, kernel, strides, padding, precision):
    return _product(x, kernel, strides, padding, precision), (x, kernel)


def _backward(strides, padding, precision, saved, upstream):
    x, kernel = saved
    size, window, out = x.shape[1:3], kernel.shape[:2], upstream.shape[1:3]
    reach = [(o - 1) * s for o, s in zip(out, strides, strict=True)]  # where the last window begins
    # To the image: the gradient, spread by the strides, under the kernel turned around.
    low = [k - 1 - p[0] for k, p in zip(window, padding, strict=True)]
    high = [n + k - 2 - r - a for n, k, r, a in zip(size, window, reach, low, strict=True)]
    turned = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    to_x = _product(upstream, turned, (1, 1), tuple(zip(low, high, strict=True)), precision, lhs_dilation=strides)
    # To the kernel: channels take the place of the batch, and the gradient that of the kernel.
    low = [p[0] for p in padding]
    high = [k + r - n - a for k, r, n, a in zip(window, reach, size, low, strict=True)]
    to_kernel = _product(
        x.transpose(3, 1, 2, 0), upstream.transpose(1, 2, 0, 3), (1, 1), tuple(zip(low, high, strict=True)),
        precision, rhs_dilation=strides,
    )  # fmt: skip
    return to_x, to_kernel.transpose(1, 2, 0, 3)


_conv.defvjp(_forward, _backward)


def _product(x, kernel, strides, padding, precision, **dilation):
    return jax.lax.conv_general_dilated(
        x, kernel, strides, padding, dimension_numbers=_LAYOUT, precision=precision, **dilation
    )
