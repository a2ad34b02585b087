"""The world model behind one interface: encode, decode, velocity, sample_chunk, rollout.

PROWL, its controls and every other post-training method share it. Parameters are one dict,
``{"dit", "autoencoder", "latent_mean", "latent_std"}``, so that a checkpoint is one tree.

The autoencoder is ``vae.Autoencoder``, a latent a frame, or ``wan_vae.WanVAE``, which makes 1 + n latents
of a clip of 1 + 4n frames. Both have ``channels``, ``frames_per_latent``, ``latent_mean``, ``latent_std``,
``init_params``, ``encode_frames`` and ``decode_latents``, and of both a prefix of a clip has the prefix of
its latents, and back.
"""

import dataclasses

import jax
import jax.numpy as jnp

from prowl_jax.diffusion import flow, sampler
from prowl_jax.models.action_adapter import UNKNOWN, actions_of_latents
from prowl_jax.models.action_text import ActionText
from prowl_jax.models.dit import DiT
from prowl_jax.models.vae import DOWNSAMPLING, Autoencoder
from prowl_jax.models.wan_vae import WanVAE


@dataclasses.dataclass(frozen=True)
class WorldModel:
    """An autoencoder, a DiT and how to sample; hashable, so that jit can close over it.

    Attributes:
      dit: the velocity network. autoencoder: frames to latents and back.
      sampler_steps: Euler steps a chunk (PROWL's number is not published).
      sampler_shift: Wan's shift of the sampler's noise levels.
      action_text: embeddings of the actions' words, for a DiT with a ``text_width``.
    """

    dit: DiT
    autoencoder: Autoencoder | WanVAE
    sampler_steps: int = 10
    sampler_shift: float = 1.0
    action_text: ActionText | None = None

    @property
    def chunk(self):
        """K, latents in a chunk."""
        return self.dit.chunk

    def init(self, key, frame_shape, latents):
        """Parameters for frames ``(H, W, 3)`` and windows of ``latents`` latent frames."""
        dit_key, key = jax.random.split(key)
        h, w = frame_shape[0] // DOWNSAMPLING, frame_shape[1] // DOWNSAMPLING
        channels = self.autoencoder.channels
        autoencoder = self.autoencoder.init_params(key, frame_shape)
        dit = self.dit.init(
            dit_key,
            jnp.zeros((1, latents, h, w, channels)),
            jnp.zeros((1, latents // self.chunk)),
            self._conditions(jnp.zeros((1, latents, self.dit.action_frames, len(self.dit.action_sizes)), jnp.int32)),
        )["params"]
        statistics = {name: jnp.array(getattr(self.autoencoder, name)) for name in ("latent_mean", "latent_std")}
        return {"dit": dit, "autoencoder": autoencoder, **statistics}

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

    def velocity(self, dit_params, z_sigma, sigma_per_chunk, actions):
        """Velocity of a whole window: ``z_sigma [B, L, h, w, C]``, ``sigma [B, L/K]``, ``actions [B, T, A]``."""
        conditions = self._conditions(actions_of_latents(actions, self.dit.action_frames))
        return self.dit.apply({"params": dit_params}, z_sigma, sigma_per_chunk, conditions)[0]

    def rollout(self, params, key, context, actions, n_chunks, common_noise=False):
        """Dream ``n_chunks`` chunks after ``context``, under the actions that were really done.

        Args:
          context: normalised latents ``[B, S, h, w, C]``, S whole chunks.
          actions: int32 ``[B, T, A]`` from frame 0 of the context on, covering all latents.
          common_noise: start every row from the same noise, so that two scores of a trajectory
            under one key differ by the model alone, wherever the trajectory stands in a batch.

        Returns:
          normalised latents ``[B, n_chunks * K, h, w, C]``.
        """
        sigmas = flow.sigma_schedule(self.sampler_steps, self.sampler_shift)
        led_to = actions_of_latents(actions, self.dit.action_frames)
        rows = 1 if common_noise else context.shape[0]
        noise = jax.random.normal(key, (rows, n_chunks * self.chunk, *context.shape[2:]), context.dtype)
        noise = jnp.broadcast_to(noise, (context.shape[0], *noise.shape[1:]))
        functions = self._sampling_functions(params["dit"])
        return sampler.rollout(*functions, noise, context, led_to, self.chunk, sigmas)

    def sample_chunk(self, params, key, context, actions):
        """Dream the one chunk after ``context``; as ``rollout`` with ``n_chunks=1``."""
        return self.rollout(params, key, context, actions, 1)

    def _conditions(self, led_to):
        """What the DiT is told of the actions ``[B, L, M, A]`` that led to each latent."""
        return led_to if self.action_text is None else self.action_text(led_to)

    def _sampling_functions(self, dit_params):
        variables = {"params": dit_params}

        def remember(context, actions):
            # In training the first latent of a window never knows the action that led to it.
            actions = actions.at[:, 0].set(UNKNOWN)
            sigma = jnp.zeros((context.shape[0], context.shape[1] // self.chunk))
            return self.dit.apply(variables, context, sigma, self._conditions(actions))[1]

        def velocity(memory, z, sigma, actions):
            sigma = jnp.full((z.shape[0], 1), sigma)
            return self.dit.apply(variables, z, sigma, self._conditions(actions), memory)[0]

        return remember, velocity
