"""A small inverse dynamics model: which action led from one frame to the next, the future being known.

The judge of ``metrics/action_recovery.py`` where VPT's (``vpt_idm.py``) is not at hand or the actions are
not Minecraft's. As there (arXiv 2206.11795, section 3.1) it sees frames on both sides of a step; here a
few of them and the optical flow between neighbours, through convolutions over all of them at once.
With the frames alone a network of this size was slow to learn which way things move.
"""

import dataclasses

import chex
import flax.linen as nn
import jax.numpy as jnp

from prowl_jax.metrics.action_follow import flow_of_frames
from prowl_jax.metrics.optical_flow import optical_flow
from prowl_jax.models.cpu.convolution import conv
from prowl_jax.models.initial import initial
from prowl_jax.settings import COUNT, LARGEST, Check, setting

EVEN = Check(lambda v: 2 <= v <= LARGEST and v % 2 == 0, "is not an even number of at least 2 frames")


class InverseDynamicsNetwork(nn.Module):
    """Frames uint8 ``[B, T, H, W, 3]`` -> logits ``[B, T - 1, sum(sizes)]`` and features ``[B, T - 1, F]``.

    Attributes:
      sizes: sizes of the action factors. window: frames that a decision sees, even: half of them before
        the step, half after it; outside of the clip its first and last frame stand still.
      width: channels after the first convolution. features: F, of one step's summary. hidden: after it.
    """

    sizes: tuple
    window: int = setting(4, "frames that it sees around a step", EVEN)
    width: int = setting(32, "channels after the first convolution", COUNT)
    features: int = setting(64, "width of one step's summary", COUNT)
    hidden: int = setting(128, "width after it", COUNT)

    @nn.compact
    def __call__(self, frames):
        chex.assert_rank(frames, 5)
        if self.window < 2 or self.window % 2:
            raise ValueError(f"the window must be even and at least 2, not {self.window}")
        batch, steps = frames.shape[0], frames.shape[1] - 1
        frames = frames.astype(jnp.float32) / 255.0
        outside = self.window // 2 - 1
        beyond = ((0, 0), (outside, outside), (0, 0), (0, 0), (0, 0))
        flow = jnp.pad(jnp.tanh(flow_of_frames(frames, optical_flow) / 4.0), beyond)
        frames = jnp.pad(2.0 * frames - 1.0, beyond, mode="edge")
        seen = [frames[:, i : i + steps] for i in range(self.window)]
        moved = [flow[:, i : i + steps] for i in range(self.window - 1)]
        x = jnp.concatenate([*seen, *moved], axis=-1)
        x = x.reshape(batch * steps, *x.shape[2:])
        images = {"conv_general_dilated": conv}
        x = nn.relu(nn.Conv(self.width, (8, 8), (4, 4), name="conv_0", **images)(x))
        x = nn.relu(nn.Conv(2 * self.width, (4, 4), (2, 2), name="conv_1", **images)(x))
        x = nn.relu(nn.Conv(2 * self.width, (3, 3), (1, 1), name="conv_2", **images)(x))
        x = nn.LayerNorm(name="norm")(nn.Dense(self.features, name="dense")(x.reshape(batch * steps, -1)))
        features = x.reshape(batch, steps, self.features)
        h = nn.relu(nn.Dense(self.hidden, name="hidden_0")(nn.relu(features)))
        small = nn.initializers.variance_scaling(1e-4, "fan_in", "truncated_normal")
        return nn.Dense(sum(self.sizes), kernel_init=small, name="logits")(h), features


@dataclasses.dataclass(frozen=True)
class InverseDynamics:
    """The model as pure functions of explicit parameters; hashable."""

    network: InverseDynamicsNetwork

    @property
    def sizes(self):
        """Sizes of the action factors, for ``rl.categorical``."""
        return self.network.sizes

    def init(self, key, frame_shape):
        """Parameters for frames of ``frame_shape`` (H, W, 3)."""
        return initial(self.network, key, jnp.zeros((1, 2, *frame_shape), jnp.uint8))

    def apply(self, params, frames):
        """Frames uint8 ``[B, T, H, W, 3]``, T at least 2 -> logits ``[B, T - 1, sum(sizes)]``.

        ``categorical.mode(logits, sizes)`` is the prediction of ``actions[:, :-1]``.
        """
        return self.network.apply({"params": params}, frames)[0]

    def features(self, params, frames):
        """What the model makes of each step before it decides: float ``[B, T - 1, F]``."""
        return self.network.apply({"params": params}, frames)[1]
