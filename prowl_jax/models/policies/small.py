"""The small policy: a convolutional encoder and a short memory of frames and own actions.

Interface shared by every policy (the VPT network keeps it too):

  initial_state(batch) -> state                      what is remembered between calls
  apply(params, state, frames, previous, first) -> (logits, value, state)
  with_fresh_value(params) -> params                  the same policy, its value head as if untrained

over sequences: frames uint8 ``[B, T, H, W, 3]``, previous int32 ``[B, T, A]`` (the action that
led to each frame, -1 where unknown), first bool ``[B, T]`` (the memory is cleared before that
frame); logits float ``[B, T, sum(sizes)]``, value float ``[B, T]`` on the scale of the returns.
Acting is the same call with T = 1, and gives the same numbers as one long call.
"""

import dataclasses

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from prowl_jax.models.cpu.convolution import conv
from prowl_jax.models.initial import initial
from prowl_jax.settings import COUNT, setting
from prowl_jax.types import pytree


@pytree
class PolicyState:
    """What the small policy remembers: the last ``memory - 1`` steps, oldest first.

    Attributes:
      features: float ``[B, memory - 1, F]``, each frame's features and the embedding of the
        action that led to it.
      known: bool ``[B, memory - 1]``, False where the episode had not begun.
    """

    features: jax.Array
    known: jax.Array


class PolicyNetwork(nn.Module):
    """Logits of all action factors side by side, and a value.

    Attributes:
      sizes: sizes of the action factors. features: width F of one step's summary.
      memory: steps a decision sees, itself included. hidden: width after the memory.
    """

    sizes: tuple
    features: int = setting(128, "width of one step's summary", COUNT)
    memory: int = setting(4, "steps that a decision sees", COUNT)
    hidden: int = setting(256, "width after the memory", COUNT)

    @nn.compact
    def __call__(self, state, frames, previous, first):
        chex.assert_rank([frames, previous, first], [5, 3, 2])
        batch, time = frames.shape[:2]
        x = frames.reshape(batch * time, *frames.shape[2:]).astype(jnp.float32) / 127.5 - 1.0
        images = {"conv_general_dilated": conv}
        x = nn.relu(nn.Conv(24, (8, 8), (4, 4), name="conv_0", **images)(x))
        x = nn.relu(nn.Conv(48, (4, 4), (2, 2), name="conv_1", **images)(x))
        x = nn.relu(nn.Conv(48, (3, 3), (1, 1), name="conv_2", **images)(x))
        x = nn.LayerNorm(name="norm")(nn.Dense(self.features, name="dense")(x.reshape(batch * time, -1)))
        led_to = jnp.where(first[..., None], -1, previous)  # -1, unknown, is all zeros below
        led_to = [jax.nn.one_hot(led_to[..., i], size) for i, size in enumerate(self.sizes)]
        led_by = nn.Dense(self.features, use_bias=False, name="previous")(jnp.concatenate(led_to, -1))
        steps = x.reshape(batch, time, -1) + led_by

        past = jnp.concatenate([state.features, steps], axis=1)
        known = jnp.concatenate([state.known, jnp.ones((batch, time), bool)], axis=1)
        kept = self.memory - 1
        episode = jnp.cumsum(jnp.concatenate([jnp.zeros((batch, kept), int), first.astype(int)], 1), 1)
        window = []
        for lag in range(self.memory):
            at = slice(kept - lag, kept - lag + time)
            visible = known[:, at] & (episode[:, at] == episode[:, kept:])
            window.append(past[:, at] * visible[..., None])
        h = nn.relu(nn.Dense(self.hidden, name="hidden_0")(jnp.concatenate(window, axis=-1)))
        h = nn.relu(nn.Dense(self.hidden, name="hidden_1")(h))
        small = nn.initializers.variance_scaling(1e-4, "fan_in", "truncated_normal")
        logits = nn.Dense(sum(self.sizes), kernel_init=small, name="logits")(h)
        value = nn.Dense(1, kernel_init=small, name="value")(h)[..., 0]
        same = episode[:, time:] == episode[:, -1:]
        return logits, value, PolicyState(past[:, time:], known[:, time:] & same)


@dataclasses.dataclass(frozen=True)
class Policy:
    """A policy as pure functions of explicit parameters and state; hashable, so jit can close over it."""

    network: PolicyNetwork

    @property
    def sizes(self):
        """Sizes of the action factors."""
        return self.network.sizes

    def init(self, key, frame_shape):
        """Parameters for frames of ``frame_shape`` (H, W, 3)."""
        frames = jnp.zeros((1, 1, *frame_shape), jnp.uint8)
        previous = jnp.zeros((1, 1, len(self.sizes)), jnp.int32)
        first = jnp.ones((1, 1), bool)
        return initial(self.network, key, self.initial_state(1), frames, previous, first)

    def initial_state(self, batch):
        """The memory of ``batch`` episodes that have not begun."""
        kept = self.network.memory - 1
        return PolicyState(
            jnp.zeros((batch, kept, self.network.features)), jnp.zeros((batch, kept), bool)
        )

    def apply(self, params, state, frames, previous, first):
        """``logits [B, T, sum(sizes)], value [B, T], state``; see the module's docstring."""
        return self.network.apply({"params": params}, state, frames, previous, first)

    def with_fresh_value(self, params):
        """Parameters whose value is 0 everywhere, for a reference that was cloned and not rewarded."""
        return {**params, "value": jax.tree.map(jnp.zeros_like, params["value"])}
