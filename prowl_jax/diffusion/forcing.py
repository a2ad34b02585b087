"""Diffusion forcing over chunks: a noise level of its own for every chunk of latent frames.

PROWL section 3 trains Wan2.1 with one level per chunk of K = 3 latents (as CausVid and Self
Forcing do). All levels random rarely shows the model a clean past, which is what it gets at
sampling time; so a share of the batch has a clean prefix, after which noisy and clean chunks take
turns: every noisy chunk follows a clean one. The loss counts the noisy chunks only.
"""

import dataclasses

import chex
import jax
import jax.numpy as jnp

from prowl_jax.diffusion import flow
from prowl_jax.diffusion.shortcut import draw_mixed, mixed_loss
from prowl_jax.settings import POSITIVE, SHARE, check, setting


@dataclasses.dataclass(frozen=True)
class Forcing:
    """How noise levels are drawn.

    Attributes:
      chunk: latent frames that share a level (paper: 3).
      shift: Wan's shift of the uniform levels (Self Forcing: 5 at video resolution; the
        fewer the tokens, the less of it is needed). PROWL's own value is not published.
      clean_prefix: share of the batch that gets a clean prefix of 1 to n-1 chunks, and then a noisy
        and a clean chunk in turn.
    """

    chunk: int = 3
    shift: float = setting(
        1.0, "of the training noise levels: a little signal tells the motion without the action", POSITIVE,
        source="Self Forcing: 5",
    )  # fmt: skip
    clean_prefix: float = setting(0.5, "share of clips in which every predicted chunk follows a clean one", SHARE)

    def __post_init__(self):
        if self.chunk < 1:
            raise ValueError(f"chunk must be at least 1 latent frame, not {self.chunk}")
        check(self)

    def chunks(self, length):
        """Number of chunks in ``length`` latent frames; ValueError if it does not divide."""
        if length % self.chunk:
            raise ValueError(f"{length} latent frames are not whole chunks of {self.chunk}")
        return length // self.chunk


def sample_levels(key, batch, chunks, forcing):
    """Draw a noise level for every chunk.

    Returns:
      sigma ``[batch, chunks]`` in [0, 1), and weight ``[batch, chunks]`` of each chunk's
      loss: 0 where the chunk is kept clean (sigma 0), 1 elsewhere.
    """
    level_key, share_key, length_key = jax.random.split(key, 3)
    sigma = flow.shift_sigma(jax.random.uniform(level_key, (batch, chunks)), forcing.shift)
    weight = jnp.ones_like(sigma)
    if chunks > 1:
        prefix = jax.random.randint(length_key, (batch, 1), 1, chunks)
        has_prefix = jax.random.uniform(share_key, (batch, 1)) < forcing.clean_prefix
        after = jnp.arange(chunks) - prefix
        clean = has_prefix & ((after < 0) | (after % 2 == 1))
        sigma = jnp.where(clean, 0.0, sigma)
        weight = jnp.where(clean, 0.0, weight)
    return sigma, weight


def per_latent(per_chunk, chunk):
    """Repeat a value per chunk ``[B, L/K, ...]`` for each of its latents: ``[B, L, ...]``."""
    return jnp.repeat(per_chunk, chunk, axis=1)


