"""The smallest dreams: a network with noise for weights, pictures of noise, and heads that end them now and then."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from prowl_jax.actions import ActionSpec, choice
from prowl_jax.envs.dream import DreamEnv
from prowl_jax.models.unet.unet import UNet
from prowl_jax.models.unet.world_model import UNetWorldModel

SPEC = ActionSpec((choice("move", "forward", "back"), choice("use", "use")))
FRAME = (16, 16, 3)
MODEL = UNetWorldModel(UNet(SPEC.sizes, widths=(8,), blocks=(1,), width=8, attention=False, motion=False))


@dataclasses.dataclass(frozen=True)
class Heads:
    """The reward is how bright the frame became; a dream ends with the chance ``end``."""

    end: float = 0.1

    def apply(self, params, before, after, actions):
        change = after.astype(jnp.float32).mean((1, 2, 3)) - before.astype(jnp.float32).mean((1, 2, 3))
        return params * change, jnp.full(len(actions), np.log(self.end / (1 - self.end)), jnp.float32)


def make_dreams(steps=12, contexts=64, temperature=1.0, heads=Heads(), model=MODEL):
    """A ``DreamEnv``. Weights that begin at 0 are given noise, or every action would lead to the same."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), FRAME))
    params = jax.tree.map(lambda x: jnp.asarray(0.3 * rng.normal(size=x.shape), x.dtype), shapes)
    params |= {"latent_mean": jnp.array(model.autoencoder.latent_mean)}
    params |= {"latent_std": jnp.array(model.autoencoder.latent_std)}
    frames = rng.integers(0, 256, (contexts, model.context, *FRAME)).astype(np.uint8)
    actions = rng.integers(0, np.array(SPEC.sizes), (contexts, model.context, 2)).astype(np.int32)
    latents = model.encode(params, jnp.asarray(frames))
    return DreamEnv(
        params, jnp.float32(2.0), latents, jnp.asarray(actions), jnp.float32(temperature), model, heads, SPEC, FRAME,
        steps,
    ), frames  # fmt: skip
