"""The smallest world model that has every part, for the tests of training."""

import types

import jax
import numpy as np
import pytest

from prowl_jax.diffusion.forcing import Forcing
from prowl_jax.models.autoencoders.small import Autoencoder
from prowl_jax.models.dit.dit import DiT
from prowl_jax.models.world_model import WorldModel

SIZES = (3, 5)


@pytest.fixture(scope="session")
def random_params():
    """``f(init, *arguments) -> params``: what ``init(key, *arguments)`` has, with noise on every leaf.

    A fresh DiT has a zero head, which lets no gradient through. Only shapes are asked of ``init``,
    since compiling it takes longer than the tests.
    """

    def random_params(init, *arguments):
        rng = np.random.default_rng(0)

        def fill(path, leaf):
            noise = rng.normal(size=leaf.shape)
            if jax.tree_util.keystr(path).endswith(("['scale']", "['latent_std']")):
                return np.float32(1.0 + 0.1 * noise)
            return np.float32(noise / np.sqrt(np.prod(leaf.shape[:-1])) if leaf.ndim > 1 else 0.1 * noise)

        shapes = jax.eval_shape(lambda key: init(key, *arguments), jax.random.key(0))
        return jax.tree_util.tree_map_with_path(fill, shapes)

    return random_params


@pytest.fixture(scope="session")
def tiny(random_params):
    """``model``, ``params``, ``forcing``, and ``batch(rows, seed)`` of latents ``[rows, 4, 2, 2, 3]``
    and actions ``[rows, 4, 2]``."""
    dit = DiT(channels=3, width=24, depth=1, heads=2, ffn=32, action_sizes=SIZES, chunk=2, frequency_width=16)
    model = WorldModel(dit, Autoencoder(channels=3, widths=(8, 8), blocks=1), sampler_steps=2)
    params = random_params(model.init, (16, 16, 3), 4)

    def batch(rows, seed=0):
        rng = np.random.default_rng(seed)
        latents = rng.normal(size=(rows, 4, 2, 2, 3)).astype(np.float32)
        return latents, np.stack([rng.integers(0, n, (rows, 4)) for n in SIZES], -1).astype(np.int32)

    return types.SimpleNamespace(model=model, params=params, forcing=Forcing(chunk=2), batch=batch)
