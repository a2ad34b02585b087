"""The world model behind one interface: encode, decode, velocity, sample_chunk, rollout.

PROWL, its controls and every other post-training method share it. Parameters are one dict,
``{"dit", "autoencoder", "latent_mean", "latent_std"}``, so that a checkpoint is one tree.
"""

import dataclasses

import jax
import jax.numpy as jnp

from prowl_jax.diffusion import flow, sampler
from prowl_jax.models.action_adapter import UNKNOWN, actions_of_latents
from prowl_jax.models.dit import DiT
from prowl_jax.models.vae import DOWNSAMPLING, Autoencoder


@dataclasses.dataclass(frozen=True)
class WorldModel:
    """An autoencoder, a DiT and how to sample; hashable, so that jit can close over it.

    Attributes:
      dit: the velocity network. autoencoder: frames to latents and back.
      sampler_steps: Euler steps a chunk (PROWL's number is not published).
      sampler_shift: Wan's shift of the sampler's noise levels.
    """

    dit: DiT
    autoencoder: Autoencoder
    sampler_steps: int = 10
    sampler_shift: float = 1.0

    @property
    def chunk(self):
        """K, latents in a chunk."""
        return self.dit.chunk

    def init(self, key, frame_shape, latents):
        """Parameters for frames ``(H, W, 3)`` and windows of ``latents`` latent frames."""
        dit_key, key = jax.random.split(key)
        frames = jnp.zeros((1, *frame_shape))
        h, w = frame_shape[0] // DOWNSAMPLING, frame_shape[1] // DOWNSAMPLING
        channels = self.autoencoder.channels
        autoencoder = self.autoencoder.init(key, frames, jnp.zeros((1, h, w, channels)))["params"]
        dit = self.dit.init(
            dit_key,
            jnp.zeros((1, latents, h, w, channels)),
            jnp.zeros((1, latents // self.chunk)),
            jnp.zeros((1, latents, self.dit.action_frames, len(self.dit.action_sizes)), jnp.int32),
        )["params"]
        statistics = {"latent_mean": jnp.zeros(channels), "latent_std": jnp.ones(channels)}
        return {"dit": dit, "autoencoder": autoencoder, **statistics}

    def encode(self, params, frames):
        """uint8 frames ``[..., H, W, 3]`` -> normalised latents ``[..., h, w, C]`` (posterior mean)."""
        flat = frames.reshape(-1, *frames.shape[-3:]).astype(jnp.float32) / 127.5 - 1.0
        mean, _ = self.autoencoder.apply({"params": params["autoencoder"]}, flat, method="encode")
        latents = (mean - params["latent_mean"]) / params["latent_std"]
        return latents.reshape(*frames.shape[:-3], *latents.shape[1:])

    def decode(self, params, latents):
        """Normalised latents ``[..., h, w, C]`` -> float frames in [0, 1] ``[..., H, W, 3]``."""
        flat = latents.reshape(-1, *latents.shape[-3:]) * params["latent_std"] + params["latent_mean"]
        frames = self.autoencoder.apply({"params": params["autoencoder"]}, flat, method="decode")
        return jnp.clip(frames / 2.0 + 0.5, 0.0, 1.0).reshape(*latents.shape[:-3], *frames.shape[1:])

    def velocity(self, dit_params, z_sigma, sigma_per_chunk, actions):
        """Velocity of a whole window: ``z_sigma [B, L, h, w, C]``, ``sigma [B, L/K]``, ``actions [B, T, A]``."""
        led_to = actions_of_latents(actions, self.dit.action_frames)
        return self.dit.apply({"params": dit_params}, z_sigma, sigma_per_chunk, led_to)[0]

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

    def _sampling_functions(self, dit_params):
        variables = {"params": dit_params}

        def remember(context, actions):
            # In training the first latent of a window never knows the action that led to it.
            actions = actions.at[:, 0].set(UNKNOWN)
            sigma = jnp.zeros((context.shape[0], context.shape[1] // self.chunk))
            return self.dit.apply(variables, context, sigma, actions)[1]

        def velocity(memory, z, sigma, actions):
            sigma = jnp.full((z.shape[0], 1), sigma)
            return self.dit.apply(variables, z, sigma, actions, memory)[0]

        return remember, velocity
