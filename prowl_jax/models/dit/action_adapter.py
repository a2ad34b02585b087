"""Actions as tokens for the world model's cross-attention, and which latent sees which action.

PROWL conditions Wan2.1 through a "UMT5 action-text adapter"; what the adapter is made of is not
published. Here every factor of an action is embedded and becomes a token through a two-layer MLP, which
is Wan's text embedder. The embedding is learned, or it is that of the factor's words
(``action_text.ActionText``).
"""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from prowl_jax.models.cpu.dense import Dense

UNKNOWN = -1


def actions_of_latents(actions, stride=1):
    """The actions that led to each latent.

    ``actions[t]`` leads from frame t to t+1. Latent 0 shows frame 0 alone, and what led to it is
    unknown; latent k >= 1 shows frames ``stride (k-1) + 1 .. stride k`` and gets actions
    ``stride (k-1) .. stride k - 1`` (methods of Wan's causal VAE: stride 4; ours: 1).

    Args:
      actions: int32 ``[B, T, A]`` with ``T = 1 + stride (L - 1)``.
      stride: pixel frames per latent.

    Returns:
      int32 ``[B, L, stride, A]``, ``UNKNOWN`` for latent 0.
    """
    chex.assert_rank(actions, 3)
    batch, time, factors = actions.shape
    if (time - 1) % stride:
        raise ValueError(f"{time} frames are not 1 + a multiple of the stride {stride}")
    led_to = actions[:, : time - 1].reshape(batch, (time - 1) // stride, stride, factors)
    return jnp.concatenate([jnp.full((batch, 1, stride, factors), UNKNOWN, actions.dtype), led_to], axis=1)


def _ordered(rows):
    """Initial embeddings in which neighbouring values of a factor are neighbours.

    Camera bins are degrees in order; a table that starts so needs to learn one direction before
    it can tell all bins apart, where independent rows would need one for every bin.
    """

    def init(key, shape, dtype=jnp.float32):
        noise_key, *keys = jax.random.split(key, len(rows) + 1)
        parts = []
        for factor_key, n in zip(keys, rows, strict=True):
            centre, direction = jax.random.normal(factor_key, (2, 1, shape[1]), dtype)
            parts.append(centre + 2.0 * jnp.linspace(-1.0, 1.0, n)[:, None] * direction)
        return jnp.concatenate(parts) + 0.3 * jax.random.normal(noise_key, shape, dtype)

    return init


class ActionAdapter(nn.Module):
    """Action factors int ``[B, L, M, A]``, or text ``[B, L, M, N, E]``, -> tokens ``[B, L, M A or M N, D]``.

    Attributes:
      sizes: number of values of each factor. One more row of each table stands for UNKNOWN.
      width: D.
      frames: M, pixel frames per latent; each has a position embedding where there are several.
      text_width: E, where the actions come as embeddings of text, UMT5's 4096; 0 where they come as
        factors and are embedded here.
    """

    sizes: tuple
    width: int
    frames: int = 1
    dtype: jnp.dtype = jnp.float32
    text_width: int = 0

    @nn.compact
    def __call__(self, actions):
        chex.assert_axis_dimension(actions, 2, self.frames)
        if self.text_width:
            chex.assert_shape(actions, (None, None, None, None, self.text_width))
            embedded, start = actions, nn.initializers.zeros  # so that Wan's own weights start with what they know
        else:
            chex.assert_axis_dimension(actions, 3, len(self.sizes))
            rows = tuple(size + 1 for size in self.sizes)
            offsets = jnp.cumsum(jnp.array((0,) + rows[:-1]))
            table = self.param("embedding", _ordered(rows), (sum(rows), self.width))
            embedded, start = table[actions + 1 + offsets], nn.initializers.normal(1.0)
        tokens = embedded.astype(self.dtype)
        if self.frames > 1:
            position = self.param("frame", start, (self.frames, 1, tokens.shape[-1]))
            tokens = tokens + position.astype(self.dtype)
        tokens = Dense(self.width, dtype=self.dtype, name="linear_1")(tokens)
        tokens = Dense(self.width, dtype=self.dtype, name="linear_2")(nn.gelu(tokens))
        return tokens.reshape(*actions.shape[:2], -1, self.width)
