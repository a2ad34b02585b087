"""One switch turns everything that is written for CPUs into JAX's own, and the values stay."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prowl_jax.models import cpu
from prowl_jax.models.cpu.convolution import conv
from prowl_jax.models.cpu.dense import Dense
from prowl_jax.models.cpu.softmax import softmax_attention

rng = np.random.default_rng(0)
NHWC = ("NHWC", "HWIO", "NHWC")
MASK = jnp.tril(jnp.ones((5, 5), bool))
CASES = {
    "dense": (lambda x, k: Dense(6).apply({"params": {"kernel": k, "bias": jnp.zeros(6)}}, x), ((2, 3, 4), (4, 6))),
    "convolution": (lambda x, k: conv(x, k, (2, 2), "SAME", dimension_numbers=NHWC), ((2, 8, 8, 3), (4, 4, 3, 5))),
    "softmax": (lambda q, k: softmax_attention(q, k, k, MASK), ((2, 5, 2, 4), (2, 5, 2, 4))),
}


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_jaxs_own_and_the_programs_differ(name, monkeypatch):
    function, shapes = CASES[name]
    arguments = [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes]
    found, programs = [], []
    for tuned in (True, False):
        monkeypatch.setattr(cpu, "tuned", lambda tuned=tuned: tuned)
        gradient = jax.grad(lambda *a: (function(*a) ** 2).sum(), (0, 1))
        found.append([function(*arguments), *gradient(*arguments)])
        programs.append(str(jax.make_jaxpr(gradient)(*arguments)))
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    assert programs[0] != programs[1]
