"""Between frames and a world model's latents: what every world model does alike, whatever its network is."""

import jax.numpy as jnp
import numpy as np


class FrameSpace:
    """Encodes and decodes by ``self.autoencoder`` and the latents' statistics in the parameters.

    Attributes:
      stride: M, frames of a latent; the first of a clip shows one frame whatever M is.
    """

    def frames_of(self, latents):
        """T, the frames of a clip of L latents: ``1 + M (L - 1)``."""
        return 1 + self.stride * (latents - 1)

    def latent_shape(self, frame_shape):
        """``(h, w, C)`` of a latent of frames ``(H, W, 3)``."""
        block = self.autoencoder.downsampling
        return frame_shape[0] // block, frame_shape[1] // block, self.autoencoder.channels

    def encode(self, params, frames):
        """uint8 frames ``[..., T, H, W, 3]`` -> normalised latents ``[..., L, h, w, C]`` (posterior mean).

        T is 1 + (L - 1) times the autoencoder's ``frames_per_latent``; with one frame a latent, the
        time axis is a leading axis like any other.
        """
        mean = self.autoencoder.encode_frames(params["autoencoder"], frames.astype(jnp.float32) / 127.5 - 1.0)
        return (mean - params["latent_mean"]) / params["latent_std"]

    def decode(self, params, latents):
        """Normalised latents ``[..., L, h, w, C]`` -> float frames in [0, 1] ``[..., T, H, W, 3]``."""
        latents = latents * params["latent_std"] + params["latent_mean"]
        frames = self.autoencoder.decode_latents(params["autoencoder"], latents)
        return jnp.clip(frames / 2.0 + 0.5, 0.0, 1.0)

    def decode_after(self, params, past, latents):
        """The frames of ``latents`` that follow those of ``past``, both normalised ``[..., L, h, w, C]``.

        With several frames a latent these are the last ``L * frames_per_latent`` frames of both
        together: what such a latent shows depends on the ones before.
        """
        per_latent = self.autoencoder.frames_per_latent
        if per_latent == 1:
            return self.decode(params, latents)
        frames = self.decode(params, jnp.concatenate([past, latents], axis=-4))
        return frames[..., -per_latent * latents.shape[-4] :, :, :, :]

    def shown(self, latents):
        """Latents as what follows sees them; as they are, where nothing is rounded."""
        return latents

    def from_kept(self, kept):
        """Normalised latents of what a store keeps for training: latents, or, with ``Pixels``, the frames (uint8).

        numpy arrays stay numpy arrays.
        """
        if kept.dtype != np.uint8:
            return kept
        a = self.autoencoder
        mean, std = (np.array(x, np.float32) for x in (a.latent_mean, a.latent_std))
        return (a.encode_frames({}, kept.astype(np.float32) / np.float32(127.5) - np.float32(1.0)) - mean) / std
