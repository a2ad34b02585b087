"""A small convolutional autoencoder, eight- or fourfold in height and width, one frame at a time.

It stands where Wan's VAE stands in the paper (stride 8 in space; Wan's is also 4 in time). The
stem folds 4x4 pixels into channels, so that on a CPU all convolutions run on small grids.
"""

import chex
import flax.linen as nn
import jax.numpy as jnp

from prowl_jax.models.initial import initial
from prowl_jax.settings import COUNT, NATURAL, one_of, setting

DOWNSAMPLING = 8
_STEM = 4


def space_to_depth(x, block):
    """``[..., H, W, C]`` -> ``[..., H/block, W/block, block^2 C]``."""
    *lead, height, width, channels = x.shape
    x = x.reshape(*lead, height // block, block, width // block, block, channels)
    x = x.swapaxes(-4, -3)
    return x.reshape(*lead, height // block, width // block, block * block * channels)


def depth_to_space(x, block):
    """The inverse of ``space_to_depth``."""
    *lead, height, width, channels = x.shape
    x = x.reshape(*lead, height, width, block, block, channels // block**2)
    x = x.swapaxes(-4, -3)
    return x.reshape(*lead, height * block, width * block, channels // block**2)


class ResidualBlock(nn.Module):
    """``x + conv(silu(norm(conv(silu(norm(x))))))``, norms over channels as in Wan's VAE."""

    @nn.compact
    def __call__(self, x):
        h = x
        for i in range(2):
            h = nn.silu(nn.RMSNorm(epsilon=1e-6, name=f"norm_{i}")(h))
            h = nn.Conv(x.shape[-1], (3, 3), name=f"conv_{i}")(h)
        return x + h


class Autoencoder(nn.Module):
    """Frames to latents and back.

    Attributes:
      channels: C, latent channels.
      widths: features at a quarter of the resolution and at that of the latents.
      blocks: residual blocks at that of the latents (a quarter has one before).
      downsampling: pixels of a frame's side for one of a latent's, 8 or 4.
    """

    channels: int = setting(8, "of a latent", COUNT)
    widths: tuple = setting((64, 128), "features by stage: two of the small one, four of Wan's")
    blocks: int = setting(2, "residual blocks of a stage", NATURAL)
    downsampling: int = setting(DOWNSAMPLING, "pixels of a side for one of the small one's latents", one_of((8, 4)))
    frames_per_latent = 1

    def setup(self):
        fine, coarse = self.widths
        step = self.downsampling // _STEM
        self.encoder = nn.Sequential(
            [nn.Conv(fine, (3, 3)), ResidualBlock(), nn.Conv(coarse, (2, 2), (step, step))]
            + [ResidualBlock() for _ in range(self.blocks)]
            + [nn.RMSNorm(epsilon=1e-6), nn.silu, nn.Conv(2 * self.channels, (1, 1))]
        )
        self.decoder = nn.Sequential(
            [nn.Conv(coarse, (3, 3))]
            + [ResidualBlock() for _ in range(self.blocks)]
            + [nn.Dense(step**2 * fine), lambda x: depth_to_space(x, step), ResidualBlock(), ResidualBlock()]
            + [nn.RMSNorm(epsilon=1e-6), nn.silu, nn.Conv(3 * _STEM**2, (3, 3))]
        )

    def encode(self, frames):
        """Float frames in [-1, 1] ``[B, H, W, 3]`` -> posterior mean and log-variance ``[B, h, w, C]``."""
        chex.assert_rank(frames, 4)
        if frames.shape[1] % self.downsampling or frames.shape[2] % self.downsampling:
            raise ValueError(f"frames of {frames.shape[1]}x{frames.shape[2]} are not multiples of {self.downsampling}")
        mean, log_variance = jnp.split(self.encoder(space_to_depth(frames, _STEM)), 2, axis=-1)
        return mean, jnp.clip(log_variance, -20.0, 10.0)

    def decode(self, latents):
        """Latents ``[B, h, w, C]`` -> float frames ``[B, H, W, 3]``, in [-1, 1] but not clipped."""
        return depth_to_space(self.decoder(latents), _STEM)

    @property
    def latent_mean(self):
        """By channel, to normalise with: 0 until ``train.autoencoder.latent_statistics`` has measured it."""
        return (0.0,) * self.channels

    @property
    def latent_std(self):
        """As ``latent_mean``: 1."""
        return (1.0,) * self.channels

    @nn.nowrap
    def init_params(self, key, frame_shape):
        """Random parameters for frames ``(H, W, 3)``."""
        frames = jnp.zeros((1, *frame_shape))
        grid = frame_shape[0] // self.downsampling, frame_shape[1] // self.downsampling
        noise = jnp.zeros((1, *grid, self.channels))
        return initial(self, key, frames, noise)

    @nn.nowrap
    def encode_frames(self, params, frames):
        """Float frames in [-1, 1] ``[..., H, W, 3]`` -> posterior mean ``[..., h, w, C]``; any leading axes."""
        flat = frames.reshape(-1, *frames.shape[-3:])
        mean, _ = self.apply({"params": params}, flat, method="encode")
        return mean.reshape(*frames.shape[:-3], *mean.shape[1:])

    @nn.nowrap
    def decode_latents(self, params, latents):
        """Latents ``[..., h, w, C]`` -> float frames, about [-1, 1], ``[..., H, W, 3]``."""
        flat = latents.reshape(-1, *latents.shape[-3:])
        frames = self.apply({"params": params}, flat, method="decode")
        return frames.reshape(*latents.shape[:-3], *frames.shape[1:])

    def __call__(self, frames, noise):
        """Reconstruct from a posterior sample; ``noise`` is standard normal ``[B, h, w, C]``.

        Returns the reconstruction and the posterior's mean and log-variance.
        """
        mean, log_variance = self.encode(frames)
        return self.decode(mean + jnp.exp(0.5 * log_variance) * noise), mean, log_variance
