"""Diffusion forcing and flow matching over chunks of latent frames: losses, schedules, samplers. Pure functions."""

from typing import TYPE_CHECKING

from prowl_jax.lazy import lazily

if TYPE_CHECKING:
    from prowl_jax.diffusion import ring
    from prowl_jax.diffusion.autoregressive import FrameLevels, autoregressive_loss
    from prowl_jax.diffusion.contrastive import contrastive_loss, old_decay, optimality
    from prowl_jax.diffusion.flow import denoised, interpolate, shift_sigma, sigma_schedule, velocity_target
    from prowl_jax.diffusion.forcing import Forcing, block_causal_mask, forcing_loss, per_latent, sample_levels
    from prowl_jax.diffusion.sampler import cached_rollout, euler, rollout, sample_chunk, uncached_rollout
    from prowl_jax.diffusion.sde import Path, log_prob, sample_path, transition

__getattr__, __dir__, __all__ = lazily(__name__, __file__)
