"""A small convolutional denoiser for one frame: the last one moved by a predicted flow, and what that misses, diffused.

After DIAMOND (arXiv 2405.12399: pixels, context frames stacked as channels, actions by FiLM) with the parts that make
it learn in hours on a CPU: the picture is folded into blocks of pixels (space to depth), and the last frame is moved
explicitly (``warp``), so that diffusion only has to add the residual (residual video diffusion, arXiv 2203.09481).

With the moved frame m, the deviation r of what it misses and D = (1 - s)^2 r^2 + s^2, the network F has an input and a
target of deviation 1 at every level s, as EDM's (arXiv 2206.00364) has around 0:

    xhat = m + (1 - s) r^2 / D (z - (1 - s) m) + s r / sqrt(D) F((z - (1 - s) m) / sqrt(D))
    v    = (z - xhat) / s

so it is one more parameterisation of the velocity that the sampler and every loss of this project take.

r is one number, or predicted with the motion: for every frequency of every block of pixels, in brightness and in two
colours (residual video diffusion has a scale a pixel). What is only moved misses little, and of what is new the fine
detail and the colours are far smaller than the coarse brightness. Where r is small, noise is taken off by r^2 / D
alone, and need not be told apart by a network with fewer features than a block has values; a constant r leaves a
speckle there that a dream keeps and gathers. It learns by the likelihood of what was missed, normal in that basis.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from prowl_jax.models.autoencoders.small import depth_to_space, space_to_depth
from prowl_jax.models.cpu.convolution import conv
from prowl_jax.models.cpu.dense import Dense
from prowl_jax.models.dit.dit import sinusoid
from prowl_jax.models.initial import initial
from prowl_jax.models.unet.warp import BASIS, global_flow, upsample, warp
from prowl_jax.settings import COUNT, POSITIVE, Check, setting

ACTION_CONDITIONING = ("actions", "motion_actions", "film", "global_motion")
"""Path components of the parameters that phase 2 trains: embeddings of the actions, what they scale and shift, and
the motion that they alone tell; 15 to 25 % of all, as in PROWL (280 M of 1.3 B)."""

LOW_RANK = ("denoiser", "flow_net"), ("actions", "motion_actions", "global_motion")
"""Path components of the matrices and convolutions that LoRA adds to, and of what it trains whole beside them."""

FARTHEST = 12.0
"""Pixels that the flow of a place goes beyond that of the action, at most."""

LEAST, MOST = -4.0, 3.0
"""Between which the logarithm of a predicted deviation over ``residual`` lies."""

ZEROS = nn.initializers.zeros


class Guess(NamedTuple):
    """What is known of a frame before anything is diffused.

    Attributes:
      frame: m, the last frame moved, ``[B, h, w, C]``. deviation: r, of what it misses: one number, or of its
        ``frequencies`` ``[B, h, w, C]``.
    """

    frame: jax.Array
    deviation: jax.Array | float


def frequencies(block):
    """Orthonormal ``[C, C]``, C = 3 block^2: what a block of pixels (space to depth) is in a cosine basis (DCT-II) of
    its brightness, red against blue, and green against both; times a latent pixel, that one's coefficients.
    """
    place = np.arange(block)
    cosines = np.sqrt(2.0 / block) * np.cos(np.pi * (2 * place + 1) * place[:, None] / (2 * block))
    cosines[0] /= np.sqrt(2.0)
    colours = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([3, 2, 6])[:, None]
    whole = np.einsum("uy,vx,kc->uvkyxc", cosines, cosines, colours)
    return whole.reshape(3 * block**2, -1).astype(np.float32)


def _conv(channels, name, size=3, stride=1, **settings):
    return nn.Conv(channels, (size, size), (stride, stride), conv_general_dilated=conv, name=name, **settings)


def dropout_mask(key, shape, rate):
    """What is kept, over its chance: 0 or 1 / (1 - rate), float32 ``shape``; ``rate`` in 0..1 may be traced."""
    return jax.random.bernoulli(key, 1.0 - rate, shape) / jnp.maximum(1.0 - rate, 1e-6)


class Actions(nn.Module):
    """The actions ``[B, n, A]`` that led to the last n frames, the one asked for included, as one vector ``[B, D]``."""

    sizes: tuple
    width: int

    @nn.compact
    def __call__(self, actions):
        total = 0.0
        for age in range(actions.shape[1]):  # a table for every age: n is 1 to 4
            for i, size in enumerate(self.sizes):
                table = nn.Embed(size, self.width, name=f"table_{age}_{i}")
                total += table(actions[:, -1 - age, i])
        hidden = nn.silu(Dense(self.width, name="hidden")(nn.silu(total)))
        return Dense(self.width, name="out")(hidden)


class Levels(nn.Module):
    """Noise levels ``[B, n]``, each place with weights of its own, as one vector ``[B, D]``; ``quiet``: 0 at first."""

    width: int
    quiet: bool = False

    @nn.compact
    def __call__(self, sigma):
        features = [sinusoid(1000.0 * sigma[:, i], 64) for i in range(sigma.shape[1])]
        hidden = nn.silu(Dense(self.width, name="hidden")(jnp.concatenate(features, -1)))
        return Dense(self.width, name="out", **({"kernel_init": ZEROS} if self.quiet else {}))(hidden)


def _norm(dtype, name):
    """Sums are float32 whatever ``dtype`` the result has."""
    return nn.RMSNorm(epsilon=1e-6, dtype=dtype, name=name)


class Block(nn.Module):
    """``x + conv(silu(film(norm(conv(silu(norm(x)))))))``, the last convolution 0 at the start."""

    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x, embedded):
        channels = x.shape[-1]
        h = _conv(channels, "conv_0", dtype=self.dtype)(nn.silu(_norm(self.dtype, "norm_0")(x)))
        film = Dense(2 * channels, dtype=self.dtype, name="film")(embedded)
        scale, shift = jnp.split(film[:, None, None], 2, -1)
        h = _norm(self.dtype, "norm_1")(h) * (1.0 + scale) + shift
        return x + _conv(channels, "conv_1", dtype=self.dtype, kernel_init=ZEROS)(nn.silu(h))


class Attention(nn.Module):
    """Every place of a small grid sees every other."""

    heads: int = 4
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x):
        batch, height, width, channels = x.shape
        h = Dense(3 * channels, dtype=self.dtype, name="qkv")(_norm(self.dtype, "norm")(x))
        q, k, v = jnp.split(h.reshape(batch, height * width, self.heads, -1), 3, -1)
        logits = jnp.einsum("bqhd,bkhd->bhqk", q, k).astype(jnp.float32)
        weights = nn.softmax(logits / q.shape[-1] ** 0.5).astype(self.dtype)
        seen = jnp.einsum("bhqk,bkhd->bqhd", weights, v).reshape(x.shape)
        return x + Dense(channels, dtype=self.dtype, kernel_init=ZEROS, name="out")(seen)


class Levelled(nn.Module):
    """A U-Net over grids of halving size: ``widths[i]`` channels and ``blocks[i]`` blocks down at the i-th, one up.

    Grids have to halve as often as there are widths but one; attention stands at the coarsest.
    """

    widths: tuple
    blocks: tuple
    attention: bool
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, h, embedded):
        kept = []
        deepest = len(self.widths) - 1
        for i, (width, blocks) in enumerate(zip(self.widths, self.blocks, strict=True)):
            h = _conv(width, f"down_{i}", stride=1 if i == 0 else 2, dtype=self.dtype)(h)
            for j in range(blocks):
                h = Block(self.dtype, name=f"down_{i}_{j}")(h, embedded)
            if i < deepest:
                kept.append(h)
        if self.attention:
            h = Block(self.dtype, name="middle")(Attention(dtype=self.dtype, name="attention")(h), embedded)
        for i in reversed(range(deepest)):
            h = depth_to_space(Dense(4 * self.widths[i], dtype=self.dtype, name=f"grow_{i}")(h), 2)
            h = jnp.concatenate([h, kept.pop()], -1)
            h = Dense(self.widths[i], dtype=self.dtype, name=f"join_{i}")(h)
            h = Block(self.dtype, name=f"up_{i}")(h, embedded)
        return nn.silu(_norm(self.dtype, "norm_out")(h)).astype(jnp.float32)


class UNet(nn.Module):
    """The denoiser and the motion beneath it; latents are pixels in blocks (``autoencoders.pixels``), or an
    autoencoder's, which nothing moves.

    Attributes:
      action_sizes: sizes of the action factors.
      context: n, frames seen before the one asked for; 1 does not tell speed, more than 2 tell the motion without
        the action.
      block: pixels of a side of a latent pixel.
      latent_channels: of an autoencoder's latents, without ``motion``; 0: pixels in blocks, 3 block^2.
      widths, blocks: of the denoiser's levels. motion_widths, motion_blocks: of the flow's.
      width: of the embeddings. attention: at the denoiser's coarsest level.
      residual: r, the deviation of what the motion misses, in deviations of the latents; where it is predicted, what
        it is at first. predict_residual: for every frequency of every block.
      motion: move the last frame; without, the denoiser works around 0 (EDM) and sees all of the context.
      shortcut: most steps of a sample, where it is told how long a step it takes (``diffusion/shortcut.py``); 0: not.
      dropout: share of what the denoiser is told (actions and levels) that is left out, of a mask that is given: in
        training one for each clip, in dreams where somebody asks for it (Dropout's Dream Land, arXiv 2109.08342).
      dtype: of what the levels compute, bfloat16 on accelerators; parameters, embeddings, the flow and the answer
        are float32 always.
    """

    action_sizes: tuple
    context: int = setting(2, "frames seen; more tell the motion without the action", COUNT)
    block: int = 4
    latent_channels: int = 0
    widths: tuple = setting((48, 96, 128), "channels of the denoiser's levels")
    blocks: tuple = setting((1, 2, 2), "of the denoiser's levels")
    motion_widths: tuple = setting((32, 64), "channels of the flow's levels")
    motion_blocks: tuple = setting((1, 2), "of the flow's levels")
    width: int = setting(192, "of the embeddings", COUNT)
    attention: bool = setting(True, "at the coarsest level")
    residual: float = setting(0.3, "deviation of what the motion misses, in deviations of the latents", POSITIVE)
    predict_residual: bool = setting(
        False, "predict it for every frequency of a block", source="residual video diffusion: for every pixel"
    )
    motion: bool = setting(True, "move the last frame by a predicted flow, diffuse what that misses")
    dropout: float = setting(
        0.0, "share of what the denoiser is told that is left out in training",
        Check(lambda v: 0 <= v < 1, "is no share below 1"), source="Dropout's Dream Land: 0.05",
    )  # fmt: skip
    dtype: jnp.dtype = jnp.float32
    shortcut: int = 0

    @property
    def channels(self):
        """C, channels of a latent."""
        return self.latent_channels or 3 * self.block**2

    def fresh_lengths(self, key):
        """Parameters of what is told the lengths of steps, as they begin, for weights that know none."""
        return initial(Levels(self.width, quiet=True, parent=None), key, jnp.ones((1, 1)))

    def setup(self):
        if self.motion and self.latent_channels:
            raise ValueError("motion moves pixels; over an autoencoder's latents set motion to False")
        if self.predict_residual and not self.motion:
            raise ValueError("predict_residual is of what the motion misses; without motion set it to False")
        self.actions = Actions(self.action_sizes, self.width)
        self.levels = Levels(self.width)
        if self.shortcut:
            self.lengths = Levels(self.width, quiet=True)
        self.denoiser = Levelled(self.widths, self.blocks, self.attention, self.dtype)
        self.out = _conv(self.channels, None, kernel_init=ZEROS)
        if self.motion:
            self.motion_actions = Actions(self.action_sizes, self.width)
            self.flow_levels = Levels(self.width)
            self.global_motion = Dense(2 * BASIS, kernel_init=nn.initializers.normal(0.01))
            self.flow_net = Levelled(self.motion_widths, self.motion_blocks, attention=False, dtype=self.dtype)
            self.flow_out = _conv(6, None, kernel_init=ZEROS)
        if self.predict_residual:
            self.deviation_out = _conv(self.channels, None, kernel_init=ZEROS)

    def guess(self, context, context_sigma, actions):
        """The last frame, moved.

        Args:
          context: latents ``[B, n, h, w, C]``. context_sigma: their noise levels ``[B, n]``, 0 where clean.
          actions: int32 ``[B, n, A]``, the last leads to the frame asked for.

        Returns:
          ``Guess`` (a frame of zeros and deviation 1 without ``motion``), and the flow ``[B, H, W, 2]`` in pixels, or
          None.
        """
        if not self.motion:
            return Guess(jnp.zeros_like(context[:, -1]), 1.0), None
        embedded = nn.silu(self.motion_actions(actions) + self.flow_levels(context_sigma))
        features = self.flow_net(jnp.concatenate(jnp.unstack(context, axis=1), -1), embedded)
        picture = depth_to_space(context[:, -1], self.block)
        height, width = picture.shape[1:3]
        coefficients = 8.0 * self.global_motion(embedded).reshape(-1, 2, BASIS)
        local, shown, fill = jnp.split(upsample(self.flow_out(features), self.block), (2, 3), -1)
        flow = global_flow(coefficients, height, width) + FARTHEST * jnp.tanh(local / 3.0)
        shown = nn.sigmoid(shown + 2.0)  # where nothing of the last frame belongs, a blurred colour
        moved = space_to_depth(shown * warp(picture, flow) + (1.0 - shown) * 2.0 * fill, self.block)
        return Guess(moved, self._deviation(features)), flow

    def _deviation(self, features):
        """r: one number, or of every frequency of every block."""
        if not self.predict_residual:
            return self.residual
        return self.residual * jnp.exp(jnp.clip(self.deviation_out(features), LEAST, MOST))

    def to_basis(self, latents):
        """Latents in the basis that r is told in: itself, or of ``frequencies``."""
        return latents @ frequencies(self.block).T if self.predict_residual else latents

    def from_basis(self, coefficients):
        """The inverse of ``to_basis``."""
        return coefficients @ frequencies(self.block) if self.predict_residual else coefficients

    def denoise(self, z, sigma, guess, context, context_sigma, actions, length=None, kept=None, through=False):
        """The clean frame that a noisy one ``z [B, h, w, C]`` of level ``sigma [B]`` means; the rest as ``guess``'s.

        ``length [B]`` is that of the step which will be taken, told to a network with ``shortcut``; None: the finest.
        ``kept [B, width]`` is a mask of ``dropout_mask``; None: all is told. Gradients go ``through`` the moved frame
        where nothing else teaches the motion; in phase 1 it has a loss of its own. r learns by ``surprise`` alone.

        Returns:
          xhat ``[B, h, w, C]``.
        """
        s = sigma[:, None, None, None]
        moved, r = guess
        guess, r = moved if through else jax.lax.stop_gradient(moved), jax.lax.stop_gradient(r)
        total = jnp.square((1.0 - s) * r) + jnp.square(s)
        apart = self.to_basis(z - (1.0 - s) * guess)
        seen = [guess, context[:, -1]] if self.motion else jnp.unstack(context, axis=1)
        told = self.actions(actions) + self.levels(jnp.concatenate([sigma[:, None], context_sigma], 1))
        if self.shortcut:
            length = jnp.full(len(z), 1.0 / self.shortcut) if length is None else length
            told += self.lengths(length[:, None])
        embedded = nn.silu(told) if kept is None else nn.silu(told) * kept
        features = self.denoiser(jnp.concatenate([apart / jnp.sqrt(total), *seen], -1), embedded)
        missed = (1.0 - s) * r**2 / total * apart + s * r / jnp.sqrt(total) * self.out(features)
        return guess + self.from_basis(missed)

    def error(self, xhat, real, sigma, guess):
        """What an answer costs, ``[B]``: its square error, of which one of F counts 1 at any level."""
        s, r = sigma[:, None, None, None], jax.lax.stop_gradient(guess.deviation)
        weight = (jnp.square((1.0 - s) * r) + jnp.square(s)) / jnp.square(s * r)
        return jnp.mean(weight * jnp.square(self.to_basis(xhat - real)), (1, 2, 3))

    def surprise(self, guess, real):
        """``-log p`` of what the moved frame misses, a value's mean, but for a constant: ``[B]``; r alone learns."""
        missed = self.to_basis(real - jax.lax.stop_gradient(guess.frame))
        return jnp.mean(jnp.log(guess.deviation) + jnp.square(missed / guess.deviation) / 2.0, (1, 2, 3))

    def __call__(self, z, sigma, context, context_sigma, actions, length=None, kept=None, through=False):
        """``denoise`` around ``guess``: (xhat, ``Guess``)."""
        guess, _ = self.guess(context, context_sigma, actions)
        return self.denoise(z, sigma, guess, context, context_sigma, actions, length, kept, through), guess
