"""The world model behind one interface: encode, decode, velocity, sample_chunk, rollout, and chunk by chunk
prefill, next_chunk.

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

from prowl_jax.diffusion import flow, ring, sampler
from prowl_jax.diffusion.forcing import block_causal_mask
from prowl_jax.models.autoencoders.small import Autoencoder
from prowl_jax.models.autoencoders.wan import WanVAE
from prowl_jax.models.dit.action_adapter import UNKNOWN, actions_of_latents
from prowl_jax.models.dit.action_text import ActionText
from prowl_jax.models.dit.dit import DiT
from prowl_jax.models.frame_space import FrameSpace
from prowl_jax.models.initial import initial
from prowl_jax.settings import COUNT, POSITIVE, one_of, setting

CACHES = ("window", "rolling")
"""How a rollout keeps its past (``WorldModel.cache``), but for "none", which is there to check "rolling" by."""


@dataclasses.dataclass(frozen=True)
class WorldModel(FrameSpace):
    """An autoencoder, a DiT and how to sample; hashable, so that jit can close over it.

    Attributes:
      dit: the velocity network. autoencoder: frames to latents and back.
      sampler_steps: Euler steps a chunk (PROWL's number is not published).
      sampler_shift: Wan's shift of the sampler's noise levels.
      cache: what a rollout keeps of its past. "window": the last S latents, run anew for every chunk as
        if nothing had been before them, so the first of them does not know the action that led to it,
        as in training. "rolling": keys and values, written once (``diffusion/ring.py``); the
        least to compute. Every latent knows its action but the first of the context, and upper blocks
        know something of what has left the window. "none": all latents since the start at every
        step, each chunk seeing S before it; gives what "rolling" gives and is there to check it.
      cache_latents: S of "rolling" and "none"; 0: as many as the context has. More than that, and the
        window grows before it slides. "window" has the context's.
      action_text: embeddings of the actions' words, for a DiT with a ``text_width``.
    """

    dit: DiT
    autoencoder: Autoencoder | WanVAE
    sampler_steps: int = setting(10, "Euler steps a chunk", COUNT)
    sampler_shift: float = setting(1.0, "of the sampler's noise levels", POSITIVE, source="Wan: 5")
    cache: str = setting(
        "window", "or rolling: each latent is run once as context, not once for every chunk after it", one_of(CACHES)
    )
    cache_latents: int = 0
    action_text: ActionText | None = None

    def __post_init__(self):
        if self.cache not in (*CACHES, "none"):
            raise ValueError(f"no cache {self.cache!r}; there are {', '.join(CACHES)}, none")
        even = self.sampler_shift == 1 and self.sampler_steps & (self.sampler_steps - 1) == 0
        if self.dit.shortcut and not (even and self.sampler_steps <= self.dit.shortcut):
            raise ValueError(
                f"sampler_steps={self.sampler_steps}, sampler_shift={self.sampler_shift}: a network that takes "
                f"shortcuts takes 1, 2, 4 ... {self.dit.shortcut} steps of one length, shift 1"
            )
        if self.autoencoder is not None and self.autoencoder.frames_per_latent != self.stride:
            raise ValueError(
                f"a latent of the autoencoder is {self.autoencoder.frames_per_latent} frames; the DiT's "
                f"action_frames={self.stride} must be the same"
            )

    @property
    def stride(self):
        """M, frames of a latent; the first of a clip shows one frame whatever M is."""
        return self.dit.action_frames

    @property
    def chunk(self):
        """K, latents in a chunk."""
        return self.dit.chunk

    @property
    def action_sizes(self):
        """Sizes of the action factors."""
        return self.dit.action_sizes

    @property
    def action_conditioning(self):
        """Names on the paths of what the network is told its actions through: what phase 2 trains of it."""
        return self.dit.action_conditioning

    @property
    def low_rank(self):
        """Names on the paths of what LoRA adds to, and of what it trains whole."""
        return self.dit.low_rank

    def tokens(self, frame_shape):
        """N, the tokens of one latent of frames ``(H, W, 3)``."""
        height, width, _ = self.latent_shape(frame_shape)
        return (height // self.dit.patch) * (width // self.dit.patch)

    def init(self, key, frame_shape, latents):
        """Parameters for frames ``(H, W, 3)`` and windows of ``latents`` latent frames."""
        dit_key, key = jax.random.split(key)
        h, w, channels = self.latent_shape(frame_shape)
        autoencoder = self.autoencoder.init_params(key, frame_shape)
        dit = initial(
            self.dit,
            dit_key,
            jnp.zeros((1, latents, h, w, channels)),
            jnp.zeros((1, latents // self.chunk)),
            self._conditions(jnp.zeros((1, latents, self.stride, len(self.dit.action_sizes)), jnp.int32)),
        )
        statistics = {name: jnp.array(getattr(self.autoencoder, name)) for name in ("latent_mean", "latent_std")}
        return {"dit": dit, "autoencoder": autoencoder, **statistics}

    def velocity(self, dit_params, z_sigma, sigma_per_chunk, actions, length=None):
        """Velocity of a whole window: ``z_sigma [B, L, h, w, C]``, ``sigma [B, L/K]``, ``actions [B, T, A]``.

        ``length [B, L/K]`` is that of the steps, told to a network that takes shortcuts; None: the finest.
        """
        conditions = self._conditions(actions_of_latents(actions, self.dit.action_frames))
        return self.dit.apply({"params": dit_params}, z_sigma, sigma_per_chunk, conditions, length=length)[0]

    def chunk_velocity(self, dit_params, context, z_sigma, sigma, actions):
        """Velocity of one chunk after a clean context, as the sampler of ``cache`` "window" asks for it.

        Args:
          context: ``[B, S, h, w, C]``. z_sigma: ``[B, K, h, w, C]``. sigma: ``[B]``, above 0.
          actions: int32 ``[B, T, A]`` of the frames of both.
        """
        levels = jnp.zeros((len(sigma), context.shape[1] // self.chunk + 1)).at[:, -1].set(sigma)
        z, length = jnp.concatenate([context, z_sigma], axis=1), self._length(levels)
        return self.velocity(dit_params, z, levels, actions, length)[:, -self.chunk :]

    def _length(self, sigma):
        """What a network that takes shortcuts is told when sampling: a step's length, the finest where all is clean."""
        if not self.dit.shortcut:
            return None
        return jnp.where(sigma > 0, 1.0 / self.sampler_steps, 1.0 / self.dit.shortcut)

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
        sigmas = self.levels()
        led_to = actions_of_latents(actions, self.dit.action_frames)
        past, horizon = context.shape[1], n_chunks * self.chunk
        rows = 1 if common_noise else context.shape[0]
        noise = jax.random.normal(key, (rows, horizon, *context.shape[2:]), context.dtype)
        noise = jnp.broadcast_to(noise, (context.shape[0], *noise.shape[1:]))
        if self.cache == "window":
            functions = self._window_functions(params["dit"])
            return sampler.rollout(*functions, noise, context, led_to, self.chunk, sigmas)
        if self.cache == "none":
            velocity = self._banded_velocity(params["dit"], past)
            return sampler.uncached_rollout(velocity, noise, context, led_to, self.chunk, sigmas)
        cache = self._prefill(params["dit"], context, led_to[:, :past])
        functions = self._ring_functions(params["dit"])
        led_to = led_to[:, past : past + horizon]
        return sampler.cached_rollout(*functions, cache, noise, led_to, self.chunk, sigmas)[0]

    def sample_chunk(self, params, key, context, actions):
        """Dream the one chunk after ``context``; as ``rollout`` with ``n_chunks=1``."""
        return self.rollout(params, key, context, actions, 1)

    def _conditions(self, led_to):
        """What the DiT is told of the actions ``[B, L, M, A]`` that led to each latent."""
        return led_to if self.action_text is None else self.action_text(led_to)

    def prefill(self, params, context, actions):
        """The rolling cache of a context, for ``next_chunk``, whatever ``cache`` says.

        Args:
          context: normalised latents ``[B, C, h, w, C]``, whole chunks, at most ``cache_latents``.
          actions: int32 ``[B, T, A]`` of its frames; the last leads out of it and is not read.

        Returns:
          A ``ring.Ring``.
        """
        return self._prefill(params["dit"], context, actions_of_latents(actions, self.dit.action_frames))

    def next_chunk(self, params, noise, cache, actions):
        """Dream one chunk more, as when somebody plays: one program for every chunk, however many.

        Args:
          noise: standard normal ``[B, K, h, w, C]``, where the chunk starts.
          cache: from ``prefill`` or from the chunk before; donate it.
          actions: int32 ``[B, K M, A]``, M pixel frames a latent: those that lead to the chunk's frames,
            the first of them done on the last frame before it.

        Returns:
          normalised latents ``[B, K, h, w, C]``, and the cache with this chunk in it.
        """
        led_to = actions.reshape(*noise.shape[:2], self.dit.action_frames, -1)
        functions = self._ring_functions(params["dit"])
        return sampler.cached_rollout(*functions, cache, noise, led_to, self.chunk, self.levels())

    def levels(self):
        """The sampler's noise levels ``[steps + 1]``, from 1 down to 0."""
        return flow.sigma_schedule(self.sampler_steps, self.sampler_shift)

    def _window_functions(self, dit_params):
        variables = {"params": dit_params}

        def remember(context, actions):
            # In training the first latent of a window never knows the action that led to it.
            actions = actions.at[:, 0].set(UNKNOWN)
            sigma = jnp.zeros((context.shape[0], context.shape[1] // self.chunk))
            return self.dit.apply(variables, context, sigma, self._conditions(actions))[1]

        def velocity(memory, z, sigma, actions):
            sigma = jnp.full((z.shape[0], 1), sigma)
            return self.dit.apply(variables, z, sigma, self._conditions(actions), memory, length=self._length(sigma))[0]

        return remember, velocity

    def _prefill(self, dit_params, context, led_to):
        length = context.shape[1]
        if length % self.chunk or (self.cache_latents or length) % self.chunk:
            raise ValueError(
                f"{length} context latents and a cache of {self.cache_latents or length} "
                f"are not whole chunks of {self.chunk}"
            )
        sigma = jnp.zeros((context.shape[0], length // self.chunk))
        _, memory = self.dit.apply({"params": dit_params}, context, sigma, self._conditions(led_to))
        return ring.start(memory, length, self.cache_latents or length)

    def _ring_functions(self, dit_params):
        def run(cache, z, sigma, actions):
            sigma = jnp.full((z.shape[0], 1), sigma)
            mask = ring.mask(cache, self.chunk)
            past = ring.memory(cache), mask, cache.written
            conditions, length = self._conditions(actions), self._length(sigma)
            return self.dit.apply({"params": dit_params}, z, sigma, conditions, *past, length=length)

        def velocity(cache, z, sigma, actions):
            return run(cache, z, sigma, actions)[0]

        def write(cache, z, actions):
            return ring.write(cache, run(cache, z, 0.0, actions)[1])

        return velocity, write

    def _banded_velocity(self, dit_params, context):
        def velocity(z, sigma, actions):
            length = z.shape[1]
            mask = block_causal_mask(length, length, self.chunk, self.cache_latents or context)
            sigma = jnp.broadcast_to(sigma, (z.shape[0], length // self.chunk))
            conditions, length = self._conditions(actions), self._length(sigma)
            return self.dit.apply({"params": dit_params}, z, sigma, conditions, None, mask, length=length)[0]

        return velocity
