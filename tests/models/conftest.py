"""What the tests of the models share."""

import pathlib
import sys

import jax
import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))  # for vpt_vectors, which is also a script


@pytest.fixture(scope="session")
def random_params():
    """``f(init, *arguments) -> params``: what ``init(key, *arguments)`` has, with noise on every leaf.

    A fresh DiT has a zero head and answers zero to everything, which would hide any leak. Only
    shapes are asked of ``init``, since compiling it takes longer than the tests.
    """

    def random_params(init, *arguments, seed=0):
        rng = np.random.default_rng(seed)

        def fill(path, leaf):
            noise = rng.normal(size=leaf.shape)
            if jax.tree_util.keystr(path).endswith("['scale']"):
                return np.float32(1.0 + 0.3 * noise)
            return np.float32(noise / np.sqrt(np.prod(leaf.shape[:-1])) if leaf.ndim > 1 else 0.3 * noise)

        shapes = jax.eval_shape(lambda key: init(key, *arguments), jax.random.key(0))
        return jax.tree_util.tree_map_with_path(fill, shapes)

    return random_params
