"""The dense layer against ``nn.Dense``: same parameters, values and gradients."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prowl_jax.models.cpu.dense import Dense

rng = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 4, 5)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_it_is_flaxs_dense_layer(shape, dtype):
    x = jnp.asarray(rng.normal(size=shape), jnp.float32)
    theirs, ours = (layer(7, dtype=jnp.dtype(dtype)) for layer in (nn.Dense, Dense))
    params = theirs.init(jax.random.key(0), x)
    jax.tree.map(np.testing.assert_array_equal, ours.init(jax.random.key(0), x), params)

    def value_and_gradients(layer):
        out, back = jax.vjp(layer.apply, params, x)
        return out, back(jnp.ones_like(out))

    mine, expected = value_and_gradients(ours), value_and_gradients(theirs)
    assert mine[0].dtype == jnp.dtype(dtype) and mine[0].shape == (*shape[:-1], 7)
    for a, b in zip(jax.tree.leaves(mine), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(
            a.astype(jnp.float32), b.astype(jnp.float32), rtol=2e-2 if dtype == "bfloat16" else 1e-5
        )


def test_its_gradient_contracts_one_axis_only():
    """What makes it quick: no product of the gradient has more than one contracting or any batch axis."""
    x, kernel = jnp.ones((2, 3, 4)), Dense(6)
    params = kernel.init(jax.random.key(0), x)
    jaxpr = jax.make_jaxpr(jax.grad(lambda p, x: jnp.sum(kernel.apply(p, x)), (0, 1)))(params, x)
    products = [e for e in jaxpr.eqns if e.primitive.name == "dot_general"]
    assert len(products) == 3
    for equation in products:
        (left, right), batch_axes = equation.params["dimension_numbers"]
        assert len(left) == len(right) == 1 and batch_axes == ((), ())
