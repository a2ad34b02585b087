"""Wan2.1's video autoencoder in Flax: eightfold in height and width, fourfold in time, causal in time.

The first frame stands for itself, then every four frames make one latent: 1 + 4n frames are 1 + n
latents. Frames go through in these groups, and of each convolution over time only the last frames of
its input are kept from group to group: a cache of bounded size, an explicit pytree. So any prefix of a
clip has the prefix of its latents, and streaming needs the memory of one group.

Source: Wan (arXiv 2503.20314) and the public code of Wan-Video/Wan2.1 and diffusers (Apache-2.0); the
names of the submodules are those of diffusers' weights. Dimensions: ``[B, T, H, W, C]``. It has never met the
published weights: docs/limits.md.
"""

import dataclasses

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from prowl_jax.models.autoencoders.small import DOWNSAMPLING
from prowl_jax.models.initial import initial

GROUP = 4
"""Frames of a group, all but the first, which is a single frame."""

LATENT_MEAN = (
    *(-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508),
    *(0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921),
)
LATENT_STD = (
    *(2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743),
    *(3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160),
)
"""Of the published VAE's latents, by channel: what the transformer sees is (latent - mean) / deviation."""


class Past:
    """What the layers remember of the groups before this one, in the order in which they ask.

    Attributes:
      first: whether there is no group before. kept: what the next group will be given, a list.
    """

    def __init__(self, cache):
        self.first = cache is None
        self._cache = iter(cache or ())
        self.kept = []

    def extend(self, x, frames):
        """``x`` after the last ``frames`` frames before it; before the first group these are zero."""
        before = jnp.zeros_like(x, shape=(x.shape[0], frames, *x.shape[2:])) if self.first else next(self._cache)
        extended = jnp.concatenate([before, x], axis=1)
        self.kept.append(extended[:, extended.shape[1] - frames :])
        return extended

    def keep(self, x):
        """Remember ``x`` at the place of an ``extend`` that the first group does without."""
        self.kept.append(x)


def causal_conv(x, past, features, name):
    """A convolution over time and space that sees this frame and the two before."""
    window = nn.Conv(features, (3, 3, 3), padding=((0, 0), (1, 1), (1, 1)), name=name)
    return window(past.extend(x, 2))


class Norm(nn.Module):
    """Every pixel's channels at length sqrt(C), times gamma."""

    @nn.compact
    def __call__(self, x):
        gamma = self.param("gamma", nn.initializers.ones, (x.shape[-1],))
        exact = x.astype(jnp.promote_types(x.dtype, jnp.float32))  # as the original, whatever the precision
        length = jnp.sqrt(jnp.sum(jnp.square(exact), axis=-1, keepdims=True))
        return (exact / jnp.maximum(length, 1e-12)).astype(x.dtype) * (x.shape[-1] ** 0.5) * gamma


class ResidualBlock(nn.Module):
    """``shortcut(x) + conv(silu(norm(conv(silu(norm(x))))))``."""

    features: int

    @nn.compact
    def __call__(self, x, past):
        h = x
        for i in (1, 2):
            h = causal_conv(nn.silu(Norm(name=f"norm{i}")(h)), past, self.features, f"conv{i}")
        if x.shape[-1] != self.features:
            x = nn.Conv(self.features, (1, 1, 1), name="conv_shortcut")(x)
        return x + h


class SpatialAttention(nn.Module):
    """One head over the pixels of each frame."""

    @nn.compact
    def __call__(self, x):
        b, t, h, w, channels = x.shape
        qkv = nn.Conv(3 * channels, (1, 1), name="to_qkv")(Norm(name="norm")(x))
        q, k, v = jnp.split(qkv.reshape(b, t, h * w, 3 * channels), 3, axis=-1)
        weights = jax.nn.softmax(jnp.einsum("btqc,btkc->btqk", q, k) / channels**0.5)
        seen = jnp.einsum("btqk,btkc->btqc", weights, v).reshape(x.shape)
        return x + nn.Conv(channels, (1, 1), name="proj")(seen)


class MidBlock(nn.Module):
    """Residual block, attention, residual block."""

    @nn.compact
    def __call__(self, x, past):
        x = ResidualBlock(x.shape[-1], name="resnets_0")(x, past)
        x = SpatialAttention(name="attentions_0")(x)
        return ResidualBlock(x.shape[-1], name="resnets_1")(x, past)


class Downsample(nn.Module):
    """Half the height and width and, where ``in_time``, half the frames, but for the first frame."""

    in_time: bool

    @nn.compact
    def __call__(self, x, past):
        channels = x.shape[-1]
        x = nn.Conv(channels, (3, 3), (2, 2), padding=((0, 1), (0, 1)), name="resample_1")(x)
        if not self.in_time:
            return x
        conv = nn.Conv(channels, (3, 1, 1), (2, 1, 1), padding="VALID", name="time_conv")
        if past.first:
            past.keep(x)
            if self.is_initializing():
                conv(jnp.repeat(x, 3, axis=1))
            return x
        return conv(past.extend(x, 1))


