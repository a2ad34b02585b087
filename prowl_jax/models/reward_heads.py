"""What a step is worth and whether it ends the episode, said of two frames and the action between them.

As DIAMOND's reward and termination model (arXiv 2405.12399, appendix D) without its memory: a goal of this project
hangs on two frames and the action (``envs/voxel/goals.py``), and whoever dreams needs a reward for any two frames.
"""

import dataclasses

import chex
import flax.linen as nn
import jax.numpy as jnp

from prowl_jax.models.cpu.convolution import conv
from prowl_jax.models.initial import initial
from prowl_jax.settings import COUNT, setting


class RewardNetwork(nn.Module):
    """Frames uint8 ``[B, H, W, 3]`` before and after, actions int32 ``[B, A]`` -> reward and logit of the end, ``[B]``.

    Attributes:
      sizes: sizes of the action factors. width: channels after the first convolution. hidden: after the last.
    """

    sizes: tuple
    width: int = setting(24, "channels after the first convolution", COUNT)
    hidden: int = setting(128, "width after the last", COUNT)

    @nn.compact
    def __call__(self, before, after, actions):
        chex.assert_rank([before, after, actions], [4, 4, 2])
        before, after = (frames.astype(jnp.float32) / 127.5 - 1.0 for frames in (before, after))
        images = {"conv_general_dilated": conv}
        x = jnp.concatenate([before, after, after - before], axis=-1)
        x = nn.relu(nn.Conv(self.width, (8, 8), (4, 4), name="conv_0", **images)(x))
        x = nn.relu(nn.Conv(2 * self.width, (4, 4), (2, 2), name="conv_1", **images)(x))
        x = nn.LayerNorm(name="norm")(nn.Dense(self.hidden, name="dense")(x.reshape(len(x), -1)))
        for i, size in enumerate(self.sizes):
            x += nn.Embed(size, self.hidden, name=f"action_{i}")(actions[:, i])
        x = nn.relu(nn.Dense(self.hidden, name="hidden")(nn.relu(x)))
        small = nn.initializers.variance_scaling(1e-4, "fan_in", "truncated_normal")
        out = nn.Dense(2, kernel_init=small, name="out")(x)
        return out[:, 0], out[:, 1]


@dataclasses.dataclass(frozen=True)
class RewardHeads:
    """The network as pure functions of explicit parameters; hashable.

    Parameters are ``{"network", "mean", "std"}``: what the network says of a reward is in deviations of those it was
    trained on, so that metres a step and logs a step are learned at one rate.
    """

    network: RewardNetwork

    def init(self, key, frame_shape, mean=0.0, std=1.0):
        """Parameters for frames ``(H, W, 3)`` and rewards of such a mean and deviation."""
        frame, action = jnp.zeros((1, *frame_shape), jnp.uint8), jnp.zeros((1, len(self.network.sizes)), jnp.int32)
        network = initial(self.network, key, frame, frame, action)
        return {"network": network, "mean": jnp.float32(mean), "std": jnp.float32(std)}

    def apply(self, params, before, after, actions):
        """Reward and logit of the end, float ``[B]`` each; frames uint8 ``[B, H, W, 3]``, actions int32 ``[B, A]``."""
        reward, end = self.network.apply({"params": params["network"]}, before, after, actions)
        return params["mean"] + params["std"] * reward, end
