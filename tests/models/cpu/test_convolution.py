"""``convolution.conv`` against JAX's own convolution and its gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prowl_jax.models.cpu.convolution import FEW, conv

LAYOUT = ("NHWC", "HWIO", "NHWC")
SIDE = st.tuples(st.integers(3, 9), st.integers(1, 4), st.integers(1, 4), st.integers(0, 2), st.integers(0, 2))


def gradients(function, x, kernel, strides, padding):
    """Output, and the gradients of a sum with weights that differ from place to place."""
    out, pull = jax.vjp(lambda x, k: function(x, k, strides, padding, dimension_numbers=LAYOUT), x, kernel)
    weights = jnp.asarray(np.random.default_rng(1).normal(size=out.shape), out.dtype)
    return out, *pull(weights)


def assert_equal(x, kernel, strides, padding):
    ours = gradients(conv, x, kernel, strides, padding)
    theirs = gradients(jax.lax.conv_general_dilated, x, kernel, strides, padding)
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(a, b, atol=2e-4)


@settings(max_examples=15, deadline=None)
@given(height=SIDE, width=SIDE, channels=st.tuples(st.integers(1, 3), st.integers(1, 3)), batch=st.integers(1, 3))
def test_it_is_jax_s_convolution_with_jax_s_gradients(height, width, channels, batch):
    rng = np.random.default_rng(0)
    (h, kh, sh, top, bottom), (w, kw, sw, left, right) = height, width
    if h + top + bottom < kh or w + left + right < kw:
        return
    x = jnp.asarray(rng.normal(size=(batch, h, w, channels[0])), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(kh, kw, *channels)), jnp.float32)
    assert_equal(x, kernel, (sh, sw), ((top, bottom), (left, right)))


BLOCKS = st.tuples(st.integers(2, 4), st.integers(1, 3), st.integers(0, 3), st.integers(0, 9))


@settings(max_examples=15, deadline=None)
@given(height=BLOCKS, width=BLOCKS, channels=st.tuples(st.integers(1, FEW), st.integers(1, 3)), data=st.data())
def test_few_channels_in_blocks_of_pixels_are_the_same(height, width, channels, data):
    """Windows of whole blocks; images that they do not fill, and padding that no window reaches."""
    rng = np.random.default_rng(0)
    strides, kernel = zip(*[(s, s * blocks) for s, blocks, _, _ in (height, width)], strict=True)
    padding = tuple((low, data.draw(st.integers(0, 3))) for _, _, low, _ in (height, width))
    size = [k + more for k, (_, _, _, more) in zip(kernel, (height, width), strict=True)]
    x = jnp.asarray(rng.normal(size=(2, *size, channels[0])), jnp.float32)
    assert_equal(x, jnp.asarray(rng.normal(size=(*kernel, *channels)), jnp.float32), strides, padding)


def test_no_strided_convolution_of_few_channels_is_left():
    x, kernel = jnp.ones((2, 16, 16, 3)), jnp.ones((8, 8, 3, 5))
    program = jax.jit(lambda x, k: conv(x, k, (4, 4), "SAME", dimension_numbers=LAYOUT)).lower(x, kernel).as_text()
    line = next(line for line in program.splitlines() if "stablehlo.convolution" in line)
    assert "stride = [1, 1]" in line and "x48x" in line


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_padding_by_name(padding):
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(2, 9, 8, 3)).astype("f"), rng.normal(size=(4, 3, 3, 2)).astype("f")
    assert_equal(jnp.asarray(x), jnp.asarray(kernel), (2, 3), padding)


def test_every_convolution_of_its_gradient_has_the_layout_of_the_fast_kernels():
    """Inside a loop, where XLA's CPU compiler does not bring it there."""
    x, kernel = jnp.ones((2, 8, 8, 3)), jnp.ones((4, 4, 3, 5))

    def loop(kernel):
        step = jax.grad(lambda k: jnp.sum(conv(x, k, (2, 2), "SAME", dimension_numbers=LAYOUT) ** 2))
        return jax.lax.scan(lambda k, _: (k - step(k), None), kernel, None, length=3)[0]

    program = jax.jit(loop).lower(kernel).compile().as_text()
    lines = [line for line in program.splitlines() if " convolution(" in line]
    assert len(lines) == 2 and all("dim_labels=b01f_01io->b01f" in line for line in lines)


def test_what_it_does_not_know_is_left_to_jax():
    x, kernel = jnp.ones((1, 5, 5, 2)), jnp.ones((3, 3, 2, 2))
    dilated = conv(x, kernel, (1, 1), "VALID", rhs_dilation=(2, 2), dimension_numbers=LAYOUT)
    np.testing.assert_array_equal(dilated, np.full((1, 1, 1, 2), 18.0))
