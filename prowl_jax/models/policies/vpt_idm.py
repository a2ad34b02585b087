"""VPT's inverse dynamics model: which keys and which camera movement led from frame to frame.

It sees a whole clip at once, the future included (arXiv 2206.11795, section 3.1), and is trained on
what people did. ``python -m experiments.label_videos`` gives videos their actions by it.

Facts: the public code, openai/Video-Pre-Training (MIT), ``lib/policy.py``. Apart from the convolution
over time the model does not know the order of frames. It has never met the published weights: docs/limits.md.
"""

import dataclasses

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from prowl_jax import minecraft
from prowl_jax.models.initial import initial
from prowl_jax.models.policies.vpt_frames import resize
from prowl_jax.models.policies.vpt_policy import ActionHeads
from prowl_jax.models.policies.vpt_trunk import Trunk, empty_state
from prowl_jax.rl import categorical

KEYS, CAMERA_AXES = 20, 2

# The one published width; it is meant for clips of 128 frames.
IDM_SIZES = {"4x": dict(channels=(256, 512, 512), hidden=4096, heads=32, time_channels=128)}


class IDMNetwork(nn.Module):
    """Frames uint8 ``[B, T, H, W, 3]`` -> logits ``[B, T, 40 + 22]``.

    Attributes:
      channels, hidden, heads, blocks: see ``vpt_trunk.Trunk``.
      time_channels: of the convolution over five frames before the CNN.
      bins: of each camera axis.
      temperature: what the logits are divided by. image: side of the square frames are squeezed to.
      use_lastlayer: False as in the public code, which computes that layer and throws it away (openai/
        Video-Pre-Training issue 53). Every published figure was presumably obtained so.
    """

    channels: tuple
    hidden: int
    heads: int
    time_channels: int
    blocks: int = 2
    bins: int = 11
    temperature: float = 4.0
    image: int = 128
    use_lastlayer: bool = False

    @nn.compact
    def __call__(self, frames):
        chex.assert_rank(frames, 5)
        # Two empty frames at both ends of the clip.
        over_time = nn.Conv(self.time_channels, (5, 1, 1), padding=((2, 2), (0, 0), (0, 0)), name="conv3d_layer")
        pictures = nn.relu(over_time(resize(frames, self.image) / 255.0))
        trunk = Trunk(
            self.channels, self.hidden, self.heads, self.blocks, kept=0,
            first_norm=True, use_lastlayer=self.use_lastlayer, name="net",
        )  # fmt: skip
        state = empty_state(frames.shape[0], blocks=self.blocks, kept=0, hidden=self.hidden)
        latent, _ = trunk(pictures, state, jnp.zeros(frames.shape[:2], bool))
        return ActionHeads(2 * KEYS, CAMERA_AXES * self.bins, name="pi_head")(latent) / self.temperature


@dataclasses.dataclass(frozen=True)
class VPTInverseDynamics:
    """The model as a pure function of explicit parameters; hashable."""

    network: IDMNetwork

    @property
    def sizes(self):
        """Sizes of its factors, for ``rl.categorical``: 20 keys in the order of
        ``minecraft.VPT_KEYS``, up or down, then the bins of pitch and of yaw."""
        return (2,) * KEYS + (self.network.bins,) * CAMERA_AXES

    def init(self, key):
        """Fresh parameters. Published ones: ``convert``."""
        side = self.network.image
        return initial(self.network, key, jnp.zeros((1, 1, side, side, 3), jnp.uint8))

    def apply(self, params, frames):
        """Frames uint8 ``[B, T, H, W, 3]`` of one clip -> logits ``[B, T, sum(sizes)]``.

        ``categorical.mode(logits, sizes)`` is the prediction, int32 ``[B, T, 22]``: ``[..., :20]`` and
        ``[..., 20:]`` are the keys and bins that ``minecraft.vpt_to_minerl`` takes.
        """
        return self.network.apply({"params": params}, frames)


@dataclasses.dataclass(frozen=True)
class MinecraftJudge:
    """VPT's model asked in the factors of ``minecraft.SPEC``, as an ``InverseDynamics`` is; hashable.

    The keys that it does not know, swapHands and pickItem, are never read. It has one answer and no doubt.
    """

    model: VPTInverseDynamics

    @property
    def sizes(self):
        """Sizes of Minecraft's factors."""
        return minecraft.SPEC.sizes

    def init(self, key, frame_shape):
        """Fresh parameters; its frames are squeezed, so that their shape does not matter."""
        del frame_shape
        return self.model.init(key)

    def apply(self, params, frames):
        """Frames uint8 ``[B, T, H, W, 3]`` -> logits ``[B, T - 1, sum(sizes)]``: 1 of what is read, 0 of the rest.

        What VPT's model says of the last frame is dropped: nothing follows it.
        """
        read = categorical.mode(self.model.apply(params, frames), self.model.sizes)[:, :-1]
        factors = minecraft.minerl_to_factors(minecraft.vpt_to_minerl(read[..., :KEYS], read[..., KEYS:]))
        one_hot = [jax.nn.one_hot(factors[..., i], size) for i, size in enumerate(self.sizes)]
        return jnp.concatenate(one_hot, axis=-1)


def idm_size(name):
    """Keyword arguments of ``IDMNetwork`` for a published width; ValueError lists them."""
    if name not in IDM_SIZES:
        raise ValueError(f"no VPT inverse dynamics size {name!r}; there are {', '.join(IDM_SIZES)}")
    return dict(IDM_SIZES[name])
