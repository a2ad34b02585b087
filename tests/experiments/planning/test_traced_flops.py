"""FLOPs of traced programs against counts by hand, the formula of the benchmark, and the compiler's own."""

import jax
import jax.numpy as jnp
import pytest

from experiments.benchmarks.flops import dit_forward
from experiments.planning.traced_flops import traced_flops
from prowl_jax.models.dit.dit import DiT

A, B = jax.ShapeDtypeStruct((3, 5), jnp.float32), jax.ShapeDtypeStruct((5, 7), jnp.float32)
SQUARE = jax.ShapeDtypeStruct((4, 4), jnp.float32)


def repeated(x, n):
    return jax.lax.scan(lambda c, _: (c @ c, None), x, None, length=n)[0]


@pytest.mark.parametrize(
    ("function", "arguments", "loops", "expected"),
    [
        (jnp.matmul, (A, B), 1, 2 * 3 * 5 * 7),
        (jax.jit(jnp.matmul), (A, B), 1, 2 * 3 * 5 * 7),
        (jax.grad(lambda a, b: (a @ b).sum(), (0, 1)), (A, B), 1, 3 * 2 * 3 * 5 * 7),
        (lambda a: jnp.einsum("bij,bjk->bik", a, a), (jax.ShapeDtypeStruct((2, 6, 6), jnp.float32),), 1, 2 * 2 * 6**3),
        (lambda x: repeated(x, 9), (SQUARE,), 1, 9 * 2 * 4**3),
        (lambda x: jax.lax.while_loop(lambda c: c.sum() < 9, lambda c: c @ c, x), (SQUARE,), 5, 5 * 2 * 4**3),
        (lambda x: jax.lax.cond(x.sum() > 0, lambda x: x @ x @ x, lambda x: x @ x, x), (SQUARE,), 1, 2 * 2 * 4**3),
        (jnp.tanh, (A,), 1, 0),
    ],
)
def test_products_are_counted_as_often_as_they_are_done(function, arguments, loops, expected):
    assert traced_flops(function, *arguments, loops=loops) == expected


@pytest.mark.parametrize("groups", [1, 2])
def test_convolutions(groups):
    """4 x 5 outputs of 6 features, each over a window of 3 x 3 of the input's features."""
    x = jax.ShapeDtypeStruct((2, 4, 5, 8), jnp.float32)
    kernel = jax.ShapeDtypeStruct((3, 3, 8 // groups, 6), jnp.float32)

    def convolve(x, kernel):
        numbers = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", None, None, numbers, groups)

    assert traced_flops(convolve, x, kernel) == 2 * (2 * 4 * 5 * 6) * 9 * 8 // groups


def test_a_dit_costs_what_the_formula_says():
    """With one chunk every token sees every other, as the formula takes it."""
    dit = DiT(channels=16, width=48, depth=2, heads=2, ffn=96, action_sizes=(3, 5), chunk=3, action_frames=4)
    z, sigma = jnp.zeros((2, 3, 4, 6, 16)), jnp.zeros((2, 1))
    actions = jnp.zeros((2, 3, 4, 2), jnp.int32)
    params = jax.eval_shape(dit.init, jax.random.key(0), z, sigma, actions)
    counted = traced_flops(dit.apply, params, z, sigma, actions)
    assert counted == pytest.approx(dit_forward(dit, 2, 3, 4, 6), rel=0.01)
    step = jax.grad(lambda p: dit.apply(p, z, sigma, actions)[0].sum())
    assert traced_flops(step, params) == pytest.approx(3 * counted, rel=0.1)


def test_the_compiler_counts_the_same_products():
    compiled = jax.jit(lambda a, b: a @ b).lower(A, B).compile().cost_analysis()
    assert compiled["flops"] == pytest.approx(traced_flops(jnp.matmul, A, B), rel=0.05)
