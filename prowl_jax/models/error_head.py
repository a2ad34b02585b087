"""How wrong a dream is, place by place, said by a small network that sees no reality.

The world model stays as it is; beside it a head looks at two neighbouring latents of a dream, the action between them
and how long ago the context was, and says b, the mean absolute error of the later latent at each place of its grid
(a patch of the picture). It is trained by the likelihood of a Laplace distribution of that scale (``train.error_head``;
heteroscedastic uncertainty, Kendall and Gal, arXiv 1703.04977), a proper score of b (Gneiting and Raftery, JASA 2007):
who says anything but the expected error is worse off. What lies beyond what it was trained on it may get wrong, as any
network may; ``experiments.uncertainty`` measures both.
"""

import dataclasses

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from prowl_jax.models.cpu.convolution import conv
from prowl_jax.models.initial import initial
from prowl_jax.settings import COUNT, POSITIVE, check, setting

ZEROS = nn.initializers.zeros


class ErrorNetwork(nn.Module):
    """Latents ``[B, h, w, C]`` before and after, int32 ``[B, A]``, age ``[B]`` -> float ``[B, h, w]``."""

    action_sizes: tuple
    width: int

    @nn.compact
    def __call__(self, before, after, actions, age):
        chex.assert_rank([before, after, actions, age], [4, 4, 2, 1])
        images = {"conv_general_dilated": conv}
        told = nn.Dense(self.width, name="age")(jnp.log(age.astype(jnp.float32))[:, None])
        for i, size in enumerate(self.action_sizes):
            told += nn.Embed(size, self.width, name=f"action_{i}")(actions[:, i])
        x = jnp.concatenate([before, after, jnp.abs(after - before)], axis=-1)
        x = nn.Conv(self.width, (3, 3), name="conv_0", **images)(x) + told[:, None, None]
        x = x + nn.Conv(self.width, (3, 3), name="conv_1", **images)(nn.silu(x))
        x = x + nn.Conv(self.width, (3, 3), name="conv_2", **images)(nn.silu(nn.LayerNorm(name="norm")(x)))
        return nn.Dense(1, kernel_init=ZEROS, name="out")(nn.silu(x))[..., 0]


@dataclasses.dataclass(frozen=True)
class ErrorHead:
    """The head as pure functions of explicit parameters, and how it is trained; hashable.

    Parameters are ``{"network", "typical"}``: the network says by how much log b differs from log of a typical error.

    Attributes:
      action_sizes: sizes of the action factors. width: of its convolutions.
      steps, batch, learning_rate: of its training on dreams of demonstrations; cycle_steps: of each cycle of phase 2,
        on what the buffer holds.
    """

    action_sizes: tuple
    width: int = setting(32, "channels of its convolutions", COUNT)
    steps: int = setting(300, "updates on dreams of demonstrations, before the first cycle", COUNT)
    cycle_steps: int = setting(8, "updates on dreams of the buffer, each cycle", COUNT)
    batch: int = setting(16, "dreams of an update", COUNT)
    learning_rate: float = setting(1e-3, "of Adam", POSITIVE)

    def __post_init__(self):
        check(self)

    @property
    def network(self):
        """The ``ErrorNetwork``."""
        return ErrorNetwork(self.action_sizes, self.width)

    def init(self, key, latent_shape, typical=1.0):
        """Parameters for latents ``(h, w, C)`` whose errors are about ``typical`` deviations."""
        latents, actions = jnp.zeros((1, *latent_shape)), jnp.zeros((1, len(self.action_sizes)), jnp.int32)
        network = initial(self.network, key, latents, latents, actions, jnp.ones(1))
        return {"network": network, "typical": jnp.log(jnp.maximum(jnp.float32(typical), 1e-6))}

    def log_scale(self, params, context, latents, actions, first=1):
        """log b of every place of every dreamt latent, float ``[B, L', h, w]``; b in deviations of the latents.

        Args:
          context: ``[B, S, h, w, C]``; its last latent is what the first of the dream followed.
          latents: ``[B, L', h, w, C]``, the dream. actions: int32 ``[B, T, A]`` from the context's first frame on.
          first: how old the dream is with the first of them, 1 or more.

        Raises:
          ValueError: latents that are not one a frame.
        """
        seen, steps = context.shape[1], latents.shape[1]
        if actions.shape[1] < seen + steps - 1:
            raise ValueError(f"{actions.shape[1]} actions of {seen} + {steps} latents: one a frame is needed")
        before = jnp.concatenate([context[:, -1:], latents[:, :-1]], axis=1)
        led = actions[:, seen - 1 : seen - 1 + steps]
        age = jnp.broadcast_to(first + jnp.arange(steps), (len(latents), steps))
        rows = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), (before, latents, led, age))
        said = params["typical"] + self.network.apply({"params": params["network"]}, *rows)
        return said.reshape(len(latents), steps, *said.shape[1:])
