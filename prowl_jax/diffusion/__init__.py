"""Diffusion forcing and flow matching over chunks of latent frames: losses, schedules, samplers. Pure functions."""

from typing import TYPE_CHECKING

from prowl_jax.lazy import lazily

if TYPE_CHECKING:
    from prowl_jax.diffusion import ring as ring
    from prowl_jax.diffusion.autoregressive import FrameLevels as FrameLevels
    from prowl_jax.diffusion.autoregressive import autoregressive_loss as autoregressive_loss
    from prowl_jax.diffusion.contrastive import contrastive_loss as contrastive_loss
    from prowl_jax.diffusion.contrastive import old_decay as old_decay
    from prowl_jax.diffusion.contrastive import optimality as optimality
    from prowl_jax.diffusion.flow import denoised as denoised
    from prowl_jax.diffusion.flow import interpolate as interpolate
    from prowl_jax.diffusion.flow import shift_sigma as shift_sigma
    from prowl_jax.diffusion.flow import sigma_schedule as sigma_schedule
    from prowl_jax.diffusion.flow import velocity_target as velocity_target
    from prowl_jax.diffusion.forcing import Forcing as Forcing
    from prowl_jax.diffusion.forcing import block_causal_mask as block_causal_mask
    from prowl_jax.diffusion.forcing import forcing_loss as forcing_loss
    from prowl_jax.diffusion.forcing import per_latent as per_latent
    from prowl_jax.diffusion.forcing import sample_levels as sample_levels
    from prowl_jax.diffusion.sampler import cached_rollout as cached_rollout
    from prowl_jax.diffusion.sampler import euler as euler
    from prowl_jax.diffusion.sampler import rollout as rollout
    from prowl_jax.diffusion.sampler import sample_chunk as sample_chunk
    from prowl_jax.diffusion.sampler import uncached_rollout as uncached_rollout
    from prowl_jax.diffusion.sde import Path as Path
    from prowl_jax.diffusion.sde import log_prob as log_prob
    from prowl_jax.diffusion.sde import sample_path as sample_path
    from prowl_jax.diffusion.sde import transition as transition

__getattr__, __dir__, __all__ = lazily(__name__, __file__)
