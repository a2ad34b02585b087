"""The world model around the convolutional denoiser: the interface of ``models.world_model``, a frame at a time."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from prowl_jax.diffusion import flow
from prowl_jax.diffusion.autoregressive import autoregressive_loss, autoregressive_shortcut_loss
from prowl_jax.models.autoencoders.pixels import Pixels
from prowl_jax.models.autoencoders.small import Autoencoder
from prowl_jax.models.initial import initial
from prowl_jax.models.unet.unet import ACTION_CONDITIONING, LOW_RANK, UNet, dropout_mask
from prowl_jax.models.unet.warp import photometric
from prowl_jax.models.world_model import FrameSpace
from prowl_jax.settings import POSITIVE, SHARE, Check, check, setting
from prowl_jax.types import pytree

LEAST_LEVEL = 0.002  # the lowest level that a denoiser of pixels is trained at (DIAMOND: 2e-3)

LIKELIHOOD = 0.2
"""What the surprise at the residual counts beside the photometric error, both of the motion's network."""


@pytree
class Recent:
    """What a dream keeps of its past.

    Attributes:
      latents: float ``[B, n, h, w, C]``, the last n frames. actions: int32 ``[B, n - 1, A]``, between them.
    """

    latents: jax.Array
    actions: jax.Array


def falls_to_0(levels):
    """Whether noise levels are those of a sampler: ever lower, from 1 to 0."""
    ordered = all(a > b for a, b in zip(levels, levels[1:], strict=False))
    return len(levels) > 1 and levels[0] == 1 and levels[-1] == 0 and ordered


def even_levels(steps):
    """Levels of so many steps of one length, from 1 to 0."""
    return tuple(1.0 - i / steps for i in range(steps + 1))


def powers(most):
    """1, 2, 4 ... ``most``."""
    return tuple(2**i for i in range(most.bit_length()))


def noise_levels(known, steps):
    """``steps`` noise levels from 1 down, and 0: those known, or as many again between them as are asked for.

    Between the levels of a model's own sampler others lie evenly on a logarithmic scale; the first below the lowest is
    as far from it as that is from the one before.
    """
    below = max(known[-2] ** 2 / known[-3], LEAST_LEVEL) if len(known) > 2 else LEAST_LEVEL
    places = np.log([*known[:-1], below])
    at = np.linspace(0, len(known) - 1, steps + 1)[:-1]
    return (*(float(x) for x in np.exp(np.interp(at, np.arange(len(places)), places))), 0.0)


def levels_of(model, steps):
    """The levels of so many steps: of one length where the network takes shortcuts, else ``noise_levels``."""
    return even_levels(steps) if model.dit.shortcut else noise_levels(model.sampler_levels, steps)


