"""What VPT's policy and its inverse dynamics model share: pictures to latents, through a transformer.

Three things differ from the transformer one expects, and all are the original's (openai/
Video-Pre-Training, MIT; ``lib/xf.py``, ``lib/util.py``, ``lib/policy.py``):

  * the residual around attention is taken on the normed input, the un-normed one is dropped;
  * logits are divided by the head size, not by its root (muP);
  * a learned term depends on the lag between query and key through 10 basis functions.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from prowl_jax.models.policies.impala import DenseUnit, ImpalaCNN, LayerNorm
from prowl_jax.types import pytree

BASIS = 10  # functions of the lag
HIDDEN = -1e9  # the logit of what is not visible


@pytree
class VPTState:
    """What a VPT network remembers: keys and values of the last ``kept`` frames, oldest first.

    Attributes:
      keys, values: one float ``[B, kept, D]`` for each block, before the split into heads.
      known: bool ``[B, kept]``, False where the episode had not begun. What stands there is not used.
    """

    keys: tuple
    values: tuple
    known: jax.Array


def empty_state(batch, *, blocks, kept, hidden):
    """The memory of ``batch`` episodes that have not begun."""
    zeros = tuple(jnp.zeros((batch, kept, hidden)) for _ in range(blocks))
    return VPTState(zeros, zeros, jnp.zeros((batch, kept), bool))


class Attention(nn.Module):
    """Self-attention of T frames over ``kept`` remembered ones and themselves.

    ``(h [B,T,D], keys [B,kept,D], values [B,kept,D], visible bool [B,T,kept+T])`` -> output
    ``[B,T,D]``, and keys and values with those of ``h`` appended. With ``kept`` = 0, in the inverse
    dynamics model, there is no term of the lag: ``b_nd`` is empty, and ``r_layer``, which stays as it
    is in the published weights, has no effect.
    """

    heads: int
    kept: int

    @nn.compact
    def __call__(self, h, keys, values, visible):
        time, width = h.shape[1:]
        query = nn.Dense(width, name="q_layer")(h)
        keys = jnp.concatenate([keys, nn.Dense(width, use_bias=False, name="k_layer")(h)], axis=1)
        values = jnp.concatenate([values, nn.Dense(width, use_bias=False, name="v_layer")(h)], axis=1)

        def split(x):
            return x.reshape(*x.shape[:2], self.heads, -1)

        logits = jnp.einsum("bthd,bshd->bhts", split(query), split(keys)) / (width // self.heads)
        r = split(nn.Dense(self.heads * BASIS, name="r_layer")(h))
        b_nd = self.param("b_nd", nn.initializers.normal(0.02), (BASIS, self.kept))
        if self.kept:
            by_lag = jnp.einsum("bthn,nl->bhtl", r, b_nd)
            # Lags out of range are hidden, so it does not matter what they are given here.
            lag = jnp.clip(lags(self.kept, time), 0, self.kept - 1)
            logits += jnp.take_along_axis(by_lag, lag[None, None], axis=-1)
        weights = nn.softmax(jnp.where(visible[:, None], logits, HIDDEN))
        out = jnp.einsum("bhts,bshd->bthd", weights, split(values)).reshape(h.shape)
        return nn.Dense(width, name="proj_layer")(out), keys, values


def lags(kept, time):
    """How many frames each of ``kept + time`` keys lies before each of ``time`` queries, int ``[T, kept+T]``."""
    return (kept + jnp.arange(time))[:, None] - jnp.arange(kept + time)[None]


class Block(nn.Module):
    """Attention and a two-layer perceptron; arguments and results as of ``Attention``."""

    heads: int
    kept: int

    @nn.compact
    def __call__(self, x, keys, values, visible):
        h = LayerNorm(name="pre_r_ln")(x)
        attended, keys, values = Attention(self.heads, self.kept, name="attention")(h, keys, values, visible)
        a = h + attended
        width = x.shape[-1]
        return a + nn.Dense(width, name="mlp1")(DenseUnit(4 * width, name="mlp0")(a)), keys, values


class Trunk(nn.Module):
    """Pictures float ``[B, T, H, W, C]`` -> latents ``[B, T, hidden]`` and the new state.

    Attributes:
      channels: of the CNN's stacks. hidden, heads, blocks: of the transformer.
      kept: frames a frame sees, itself included, and frames remembered; 0: every frame sees every
        other and nothing is remembered.
      first_norm: whether the CNN's first convolution has a norm before it.
      use_lastlayer: whether the layer before the last norm has an effect.
    """

    channels: tuple
    hidden: int
    heads: int
    blocks: int
    kept: int
    first_norm: bool = False
    use_lastlayer: bool = True

    @nn.compact
    def __call__(self, pictures, state, first):
        batch, time = pictures.shape[:2]
        pictures = pictures.reshape(batch * time, *pictures.shape[2:])
        x = ImpalaCNN(self.channels, first_norm=self.first_norm, name="cnn")(pictures)
        x = DenseUnit(self.hidden, name="linear")(x).reshape(batch, time, -1)
        visible, known = self._visible(state.known, first)
        keys, values = [], []
        for i in range(self.blocks):
            block = Block(self.heads, self.kept, name=f"blocks_{i}")
            x, k, v = block(x, state.keys[i], state.values[i], visible)
            keys.append(k[:, time:])
            values.append(v[:, time:])
        x = nn.relu(x)
        last = DenseUnit(self.hidden, name="lastlayer")(x)
        latent = LayerNorm(name="final_ln")(last if self.use_lastlayer else x)
        return latent, VPTState(tuple(keys), tuple(values), known)

    def _visible(self, known, first):
        """Which keys each query sees, bool ``[B, T, kept+T]``, and the new ``known``."""
        batch, time = first.shape
        if not self.kept:
            return jnp.ones((batch, time, time), bool), known
        known = jnp.concatenate([known, jnp.ones((batch, time), bool)], axis=1)
        # The original reads only the first column of ``first``; here an episode may start anywhere.
        episode = jnp.pad(jnp.cumsum(first, axis=1), ((0, 0), (self.kept, 0)))
        lag = lags(self.kept, time)
        visible = (lag >= 0) & (lag < self.kept) & known[:, None]
        visible &= episode[:, None, :] == episode[:, self.kept :, None]
        return visible, known[:, time:] & (episode[:, time:] == episode[:, -1:])
