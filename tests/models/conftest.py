"""What the tests of the models share."""

import jax
import numpy as np
import pytest


@pytest.fixture(scope="session")
def randomise():
    """``f(params, seed=0) -> params`` with noise on every leaf, zero-initialised ones included.

    A fresh DiT has a zero head and answers zero to everything, which would hide any leak.
    """

    def randomise(params, seed=0):
        rng = np.random.default_rng(seed)
        return jax.tree.map(lambda x: np.asarray(x + 0.3 * rng.normal(size=x.shape), np.float32), params)

    return randomise