@dataclasses.dataclass(frozen=True)
class UNetWorldModel(FrameSpace):
    """A ``UNet`` over pixels and how to sample; hashable, so that jit can close over it.

    Attributes:
      dit: the network. (Named as the DiT's place in ``WorldModel``, so that parameters lie in one place.)
      autoencoder: ``Pixels`` of the network's block, or, without ``motion``, one of a latent a frame.
      sampler_levels: from 1 down to 0; one evaluation for each but the last.
      start_noise: deviation of the noise that a frame starts from (DIAMOND samples with less than it trained with).
      context_noise: level of noise put on the context at every frame, and told.
    """

    dit: UNet
    autoencoder: Pixels | Autoencoder = Pixels()
    sampler_levels: tuple = setting(
        (1.0, 0.13, 0.0),
        "noise levels, an evaluation for each but the last",
        Check(falls_to_0, "does not fall from 1 to 0"),
    )
    start_noise: float = setting(
        1.0, "deviation of the noise that a frame starts from", POSITIVE, source="DIAMOND: less than it trained with"
    )
    context_noise: float = setting(0.0, "level of noise on the context when dreaming", SHARE)
    action_conditioning = ACTION_CONDITIONING
    low_rank = LOW_RANK
    stride = 1
    chunk = 1

    def __post_init__(self):
        check(self)
        if self.autoencoder.channels != self.dit.channels:
            raise ValueError(
                f"latents have {self.autoencoder.channels} channels, the network is for {self.dit.channels}"
            )
        if self.dit.shortcut and tuple(self.sampler_levels) not in map(even_levels, powers(self.dit.shortcut)):
            raise ValueError(
                f"sampler_levels={self.sampler_levels}: a network that takes shortcuts takes 1, 2, 4 ... "
                f"{self.dit.shortcut} steps of one length"
            )

    @property
    def context(self):
        """n, frames that a dream needs to start from."""
        return self.dit.context

    @property
    def action_sizes(self):
        """Values of each action factor."""
        return self.dit.action_sizes

    def tokens(self, frame_shape):
        """Places of one frame that the network works on at its finest."""
        height, width, _ = self.latent_shape(frame_shape)
        return height * width

    def init(self, key, frame_shape, latents=0):
        """Parameters for frames ``(H, W, 3)``; windows may have any length."""
        del latents
        statistics = {name: jnp.array(getattr(self.autoencoder, name)) for name in ("latent_mean", "latent_std")}
        autoencoder = self.autoencoder.init_params(jax.random.fold_in(key, 1), frame_shape)
        return {"dit": self._init_network(key, frame_shape), "autoencoder": autoencoder, **statistics}

    def _init_network(self, key, frame_shape):
        h, w, c = self.latent_shape(frame_shape)
        n = self.context
        return initial(
            self.dit, key, jnp.zeros((1, h, w, c)), jnp.ones(1), jnp.zeros((1, n, h, w, c)), jnp.zeros((1, n)),
            jnp.zeros((1, n, len(self.action_sizes)), jnp.int32),
        )  # fmt: skip

    def velocity(self, network_params, z_sigma, sigma_per_chunk, actions):
        """Velocity of every frame of a window given the (noisy) frames before it: ``[B, L, h, w, C]``.

        Where there are fewer than n frames before one, the missing are zeros of level 1, of which nothing is known.

        Args:
          z_sigma: float ``[B, L, h, w, C]``. sigma_per_chunk: ``[B, L]``, above 0 where a velocity is wanted; where a
            frame is clean it is that of the lowest level. actions: int32 ``[B, T, A]``.
        """
        (batch, length), n = z_sigma.shape[:2], self.context
        missing = ((0, 0), (n, 0))
        past = jnp.pad(z_sigma, (*missing, (0, 0), (0, 0), (0, 0)))
        levels = jnp.pad(sigma_per_chunk, missing, constant_values=1.0)
        led = jnp.pad(actions[:, : length - 1], (*missing, (0, 0)))  # led[t] is what led to frame t - n + 1
        places = jnp.arange(length)[:, None] + jnp.arange(n)
        rows = (past[:, places], levels[:, places], led[:, places])
        context, context_sigma, led = (x.reshape(batch * length, n, *x.shape[3:]) for x in rows)
        z, sigma = z_sigma.reshape(-1, *z_sigma.shape[2:]), jnp.maximum(sigma_per_chunk.reshape(-1), 0.002)
        xhat, _ = self._apply(network_params, z, sigma, context, context_sigma, led)
        return ((z - xhat) / sigma[:, None, None, None]).reshape(z_sigma.shape)

    def chunk_velocity(self, network_params, context, z_sigma, sigma, actions):
        """As ``WorldModel.chunk_velocity``, a frame; of the context the last n frames are seen.

        Gradients reach the motion too, through the frame that it moves: who learns from velocities has no other loss.
        """
        n, past = self.context, context.shape[1]
        clean, length = jnp.zeros((len(sigma), n)), jnp.full(len(sigma), 1.0 / (len(self.sampler_levels) - 1))
        xhat, _ = self._apply(
            network_params, z_sigma[:, 0], sigma, context[:, past - n :], clean, actions[:, past - n : past], length,
            through=True,
        )  # fmt: skip
        return (z_sigma - xhat[:, None]) / sigma[:, None, None, None, None]

    def levels(self):
        """The sampler's noise levels ``[steps + 1]``, from 1 down to 0."""
        return jnp.asarray(self.sampler_levels)

    def loss(self, levels, own=None, by_sampler=False, shortcut=None):
        """``loss(network_params, batch, key) -> (scalar, metrics)`` of a ``types.Batch``: ``autoregressive_loss``.

        ``own`` as there. ``by_sampler``: own frames are sampled, as when dreaming. With a ``shortcut``
        (``diffusion.shortcut.Shortcut``), ``autoregressive_shortcut_loss``, whose own frames are of one step.
        """

        def auxiliary(guess, real):
            off = photometric(guess.frame, real, self.dit.block) if self.dit.motion else jnp.zeros(len(real))
            return off + LIKELIHOOD * self.dit.surprise(guess, real) if self.dit.predict_residual else off

        if shortcut is not None:
            return self._shortcut_loss(levels, own, shortcut, auxiliary)

        def loss(params, batch, key):
            kept = self._kept(key, batch)

            def denoise(*inputs):
                return self._apply(params, *inputs, None, kept)

            def follow(seen, led, key):
                noise = jax.random.normal(key, seen[:, -1].shape)
                return self._sample(jax.lax.stop_gradient(params), noise, seen, led, kept)

            return autoregressive_loss(
                denoise, batch.latents, batch.actions, key, context=self.context, levels=levels,
                error=self.dit.error, auxiliary=auxiliary, shown=self.shown, own=own,
                follow=follow if by_sampler else None,
            )  # fmt: skip

        return loss

    def _kept(self, key, batch):
        """The masks of a batch in training, one a clip; None without dropout."""
        if not self.dit.dropout:
            return None
        return dropout_mask(jax.random.fold_in(key, 1), (len(batch.latents), self.dit.width), self.dit.dropout)

    def dream_mask(self, key, rate):
        """A mask for one dream, of any ``rate``, for ``next_chunk``; ValueError where the network has no dropout."""
        if not self.dit.dropout:
            raise ValueError("masks need a network that was trained with them (world_model.unet.dropout)")
        return dropout_mask(key, (1, self.dit.width), rate)

    def _shortcut_loss(self, levels, own, shortcut, auxiliary):
        def loss(params, batch, key):
            network, kept = {"params": params}, self._kept(key, batch)

            def guess(*seen):
                return self.dit.apply(network, *seen, method="guess")[0]

            def predict(z, sigma, length, *told):
                told, masks = jax.tree.map(lambda x: x[: len(z)] if jnp.ndim(x) else x, (told, kept))
                return self.dit.apply(network, z, sigma, *told, length, masks, method="denoise")

            return autoregressive_shortcut_loss(
                guess, predict, batch.latents, batch.actions, key, context=self.context, levels=levels,
                auxiliary=auxiliary, shown=self.shown, settings=shortcut, own=own,
            )  # fmt: skip

        return loss

    def shown(self, latents):
        """Latents as the frames that are seen: within range, 8-bit. An autoencoder's stay as they are."""
        if not isinstance(self.autoencoder, Pixels):
            return latents
        mean, std = self.autoencoder.latent_mean[0], self.autoencoder.latent_std[0]
        pixels = jnp.round((jnp.clip(latents * std + mean, -1.0, 1.0) + 1.0) * 127.5)
        return (pixels / 127.5 - 1.0 - mean) / std

    def rollout(self, params, key, context, actions, n_chunks, common_noise=False):
        """As ``WorldModel.rollout``; of the context the last n frames are seen, at least n must be there."""
        n, past = self.context, context.shape[1]
        if past < n:
            raise ValueError(f"a dream needs {n} frames to start from, not {past}")
        rows = 1 if common_noise else context.shape[0]
        noise = jax.random.normal(key, (n_chunks, rows, *context.shape[2:]))
        led = jnp.moveaxis(actions[:, past - 1 : past - 1 + n_chunks], 1, 0)

        def step(cache, inputs):
            noise, led = inputs
            frame, cache = self.next_chunk(params, jnp.broadcast_to(noise, context[:, :1].shape), cache, led[:, None])
            return cache, frame[:, 0]

        _, frames = jax.lax.scan(step, self.prefill(params, context, actions), (noise[:, :, None], led))
        return jnp.moveaxis(frames, 0, 1)

    def prefill(self, params, context, actions):
        """``Recent`` of a context ``[B, S, h, w, C]`` and the actions of its frames ``[B, T, A]``."""
        del params
        n, past = self.context, context.shape[1]
        return Recent(context[:, past - n :], actions[:, past - n : past - 1])

    def next_chunk(self, params, noise, cache, actions, kept=None):
        """As ``WorldModel.next_chunk``, a frame: noise ``[B, 1, h, w, C]``, actions ``[B, 1, A]`` that lead to it.

        ``kept [B, width]`` is of ``dream_mask``; None: nothing is left out.
        """
        led = jnp.concatenate([cache.actions, actions], axis=1)
        frame = self._sample(params["dit"], noise[:, 0], cache.latents, led, kept)[:, None]
        return frame, Recent(jnp.concatenate([cache.latents[:, 1:], frame], 1), led[:, 1:])

    def _sample(self, network_params, noise, context, led, kept=None):
        """The frame ``[B, h, w, C]`` after ``context [B, n, h, w, C]`` that noise ``[B, h, w, C]`` becomes."""
        network = {"params": network_params}
        batch, n = led.shape[:2]
        context_sigma = jnp.full((batch, n), self.context_noise)
        if self.context_noise:
            blur = jnp.flip(noise, (1, 2))[:, None]  # the same noise elsewhere: no key is needed
            context = flow.interpolate(context, blur, self.context_noise)
        guess, _ = self.dit.apply(network, context, context_sigma, led, method="guess")
        z = self.start_noise * noise
        for now, after in zip(self.sampler_levels[:-1], self.sampler_levels[1:], strict=True):
            sigma = jnp.full(batch, now)
            told = guess, context, context_sigma, led, jnp.full(batch, now - after), kept
            xhat = self.dit.apply(network, z, sigma, *told, method="denoise")
            z = xhat + after / now * (z - xhat)  # Euler: v = (z - xhat) / sigma
        return self.shown(z)

    def _apply(self, network_params, *inputs, through=False):
        return self.dit.apply({"params": network_params}, *inputs, through=through)
