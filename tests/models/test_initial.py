"""Parameters as they begin, by one program."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from prowl_jax.models.initial import initial

TRACED = []


class Network(nn.Module):
    """Two layers, and a note of every time that they are traced."""

    width: int

    @nn.compact
    def __call__(self, x):
        TRACED.append(self.width)
        return nn.Dense(1)(nn.relu(nn.Dense(self.width)(x)))


def test_they_are_flax_s_own_and_a_network_is_traced_once():
    key, x = jax.random.key(3), jnp.zeros((2, 5))
    expected = Network(4).init(key, x)["params"]
    TRACED.clear()
    first, again = initial(Network(4), key, x), initial(Network(4), jax.random.key(4), x)
    other = initial(Network(3), key, x)
    assert TRACED == [4, 3], "equal networks share a program, and another key needs no other"
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), first, expected)
    assert not np.array_equal(first["Dense_0"]["kernel"], again["Dense_0"]["kernel"])
    assert other["Dense_1"]["kernel"].shape == (5, 3)
