"""Attention with 3-D rotary positions and query-key RMS norm, as Wan2.1's block has it."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from prowl_jax.diffusion.forcing import block_causal_mask
from prowl_jax.models.cpu.dense import Dense
from prowl_jax.models.cpu.softmax import softmax_attention

LEAST_SPAN = 64
"""Tokens that ``attend_causal`` takes at once, if they are whole chunks: smaller products do not pay."""

QUERIES_AT_ONCE = 512
"""Of ``attend`` with ``blocked``, at most."""

ATTENTION_KINDS = ("einsum", "xla", "cudnn", "blocked")
"""What ``attend`` takes as ``kind``."""


def attend(query, key, value, mask=None, kind="einsum"):
    """Softmax attention.

    Args:
      query: ``[B, Q, heads, d]``; key, value: ``[B, S, heads, d]``.
      mask: bool, broadcastable to ``[B, heads, Q, S]``, True where attention is allowed. Always
        explicit: ``is_causal`` would align a short query with the START of the keys.
      kind: "einsum", or ``jax.nn.dot_product_attention``'s "xla" or "cudnn" (GPU, bfloat16), or "blocked":
        some queries at a time, whose weights are computed again for the gradient (arXiv 2112.05682). With
        "blocked" and "cudnn" the weights of all queries never stand in memory.

    Returns:
      ``[B, Q, heads, d]``. All kinds agree; which is fastest depends on shape and device.
    """
    if kind == "blocked":
        return _blocked_attention(query, key, value, mask)
    if kind != "einsum":
        return jax.nn.dot_product_attention(query, key, value, mask=mask, implementation=kind)
    return softmax_attention(query, key, value, mask)


def attend_causal(query, key, value, chunk, kind="einsum"):
    """Block-causal attention: every token sees its own chunk and all before it; the rest is not computed.

    Args:
      query: ``[B, Q, heads, d]``, the last Q tokens of the keys'; key, value: ``[B, S, heads, d]``.
      chunk: tokens of a chunk; Q and S are whole chunks.
      kind: see ``attend``.

    Returns:
      ``[B, Q, heads, d]``, as ``attend`` gives under ``block_causal_mask(Q, S, chunk)``. Queries are taken
      a span of chunks at a time, with the keys up to its end; a mask is left within spans of several chunks.
    """
    length, past = query.shape[1], key.shape[1] - query.shape[1]
    span = chunk * max(1, LEAST_SPAN // chunk)
    parts = []
    for begin in range(0, length, span):
        end = min(begin + span, length)
        mask = block_causal_mask(end - begin, past + end, chunk) if end - begin > chunk else None
        parts.append(attend(query[:, begin:end], key[:, : past + end], value[:, : past + end], mask, kind))
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=1)


def _blocked_attention(query, key, value, mask):
    batch, length, *head = query.shape
    size = max(n for n in range(1, min(QUERIES_AT_ONCE, length) + 1) if length % n == 0)

    @jax.checkpoint
    def one_block(query, mask):
        return softmax_attention(query, key, value, mask)

    blocks = jnp.moveaxis(query.reshape(batch, -1, size, *head), 1, 0)
    if mask is not None:
        mask = jnp.broadcast_to(mask, (*(1,) * (4 - mask.ndim), *mask.shape[:-2], length, mask.shape[-1]))
        mask = jnp.moveaxis(mask.reshape(*mask.shape[:2], -1, size, mask.shape[-1]), 2, 0)
    out = jax.lax.map(lambda block: one_block(*block), (blocks, mask))
    return jnp.moveaxis(out, 0, 1).reshape(query.shape)


def rope_split(head_dim):
    """Wan's split of a head's width over time, height and width: three even numbers.

    128 -> (44, 42, 42). ValueError where the width does not split into even parts.
    """
    side = 2 * (head_dim // 6)
    split = (head_dim - 2 * side, side, side)
    if side == 0 or head_dim % 2:
        raise ValueError(f"head width {head_dim} does not split for 3-D RoPE; take an even one, 6 or more")
    return split


def rope_angles(time, height, width, head_dim, start=0, base=10000.0):
    """Rotation angles of a grid of latent tokens, each axis with frequencies of its own.

    Args:
      time, height, width: extents of the grid.
      start: time index of the first latent (the length of the cached past).
      base: of the frequencies, Wan's 10,000; a grid of a few tokens tells them apart better with
        less.

    Returns:
      cos and sin, each ``[time * height * width, head_dim / 2]``, tokens in (t, h, w) order.
    """
    angles = []
    offsets = (start, 0, 0)
    grid = (time, height, width)
    for axis, part in enumerate(rope_split(head_dim)):
        frequency = base ** (-jnp.arange(0, part, 2) / part)
        angle = (offsets[axis] + jnp.arange(grid[axis]))[:, None] * frequency
        shape = [1, 1, 1, part // 2]
        shape[axis] = grid[axis]
        angles.append(jnp.broadcast_to(angle.reshape(shape), grid + (part // 2,)))
    angles = jnp.concatenate(angles, axis=-1).reshape(time * height * width, head_dim // 2)
    return jnp.cos(angles), jnp.sin(angles)


def apply_rope(x, cos, sin):
    """Rotate ``x [B, S, heads, d]`` by ``cos, sin [S, d/2]``.

    Pair i is channels (i, i + d/2): the two halves of a head. Wan's checkpoints interleave the
    pairs (2i, 2i + 1); converting them is a permutation of the query and key weights, and halves
    spare every step the strided reads.
    """
    first, second = jnp.split(x, 2, axis=-1)
    cos, sin = cos[:, None].astype(x.dtype), sin[:, None].astype(x.dtype)
    return jnp.concatenate([first * cos - second * sin, first * sin + second * cos], axis=-1)


class QKVAttention(nn.Module):
    """Attention with biased projections and RMS-normed queries and keys (norm before the heads).

    Attributes:
      width: model width; heads: number of heads; kind: see ``attend``.
      dtype: of the products; parameters and the norms' statistics stay in float32.
    """

    width: int
    heads: int
    kind: str = "einsum"
    dtype: jnp.dtype = jnp.float32

    def setup(self):
        self.to_q, self.to_k, self.to_v, self.to_out = (Dense(self.width, dtype=self.dtype) for _ in range(4))
        self.norm_q, self.norm_k = (nn.RMSNorm(epsilon=1e-6, dtype=self.dtype) for _ in range(2))

    def project_query(self, x):
        """``[B, S, D]`` -> normed queries ``[B, S, heads, d]``."""
        return self._heads(self.norm_q(self.to_q(x)))

    def project_key_value(self, x):
        """``[B, S, D]`` -> normed keys and values, each ``[B, S, heads, d]``."""
        return self._heads(self.norm_k(self.to_k(x))), self._heads(self.to_v(x))

    def combine(self, query, key, value, mask=None, causal=0):
        """Attend, project back: ``[B, Q, D]``. ``causal``: a chunk's tokens (``attend_causal``); 0: ``mask`` tells."""
        if causal:
            out = attend_causal(query, key, value, causal, self.kind)
        else:
            out = attend(query, key, value, mask, self.kind)
        return self.to_out(out.reshape(*out.shape[:2], self.width))

    def _heads(self, x):
        return x.reshape(*x.shape[:2], self.heads, self.width // self.heads)
