"""The most that stands at once in small programs, counted by hand in arrays of 100 numbers of 4 bytes."""

import functools

import jax
import jax.numpy as jnp
import pytest

from experiments.planning.traced_memory import traced_peak

X = jax.ShapeDtypeStruct((10, 10), jnp.float32)
ONE = 400


def chain(x, n):
    for _ in range(n):
        x = jnp.sin(x)
    return x


def wide(x):
    a, b, c = jnp.sin(x), jnp.cos(x), jnp.tan(x)
    return a + b + c


@pytest.mark.parametrize(
    ("function", "arrays"),
    [
        (lambda x: x, 0),
        (lambda x: chain(x, 1), 1),
        (lambda x: chain(x, 9), 2),  # one goes as the next but one comes
        (jax.jit(lambda x: chain(x, 9)), 3),  # the result stands outside as two do within
        (wide, 4),  # a sum stands before its terms are gone
        (lambda x: (chain(x, 3), chain(x, 3)), 3),
        (lambda x: jax.lax.scan(lambda c, _: (chain(c, 3), c), x, None, length=5)[1], 6 + 2),
        (lambda x: jax.lax.cond(x[0, 0] > 0, wide, jnp.sin, x), 1 + 4),
    ],
)
def test_by_hand(function, arrays):
    small = 32  # scalars
    assert 0 <= traced_peak(function, X) - ONE * arrays <= small


def test_what_is_recomputed_does_not_stand_from_the_forward_pass_on():
    """Of six layers each keeps three cosines or, recomputed, its input."""

    def gradient(layer):
        return jax.grad(lambda x: sum_of(layer, x))

    def sum_of(layer, x):
        for _ in range(6):
            x = layer(x)
        return x.sum()

    layer = functools.partial(chain, n=3)
    plain, again = (traced_peak(gradient(f), X) / ONE for f in (layer, jax.checkpoint(layer)))
    assert plain == pytest.approx(18, abs=3)
    assert again == pytest.approx(5 + 3, abs=3)


def test_sizes_are_those_of_the_caller():
    assert traced_peak(lambda x: chain(x, 1), X, size=lambda aval: aval.size // 50) == 2