class Upsample(nn.Module):
    """Twice the height and width, half the channels and, where ``in_time``, twice the frames, but for the first."""

    in_time: bool

    @nn.compact
    def __call__(self, x, past):
        b, t, h, w, channels = x.shape
        if self.in_time:
            conv = nn.Conv(2 * channels, (3, 1, 1), padding="VALID", name="time_conv")
            if past.first:
                # What follows does not see the first frame here.
                past.keep(jnp.zeros((b, 2, h, w, channels), x.dtype))
                if self.is_initializing():
                    conv(jnp.repeat(x, 3, axis=1))
            else:
                both = conv(past.extend(x, 2)).reshape(b, t, h, w, 2, channels)
                x = jnp.moveaxis(both, 4, 2).reshape(b, 2 * t, h, w, channels)
        x = jnp.repeat(jnp.repeat(x, 2, axis=2), 2, axis=3)
        return nn.Conv(channels // 2, (3, 3), padding=1, name="resample_1")(x)


class Encoder(nn.Module):
    """Frames ``[B, 1 or 4, H, W, 3]`` -> ``[B, 1, H/8, W/8, features]``."""

    features: int
    widths: tuple
    blocks: int
    in_time: tuple

    @nn.compact
    def __call__(self, x, past):
        x = causal_conv(x, past, self.widths[0], "conv_in")
        layers = []
        for stage, width in enumerate(self.widths):
            layers += [ResidualBlock(width, name=f"down_blocks_{len(layers) + i}") for i in range(self.blocks)]
            if stage < len(self.in_time):
                layers.append(Downsample(self.in_time[stage], name=f"down_blocks_{len(layers)}"))
        for layer in layers:
            x = layer(x, past)
        x = MidBlock(name="mid_block")(x, past)
        return causal_conv(nn.silu(Norm(name="norm_out")(x)), past, self.features, "conv_out")


class UpBlock(nn.Module):
    """Residual blocks and, but for the last stage, upsampling; ``in_time`` is None in the last."""

    features: int
    blocks: int
    in_time: bool | None

    @nn.compact
    def __call__(self, x, past):
        for i in range(self.blocks):
            x = ResidualBlock(self.features, name=f"resnets_{i}")(x, past)
        return x if self.in_time is None else Upsample(self.in_time, name="upsamplers_0")(x, past)


class Decoder(nn.Module):
    """A latent ``[B, 1, h, w, C]`` -> frames ``[B, 1 or 4, 8h, 8w, 3]``."""

    widths: tuple
    blocks: int
    in_time: tuple

    @nn.compact
    def __call__(self, x, past):
        widths = self.widths[::-1]
        x = causal_conv(x, past, widths[0], "conv_in")
        x = MidBlock(name="mid_block")(x, past)
        for stage, (width, in_time) in enumerate(zip(widths, (*self.in_time[::-1], None), strict=True)):
            x = UpBlock(width, self.blocks + 1, in_time, name=f"up_blocks_{stage}")(x, past)
        return causal_conv(nn.silu(Norm(name="norm_out")(x)), past, 3, "conv_out")


class WanVAENetwork(nn.Module):
    """Both halves, a group at a time.

    Attributes:
      channels: C, latent channels.
      base: features at full resolution; ``widths`` are multiples of it, by stage.
      blocks: residual blocks of a stage (a stage of the decoder has one more).
      in_time: which of the three halvings also halve the frames.
    """

    channels: int = 16
    base: int = 96
    multiples: tuple = (1, 2, 4, 4)
    blocks: int = 2
    in_time: tuple = (False, True, True)

    def setup(self):
        widths = tuple(self.base * m for m in self.multiples)
        self.encoder = Encoder(2 * self.channels, widths, self.blocks, self.in_time)
        self.decoder = Decoder(widths, self.blocks, self.in_time)
        self.quant_conv = nn.Conv(2 * self.channels, (1, 1, 1))
        self.post_quant_conv = nn.Conv(self.channels, (1, 1, 1))

    def encode(self, frames, cache):
        """A group in -1..1 ``[B, 1 or 4, H, W, 3]`` -> ``(mean, log-variance [B, 1, h, w, C], cache)``.

        The first group is one frame with the cache None; later groups are four with the cache before.
        """
        past = Past(cache)
        moments = self.quant_conv(self.encoder(frames, past))
        return (*jnp.split(moments, 2, axis=-1), tuple(past.kept))

    def decode(self, latents, cache):
        """One latent ``[B, 1, h, w, C]`` -> ``(frames in -1..1, [B, 1 or 4, 8h, 8w, 3], cache)``."""
        past = Past(cache)
        frames = self.decoder(self.post_quant_conv(latents), past)
        return jnp.clip(frames, -1.0, 1.0), tuple(past.kept)

    def __call__(self, frame):
        """The first group alone, there and back; it has all parameters."""
        mean, _, _ = self.encode(frame, None)
        return self.decode(mean, None)[0]


@dataclasses.dataclass(frozen=True)
class WanVAE:
    """The network on whole clips, jitted as one scan over groups; hashable.

    ``encode_group`` and ``decode_latent`` are for streams: hand each one's cache to the next call.

    Attributes:
      latent_mean, latent_std: by channel, of the latents of videos, to normalise them with.
    """

    network: WanVAENetwork = WanVAENetwork()
    latent_mean: tuple = LATENT_MEAN
    latent_std: tuple = LATENT_STD
    frames_per_latent = GROUP
    downsampling = DOWNSAMPLING

    @property
    def channels(self):
        """C, latent channels."""
        return self.network.channels

    def init_params(self, key, frame_shape=(DOWNSAMPLING, DOWNSAMPLING, 3)):
        """Random parameters; they do not depend on the size of the frames."""
        return initial(self.network, key, jnp.zeros((1, 1, *frame_shape)))

    def encode_frames(self, params, frames):
        """Float frames in [-1, 1] ``[..., 1 + 4n, H, W, 3]`` -> posterior mean ``[..., 1 + n, h, w, C]``."""
        mean, _ = self.encode(params, frames.reshape(-1, *frames.shape[-4:]))
        return mean.reshape(*frames.shape[:-4], *mean.shape[1:])

    def decode_latents(self, params, latents):
        """Latents ``[..., 1 + n, h, w, C]`` -> float frames in [-1, 1] ``[..., 1 + 4n, H, W, 3]``."""
        frames = self.decode(params, latents.reshape(-1, *latents.shape[-4:]))
        return frames.reshape(*latents.shape[:-4], *frames.shape[1:])

    def encode_group(self, params, frames, cache=None):
        """As ``WanVAENetwork.encode``."""
        return self.network.apply({"params": params}, frames, cache, method="encode")

    def decode_latent(self, params, latents, cache=None):
        """As ``WanVAENetwork.decode``."""
        return self.network.apply({"params": params}, latents, cache, method="decode")

    def encode(self, params, frames):
        """Float frames in -1..1 ``[B, 1 + 4n, H, W, 3]`` -> mean and log-variance ``[B, 1 + n, h, w, C]``.

        Raises:
          ValueError: another number of frames, or sides that are not multiples of 8.
        """
        chex.assert_rank(frames, 5)
        batch, time, height, width, _ = frames.shape
        if (time - 1) % GROUP or time < 1:
            raise ValueError(f"Wan's autoencoder takes 1 + {GROUP}n frames, not {time}")
        if height % DOWNSAMPLING or width % DOWNSAMPLING:
            raise ValueError(f"frames of {height}x{width} are not multiples of {DOWNSAMPLING}")
        *first, cache = self.encode_group(params, frames[:, :1])
        groups = frames[:, 1:].reshape(batch, (time - 1) // GROUP, GROUP, height, width, 3)

        def step(cache, group):
            *moments, cache = self.encode_group(params, group, cache)
            return cache, moments

        rest = _scan(step, cache, jnp.moveaxis(groups, 1, 0))
        return tuple(_in_order(*parts) for parts in zip(first, rest, strict=True))

    def decode(self, params, latents):
        """Latents ``[B, 1 + n, h, w, C]`` -> float frames in -1..1 ``[B, 1 + 4n, 8h, 8w, 3]``."""
        chex.assert_rank(latents, 5)
        first, cache = self.decode_latent(params, latents[:, :1])

        def step(cache, latent):
            frames, cache = self.decode_latent(params, latent[:, None], cache)
            return cache, (frames,)

        (rest,) = _scan(step, cache, jnp.moveaxis(latents[:, 1:], 1, 0))
        return _in_order(first, rest)


def _scan(step, cache, groups):
    """``lax.scan`` without the last cache."""
    return jax.lax.scan(step, cache, groups)[1]


def _in_order(first, rest):
    """The first group ``[B, t, ...]`` and the later ones ``[n, B, s, ...]`` as one ``[B, t + n s, ...]``."""
    rest = jnp.moveaxis(rest, 0, 1)
    batch, groups, size, *shape = rest.shape
    return jnp.concatenate([first, rest.reshape(batch, groups * size, *shape)], axis=1)
