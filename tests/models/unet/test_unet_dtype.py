"""The denoiser in bfloat16: the same parameters, answers in float32, and what it computes is nearly the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prowl_jax.models.unet.unet import UNet

FULL = UNet((3, 5), widths=(8, 12), blocks=(1, 1), motion_widths=(8,), motion_blocks=(1,), width=16)
HALF = FULL.clone(dtype=jnp.bfloat16)


@pytest.fixture(scope="module")
def inputs():
    rng = np.random.default_rng(0)
    context = rng.normal(size=(3, 2, 4, 4, 48)).astype(np.float32)
    z = rng.normal(size=(3, 4, 4, 48)).astype(np.float32)
    actions = np.stack([rng.integers(0, size, (3, 2)) for size in (3, 5)], axis=-1).astype(np.int32)
    return z, np.array([0.1, 0.6, 1.0], np.float32), context, np.zeros((3, 2), np.float32), actions


def test_answers_are_float32_and_nearly_the_same(random_params, inputs):
    shapes = [jax.eval_shape(lambda n=net: n.init(jax.random.key(0), *inputs)) for net in (FULL, HALF)]
    assert shapes[0] == shapes[1] and {x.dtype for x in jax.tree.leaves(shapes[1])} == {np.dtype("float32")}
    params = random_params(lambda key: FULL.init(key, *inputs))
    (full, guess), (half, half_guess) = (jax.jit(net.apply)(params, *inputs) for net in (FULL, HALF))
    assert full.dtype == half.dtype == half_guess.frame.dtype == jnp.float32
    off = float(jnp.sqrt(jnp.mean(jnp.square(half - full)) / jnp.mean(jnp.square(full))))
    assert 1e-5 < off < 0.03  # not the same program, and not another answer
    np.testing.assert_allclose(half_guess.frame, guess.frame, atol=0.2)

    def loss(params, network):
        return jnp.mean(jnp.square(network.apply(params, *inputs)[0]))

    full, half = (jax.jit(jax.grad(loss), static_argnums=1)(params, net) for net in (FULL, HALF))
    assert {x.dtype for x in jax.tree.leaves(half)} == {np.dtype("float32")}
    alike = sum(jnp.vdot(a, b) for a, b in zip(*map(jax.tree.leaves, (full, half)), strict=True))
    norms = [np.sqrt(sum(jnp.vdot(a, a) for a in jax.tree.leaves(tree))) for tree in (full, half)]
    assert float(alike) / float(norms[0] * norms[1]) > 0.99