def block_causal_mask(query_latents, key_latents, chunk, reach=None):
    """Which latent may attend to which: all of its own chunk and of earlier chunks.

    Queries are the LAST ``query_latents`` of ``key_latents`` (so that a new chunk over a cache
    is asked for directly). With ``reach``, a chunk sees only that many latents before it (whole
    chunks). Returns bool ``[query_latents, key_latents]``.
    """
    key_chunk = jnp.arange(key_latents) // chunk
    query_chunk = key_chunk[key_latents - query_latents :]
    distance = query_chunk[:, None] - key_chunk[None, :]
    return (distance >= 0) & (distance <= (key_latents if reach is None else reach // chunk))


def forcing_loss(velocity, latents, key, forcing):
    """The diffusion-forcing loss ``mean ||v(z_sigma, sigma) - (eps - z)||^2`` (PROWL eq. L_DF).

    Args:
      velocity: ``f(z_sigma [B, L, h, w, C], sigma [B, L/K]) -> v``, shape of ``z_sigma``.
      latents: float ``[B, L, h, w, C]``.
      key: a key for the levels and the noise.
      forcing: a ``Forcing``.

    Returns:
      The scalar loss, a mean over the counted chunks' elements, and metrics: ``loss``, and the
      unweighted error where sigma < 1/3 (``loss_low_noise``) and >= 2/3 (``loss_high_noise``).
    """
    chex.assert_rank(latents, 5)
    batch, length = latents.shape[:2]
    level_key, noise_key = jax.random.split(key)
    sigma, weight = sample_levels(level_key, batch, forcing.chunks(length), forcing)
    noise = jax.random.normal(noise_key, latents.shape, latents.dtype)
    sigma_latent = per_latent(sigma, forcing.chunk)[..., None, None, None]
    predicted = velocity(flow.interpolate(latents, noise, sigma_latent), sigma)
    chex.assert_equal_shape([predicted, latents])
    square = jnp.square(predicted - flow.velocity_target(latents, noise)).mean((2, 3, 4))
    square = square.reshape(batch, -1, forcing.chunk).mean(2)

    def mean_over(mask):
        return jnp.sum(square * mask) / jnp.maximum(jnp.sum(mask), 1.0)

    counted = weight > 0
    loss = jnp.sum(square * weight) / jnp.maximum(jnp.sum(counted), 1.0)
    metrics = {
        "loss": loss,
        "loss_low_noise": mean_over(counted & (sigma < 1 / 3)),
        "loss_high_noise": mean_over(counted & (sigma >= 2 / 3)),
    }
    return loss, metrics


def shortcut_forcing_loss(predict, latents, key, forcing, settings):
    """Shortcut forcing (``diffusion/shortcut.py``): a step's length and a signal of its own for every chunk.

    Which chunks stay clean is drawn as in ``forcing_loss``, and they are not counted; levels lie on the grid of the
    steps, so that ``forcing.shift`` is not asked.

    Args:
      predict: ``f(z [b, L, h, w, C], sigma [b, L/K], length [b, L/K]) -> x^``, shape of z; b rows or fewer, the first.
      latents: float ``[B, L, h, w, C]``. settings: a ``Shortcut``.

    Returns:
      The scalar loss, a mean over the counted chunks, and metrics: ``loss``, ``loss_fine`` and ``loss_coarse``.
    """
    chex.assert_rank(latents, 5)
    batch, chunks = latents.shape[0], forcing.chunks(latents.shape[1])
    clean_key, draw_key, noise_key = jax.random.split(key, 3)
    counted = sample_levels(clean_key, batch, chunks, forcing)[1]
    length, signal = draw_mixed(draw_key, (batch, chunks), settings)
    signal, length = jnp.where(counted > 0, signal, 1.0), jnp.where(counted > 0, length, 1.0 / settings.most)

    def of_chunks(z, signal, length):
        found = predict(z.reshape(len(z), *latents.shape[1:]), 1.0 - signal, length)
        return found.reshape(z.shape)

    clean = latents.reshape(batch, chunks, forcing.chunk, *latents.shape[2:])
    noise = jax.random.normal(noise_key, clean.shape, clean.dtype)
    coarse = settings.coarse(batch)
    losses, _ = mixed_loss(of_chunks, clean, noise, signal, length, coarse)

    def mean_over(rows):
        return jnp.sum(losses[rows] * counted[rows]) / jnp.maximum(jnp.sum(counted[rows]), 1.0)

    loss = mean_over(slice(None))
    return loss, {"loss": loss, "loss_coarse": mean_over(slice(coarse)), "loss_fine": mean_over(slice(coarse, None))}
