"""The latent diffusion transformer: Wan2.1's block at every size, causal over chunks.

Block (Wan2.1; modulation per latent, from the noise level of its chunk):

  x += gate1 * SelfAttention(LN(x) (1 + scale1) + shift1)     3-D RoPE, causal over chunks
  x += CrossAttention(LN_affine(x), action tokens)            a latent sees its own actions only
  x += gate2 * FFN(LN(x) (1 + scale2) + shift2)

Norms, modulation and the sums into ``x`` are in float32 whatever ``dtype`` the products have.
Phase 2 of PROWL trains only ``cross_attention``, ``cross_norm`` and ``action_adapter``.
"""

import chex
import flax.linen as nn
import jax.numpy as jnp

from prowl_jax.diffusion import forcing
from prowl_jax.models.cpu.dense import Dense
from prowl_jax.models.dit.action_adapter import ActionAdapter
from prowl_jax.models.dit.attention import ATTENTION_KINDS, QKVAttention, apply_rope, rope_angles, rope_split
from prowl_jax.settings import COUNT, POSITIVE, one_of, setting

LOW_RANK = ("self_attention", "cross_attention"), ("action_adapter",)
"""Path components of the matrices that LoRA adds to, and of what it trains whole beside them."""

ACTION_CONDITIONING = ("cross_attention", "cross_norm", "action_adapter")
"""Path components of the parameters that phase 2 trains (PROWL section 3.2)."""


def _layer_norm(affine, name=None):
    return nn.LayerNorm(epsilon=1e-6, use_scale=affine, use_bias=affine, dtype=jnp.float32, name=name)


def sinusoid(t, width):
    """Wan's sinusoidal embedding, cosines first: ``t [...]`` in 0..1000 -> ``[..., width]``."""
    frequency = 10000.0 ** (-jnp.arange(width // 2) / (width // 2))
    angle = t[..., None] * frequency
    return jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], axis=-1)


def modulate(x, shift, scale, latents):
    """``LN``-ed tokens ``x [B, L N, D]`` shifted and scaled per latent ``[B, L, D]``."""
    per_latent = x.reshape(x.shape[0], latents, -1, x.shape[-1])
    return (per_latent * (1.0 + scale[:, :, None]) + shift[:, :, None]).reshape(x.shape)


class Block(nn.Module):
    """One transformer block, as at the module's head. ``causal``: a chunk's tokens; 0: a mask says what is seen."""

    width: int
    heads: int
    ffn: int
    attention: str = "einsum"
    dtype: jnp.dtype = jnp.float32
    causal: int = 0

    @nn.compact
    def __call__(self, x, modulation, action_tokens, rope, mask, memory):
        batch, latents = modulation.shape[:2]
        table = self.param("modulation", nn.initializers.normal(self.width**-0.5), (6, self.width))
        shift1, scale1, gate1, shift2, scale2, gate2 = jnp.moveaxis(table + modulation, 2, 0)

        def add_gated(x, update, gate):
            update = update.reshape(batch, latents, -1, self.width) * gate[:, :, None]
            return (x + update.reshape(x.shape)).astype(x.dtype)

        attention = QKVAttention(self.width, self.heads, self.attention, self.dtype, name="self_attention")
        normed = modulate(_layer_norm(False)(x), shift1, scale1, latents)
        key, value = attention.project_key_value(normed)
        query, key = apply_rope(attention.project_query(normed), *rope), apply_rope(key, *rope)
        own = (key, value)
        if memory is not None:
            key = jnp.concatenate([memory[0], key], axis=1)
            value = jnp.concatenate([memory[1], value], axis=1)
        x = add_gated(x, attention.combine(query, key, value, mask, self.causal), gate1)

        cross = QKVAttention(self.width, self.heads, "einsum", self.dtype, name="cross_attention")
        per_latent = _layer_norm(True, "cross_norm")(x).reshape(batch * latents, -1, self.width)
        tokens = action_tokens.reshape(batch * latents, -1, self.width)
        update = cross.combine(cross.project_query(per_latent), *cross.project_key_value(tokens))
        x = x + update.reshape(x.shape)

        normed = modulate(_layer_norm(False)(x), shift2, scale2, latents)
        hidden = nn.gelu(Dense(self.ffn, dtype=self.dtype, name="ffn_in")(normed))
        x = add_gated(x, Dense(self.width, dtype=self.dtype, name="ffn_out")(hidden), gate2)
        return x, own


