"""No autoencoder: a frame's own pixels, blocks of them as channels, so that nothing is lost and nothing is trained.

It stands where ``small.Autoencoder`` stands, for small frames: 64x64 pixels are latents of 16x16 with 48 channels,
which a convolutional denoiser (``models/unet``) takes. An autoencoder that reconstructs at 28 dB keeps a quarter
of the gradient energy of such frames, and nothing sharper can be dreamt.
"""

import dataclasses

from prowl_jax.models.autoencoders.small import depth_to_space, space_to_depth
from prowl_jax.settings import COUNT, setting

STD = 0.5
"""Deviation that pixels in [-1, 1] are divided by; of rendered first-person frames it is .4 to .6."""


@dataclasses.dataclass(frozen=True)
class Pixels:
    """Space to depth and back; hashable.

    Attributes:
      block: pixels of a side that become channels of one latent pixel.
    """

    block: int = setting(4, "pixels of a side that kind=pixels folds into channels", COUNT)
    frames_per_latent = 1

    @property
    def downsampling(self):
        """Pixels of a frame's side for one of a latent's."""
        return self.block

    @property
    def channels(self):
        """C: three colours of a block's pixels."""
        return 3 * self.block**2

    @property
    def latent_mean(self):
        """By channel, to normalise with."""
        return (0.0,) * self.channels

    @property
    def latent_std(self):
        """By channel, to normalise with: the same for every pixel and colour, so that latents stay pixels."""
        return (STD,) * self.channels

    def init_params(self, key, frame_shape):
        """No parameters."""
        del key, frame_shape
        return {}

    def encode_frames(self, params, frames):
        """Float frames in [-1, 1] ``[..., H, W, 3]`` -> ``[..., h, w, C]``; ValueError unless whole blocks."""
        del params
        if frames.shape[-3] % self.block or frames.shape[-2] % self.block:
            raise ValueError(f"frames of {frames.shape[-3]}x{frames.shape[-2]} are not multiples of {self.block}")
        return space_to_depth(frames, self.block)

    def decode_latents(self, params, latents):
        """The inverse of ``encode_frames``."""
        del params
        return depth_to_space(latents, self.block)
