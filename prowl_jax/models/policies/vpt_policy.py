"""VPT's policy (Video PreTraining, arXiv 2206.11795): it acts in Minecraft from pictures alone.

It has the interface of every policy (``policies/small.py``), so the adversary, its reference or both
can be one. Its two factors are VPT's joint button index and joint camera index
(``minecraft.VPT_SPEC``), whose log-probabilities, entropies and divergences add up, also where the
buttons say that the camera rests. Own actions are not among its inputs: ``previous`` is not used.

On a GPU, ask for ``jax.default_matmul_precision("highest")`` where the original's numbers matter: the
default there may round the factors of products (TF32).

Facts: the public code, openai/Video-Pre-Training (MIT), ``lib/policy.py``. It has never met the published weights:
docs/limits.md.
"""

import dataclasses
import pathlib

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from prowl_jax.models.initial import initial
from prowl_jax.models.policies.vpt_frames import resize
from prowl_jax.models.policies.vpt_trunk import Trunk, empty_state
from prowl_jax.rl import value_normaliser

# 2x is the default of the public agent code; 1x and 3x are what others report of the published files.
VPT_SIZES = {
    "1x": dict(channels=(64, 128, 128), hidden=1024, heads=8),
    "2x": dict(channels=(128, 256, 256), hidden=2048, heads=16),
    "3x": dict(channels=(192, 384, 384), hidden=3072, heads=24),
}

SMALL = nn.initializers.variance_scaling(1e-4, "fan_in", "truncated_normal")


class ActionHeads(nn.Module):
    """Latents ``[..., D]`` -> logits of buttons and camera side by side, before the temperature."""

    buttons: int
    camera: int

    @nn.compact
    def __call__(self, latent):
        heads = (("buttons", self.buttons), ("camera", self.camera))
        return jnp.concatenate([nn.Dense(n, kernel_init=SMALL, name=k)(latent) for k, n in heads], axis=-1)


class ValueStatistics(nn.Module):
    """The statistics of ``rl.value_normaliser``, kept among the parameters but not trained."""

    @nn.compact
    def __call__(self):
        shapes = {"running_mean": (1,), "running_mean_sq": (1,), "debiasing_term": ()}
        statistics = {k: self.param(k, nn.initializers.zeros, shape) for k, shape in shapes.items()}
        return jax.lax.stop_gradient(statistics)


class ValueHead(nn.Module):
    """Latents ``[..., D]`` -> values ``[...]`` on the scale of the returns, not the normalised one.

    A loss on these values trains the head; the statistics change only by ``value_normaliser.update``.
    """

    @nn.compact
    def __call__(self, latent):
        normalised = nn.Dense(1, kernel_init=SMALL, name="linear")(latent)
        return value_normaliser.denormalise(ValueStatistics(name="normalizer")(), normalised)[..., 0]


class VPTNetwork(nn.Module):
    """The whole network; call and results as in ``models/policy.py``.

    Attributes:
      channels, hidden, heads, blocks, kept: see ``vpt_trunk.Trunk``.
      buttons, camera: number of joint button combinations and of joint camera movements.
      temperature: what the logits are divided by.
      image: side of the square that frames are squeezed to, in pixels; each stack of the CNN halves it.
    """

    channels: tuple
    hidden: int
    heads: int
    blocks: int = 4
    kept: int = 128
    buttons: int = 8641
    camera: int = 121
    temperature: float = 2.0
    image: int = 128

    def setup(self):
        self.net = Trunk(self.channels, self.hidden, self.heads, self.blocks, self.kept)
        self.pi_head = ActionHeads(self.buttons, self.camera)
        self.value_head = ValueHead()

    def __call__(self, state, frames, first):
        chex.assert_rank([frames, first], [5, 2])
        latent, state = self.net(resize(frames, self.image) / 255.0, state, first)
        return self.pi_head(latent) / self.temperature, self.value_head(latent), state


@dataclasses.dataclass(frozen=True)
class VPTPolicy:
    """VPT as pure functions of explicit parameters and state, as ``policy.Policy``; hashable."""

    network: VPTNetwork

    @property
    def sizes(self):
        """Sizes of the action factors: buttons, camera."""
        return (self.network.buttons, self.network.camera)

    def init(self, key, frame_shape):
        """Fresh parameters; frames of any ``frame_shape`` (H, W, 3) fit. Published ones: ``convert``."""
        frames = jnp.zeros((1, 1, *frame_shape), jnp.uint8)
        return initial(self.network, key, self.initial_state(1), frames, jnp.ones((1, 1), bool))

    def initial_state(self, batch):
        """The memory of ``batch`` episodes that have not begun."""
        n = self.network
        return empty_state(batch, blocks=n.blocks, kept=n.kept, hidden=n.hidden)

    def apply(self, params, state, frames, previous, first):
        """``logits [B, T, buttons + camera], value [B, T], state``; see ``models/policy.py``."""
        del previous
        return self.network.apply({"params": params}, state, frames, first)

    def with_fresh_value(self, params):
        """Parameters whose value is 0 everywhere, its statistics included; see ``models/policy.py``."""
        return {**params, "value_head": jax.tree.map(jnp.zeros_like, params["value_head"])}


def named_size(path):
    """The width in a file's name, as in ``foundation-model-2x.safetensors``; "2x" where it has none."""
    return next((name for name in VPT_SIZES if name in pathlib.PurePath(path).name), "2x")


def vpt_size(name):
    """Keyword arguments of ``VPTNetwork`` for a published width; ValueError lists them."""
    if name not in VPT_SIZES:
        raise ValueError(f"no VPT size {name!r}; there are {', '.join(VPT_SIZES)}")
    return dict(VPT_SIZES[name])