class DiT(nn.Module):
    """Velocity of latents given the noise level of each chunk and the actions of each latent.

    Attributes:
      channels: C. width: D. depth, heads, ffn: transformer sizes.
      patch: latent pixels per token side (Wan: 2). chunk: K, latents a chunk.
      action_sizes: sizes of the action factors. action_frames: pixel frames per latent.
      attention: see ``attention.attend``.
      action_modulation: add a latent's mean action token to its noise-level embedding. Wan has no
        such path; whether a small model gains by it is not settled.
      rope_base: see ``attention.rope_angles``.
      dtype: of tokens and products; parameters, the noise level's path and the velocity are float32.
      remat: keep only each block's input for the gradient and compute the rest of it once more.
      shortcut: most steps of a sample, where it is told how long a step it takes (``diffusion/shortcut.py``); 0: not.
      text_width: width of the embeddings of the actions' text, which then stand in the factors' place
        (``action_text.ActionText``); 0: the factors are embedded here.
    """

    channels: int
    width: int
    depth: int
    heads: int
    ffn: int
    action_sizes: tuple
    patch: int = setting(2, "latent pixels of a token's side", COUNT, source="Wan: 2")
    chunk: int = setting(3, "latents that share a noise level", COUNT, source="paper: 3, of 4 frames each")
    action_frames: int = 1
    frequency_width: int = 256
    attention: str = setting(
        "einsum", "or xla; on a GPU cudnn, which wants bfloat16; blocked, where the weights do not fit",
        one_of(ATTENTION_KINDS),
    )  # fmt: skip
    action_modulation: bool = setting(
        False, "add the mean action to the noise level's embedding", source="Wan: False; help at small sizes unsettled"
    )
    rope_base: float = setting(10000.0, "of rotary positions; small for a small grid", POSITIVE, source="Wan: 10000")
    dtype: jnp.dtype = jnp.float32
    remat: bool = setting(False, "compute blocks twice instead of keeping them for the gradient: large models")
    text_width: int = 0
    shortcut: int = 0

    action_conditioning = ACTION_CONDITIONING
    low_rank = LOW_RANK

    @nn.compact
    def __call__(self, z, sigma, actions, memory=None, mask=None, start=None, length=None):
        """Predict the velocity.

        Args:
          z: float ``[B, L, h, w, C]``, noisy latents, L whole chunks.
          sigma: float ``[B, L/K]`` in [0, 1], one noise level per chunk.
          actions: int32 ``[B, L, M, A]``, from ``actions_of_latents``; with a ``text_width`` the
            embeddings of their text, float ``[B, L, M, N, text_width]``.
          memory: keys and values of S earlier latents, or None.
          mask: bool ``[L, S + L]``, which of the earlier latents and of these each latent sees; None:
            its own chunk and all before it.
          start: time index of the first latent, an int or an int32 scalar; None: S.
          length: float ``[B, L/K]``, of the step that each chunk will take, told to a network with ``shortcut``; None:
            the finest.

        Returns:
          velocity ``[B, L, h, w, C]`` and the memory of these L latents: for every block a pair
          of keys and values ``[B, L N, heads, D/heads]``.
        """
        chex.assert_rank([z, sigma, actions], [5, 2, 5 if self.text_width else 4])
        batch, latents, height, width, _ = z.shape
        rows, columns = height // self.patch, width // self.patch
        if height % self.patch or width % self.patch:
            raise ValueError(f"latents of {height}x{width} do not cut into patches of {self.patch}")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of {self.heads} heads")
        rope_split(self.width // self.heads)
        chex.assert_shape(sigma, (batch, latents // self.chunk))
        past = memory[0][0].shape[1] // (rows * columns) if memory is not None else 0

        x = z.reshape(batch, latents, rows, self.patch, columns, self.patch, self.channels)
        x = x.transpose(0, 1, 2, 4, 3, 5, 6).reshape(batch, latents * rows * columns, -1)
        x = Dense(self.width, dtype=self.dtype, name="patch_embedding")(x)

        embedded = sinusoid(1000.0 * sigma, self.frequency_width)
        embedded = Dense(self.width, name="time_embedding_1")(embedded)
        embedded = Dense(self.width, name="time_embedding_2")(nn.silu(embedded))
        if self.shortcut:
            length = jnp.full(sigma.shape, 1.0 / self.shortcut) if length is None else length
            told = Dense(self.width, name="length_embedding_1")(sinusoid(1000.0 * length, self.frequency_width))
            quiet = Dense(self.width, kernel_init=nn.initializers.zeros, name="length_embedding_2")
            embedded += quiet(nn.silu(told))
        embedded = forcing.per_latent(embedded, self.chunk)
        adapter = ActionAdapter(
            self.action_sizes, self.width, self.action_frames, self.dtype, self.text_width, name="action_adapter"
        )
        tokens = adapter(actions)
        if self.action_modulation:
            embedded = embedded + tokens.mean(axis=2)
        modulation = Dense(6 * self.width, name="time_projection")(nn.silu(embedded))
        modulation = modulation.reshape(batch, latents, 6, self.width)

        start = past if start is None else start
        rope = rope_angles(latents, rows, columns, self.width // self.heads, start, self.rope_base)
        causal = 0
        if mask is None and latents != self.chunk:  # one chunk sees all of its past and itself
            causal = self.chunk * rows * columns
        if mask is not None:
            chex.assert_shape(mask, (latents, past + latents))
            mask = jnp.repeat(jnp.repeat(mask, rows * columns, 0), rows * columns, 1)
        own = []
        make_block = nn.remat(Block) if self.remat else Block
        for i in range(self.depth):
            block = make_block(
                self.width, self.heads, self.ffn, self.attention, self.dtype, causal, name=f"block_{i}"
            )
            x, keys_values = block(x, modulation, tokens, rope, mask, memory[i] if memory is not None else None)
            own.append(keys_values)

        table = self.param("head_modulation", nn.initializers.normal(self.width**-0.5), (2, self.width))
        shift, scale = jnp.moveaxis(table + embedded[:, :, None], 2, 0)
        x = modulate(_layer_norm(False)(x), shift, scale, latents)
        out = Dense(
            self.patch**2 * self.channels, kernel_init=nn.initializers.zeros, name="head"
        )(x)
        out = out.reshape(batch, latents, rows, columns, self.patch, self.patch, self.channels)
        return out.transpose(0, 1, 2, 4, 3, 5, 6).reshape(z.shape), tuple(own)
