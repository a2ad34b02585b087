"""Rewards of several dreams of one context: they know noise, which the error of a single dream does not.

Each is ``f(params, dream) -> [B]`` of a ``Dream`` with leaves ``[B, K, ...]``, K of at least 2 (``dream.OfSeveral``).
A model that draws from the truth is paid for none of the world's chance by ``spread_corrected``, and cannot lower
``energy`` by dreaming the blurred mean; ``learnability`` is 0 where dreams are all right and where all are wrong.
"""

import jax.numpy as jnp

from prowl_jax.metrics.sample_scores import energy_score, spread_corrected_regret
from prowl_jax.pat.score import latent_regret


def spread_corrected(params, dream):
    """Spread-corrected regret (``metrics.sample_scores``), float32 ``[B]``, in squared deviations of the latents.

    0 in the mean where the model's spread is the truth's, however large; may be negative.
    """
    del params
    return spread_corrected_regret(*_samples(dream))


def energy(params, dream):
    """Energy score (Gneiting and Raftery, JASA 2007), float32 ``[B]``, in deviations of the latents."""
    del params
    return energy_score(*_samples(dream))


def learnability(params, dream):
    """p (1 - p), p the share of dreams that are right: float32 ``[B]`` in 0..1/4.

    After SFL (arXiv 2408.15099), whose p is the success rate of a policy on a level. Right is a dream that lies nearer
    to what was real than the context's last latent does: who cannot beat a still picture knows nothing of what came.
    """
    del params
    real = dream.real.latents
    still = jnp.broadcast_to(dream.context[..., -1:, :, :, :], real.shape)
    right = latent_regret(dream.latents, real) < latent_regret(still, real)
    share = right.mean(1, dtype=jnp.float32)
    return share * (1.0 - share)


def _samples(dream):
    """Latents as ``metrics.sample_scores`` has them: dreams ``[K, B, D]``, and what was real ``[B, D]``."""
    latents, real = dream.latents.astype(jnp.float32), dream.real.latents[:, 0].astype(jnp.float32)
    flat = latents.reshape(*latents.shape[:2], -1)
    return jnp.moveaxis(flat, 1, 0), real.reshape(len(real), -1)
