"""What the tests of training and of methods begin with: the smallest world model that has every part."""

import types

import jax
import numpy as np
import pytest

from prowl_jax.diffusion.forcing import Forcing
from prowl_jax.methods.base import Budget, Shared, Start
from prowl_jax.models.autoencoders.small import Autoencoder
from prowl_jax.models.dit.dit import DiT
from prowl_jax.models.world_model import WorldModel
from prowl_jax.train.world_model import make_loss, split_trainable

SIZES = (3, 5)
FRAME = (16, 16, 3)
BUDGET = Budget(
    context=2, window=4, cycles=1, trajectories=3, warm_up=0, horizon=4, updates=2, batch=4, ema_decay=0.0,
    score_batch=4,
)


def cheap_flow(params, first, second):
    """Optical flow is tested elsewhere; here the change of two colours stands for it."""
    del params
    return (second - first)[..., :2]


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
    """``model``, ``params``, ``forcing``, ``loss``, and ``batch(rows, seed)`` of latents ``[rows, 4, 2, 2, 3]``
    and actions ``[rows, 4, 2]``."""
    dit = DiT(channels=3, width=24, depth=1, heads=2, ffn=32, action_sizes=SIZES, chunk=2, frequency_width=16)
    autoencoder, forcing = Autoencoder(channels=3, widths=(8, 8), blocks=1), Forcing(chunk=2)
    model = WorldModel(dit, autoencoder, sampler_steps=2)
    params = random_params(model.init, FRAME, 4)

    def batch(rows, seed=0):
        rng = np.random.default_rng(seed)
        latents = rng.normal(size=(rows, 4, 2, 2, 3)).astype(np.float32)
        return latents, np.stack([rng.integers(0, n, (rows, 4)) for n in SIZES], -1).astype(np.int32)

    loss = make_loss(model, forcing)
    return types.SimpleNamespace(model=model, params=params, forcing=forcing, loss=loss, batch=batch)


def shared_by(tiny, optimizer, policy=None, budget=BUDGET):
    """The ``Shared`` of the smallest world model."""
    return Shared(tiny.model, FRAME, tiny.loss, optimizer, cheap_flow, budget, policy)


def start_of(tiny, reference=None):
    """The ``Start`` of the smallest world model: its action conditioning is trained."""
    trained, frozen = split_trainable(tiny.model, tiny.params["dit"])
    return Start(trained, tiny.params | {"dit": frozen}, reference)


class Recorded:
    """A ``Source`` of one cycle whose trajectory and demonstrations are known; it writes down who asked to act."""

    def __init__(self, trajectory=None, demonstrations=None):
        self._trajectory, self._demonstrations, self.asked, self.final = trajectory, demonstrations, [], []

    def act(self, params):
        # The state that they are part of is donated.
        self.asked.append(jax.tree.map(lambda x: x if isinstance(x, jax.core.Tracer) else np.array(x), params))
        return self._trajectory

    def policy_is_final(self, params):
        self.final.append(params)

    def demonstrations(self):
        return self._demonstrations
