"""What the evaluation measures, as pure functions: pictures, motion, actions, samples, intervals."""

from typing import TYPE_CHECKING

from prowl_jax.lazy import lazily

if TYPE_CHECKING:
    from prowl_jax.metrics import action_recovery, action_statistics, intraclass, lpips, optical_flow, unlearnable
    from prowl_jax.metrics.action_follow import afs_epe, flow_of_frames
    from prowl_jax.metrics.frechet import frechet_distance, frechet_of_gaussians, moments_of, no_moments
    from prowl_jax.metrics.image import gradient_energy, psnr, ssim
    from prowl_jax.metrics.intervals import (
        hierarchical_bootstrap,
        interval_of_means,
        mean_interval,
        nested_interval_of_means,
        paired_bootstrap,
    )
    from prowl_jax.metrics.modes import ModeRule, modes_of
    from prowl_jax.metrics.preference import bradley_terry, elo, wilson_interval
    from prowl_jax.metrics.retrieval import retrieved
    from prowl_jax.metrics.sample_scores import energy_score, spread_corrected_regret
    from prowl_jax.metrics.stability import faults, windows_of

__getattr__, __dir__, __all__ = lazily(__name__, __file__)
