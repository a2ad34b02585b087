"""What the evaluation measures, as pure functions: pictures, motion, actions, samples, intervals."""

from typing import TYPE_CHECKING

from prowl_jax.lazy import lazily

if TYPE_CHECKING:
    from prowl_jax.metrics import action_recovery as action_recovery
    from prowl_jax.metrics import action_statistics as action_statistics
    from prowl_jax.metrics import intraclass as intraclass
    from prowl_jax.metrics import lpips as lpips
    from prowl_jax.metrics import optical_flow as optical_flow
    from prowl_jax.metrics import unlearnable as unlearnable
    from prowl_jax.metrics.action_follow import afs_epe as afs_epe
    from prowl_jax.metrics.action_follow import flow_of_frames as flow_of_frames
    from prowl_jax.metrics.frechet import frechet_distance as frechet_distance
    from prowl_jax.metrics.frechet import frechet_of_gaussians as frechet_of_gaussians
    from prowl_jax.metrics.frechet import moments_of as moments_of
    from prowl_jax.metrics.frechet import no_moments as no_moments
    from prowl_jax.metrics.image import gradient_energy as gradient_energy
    from prowl_jax.metrics.image import psnr as psnr
    from prowl_jax.metrics.image import ssim as ssim
    from prowl_jax.metrics.intervals import hierarchical_bootstrap as hierarchical_bootstrap
    from prowl_jax.metrics.intervals import interval_of_means as interval_of_means
    from prowl_jax.metrics.intervals import mean_interval as mean_interval
    from prowl_jax.metrics.intervals import nested_interval_of_means as nested_interval_of_means
    from prowl_jax.metrics.intervals import paired_bootstrap as paired_bootstrap
    from prowl_jax.metrics.modes import ModeRule as ModeRule
    from prowl_jax.metrics.modes import modes_of as modes_of
    from prowl_jax.metrics.preference import bradley_terry as bradley_terry
    from prowl_jax.metrics.preference import elo as elo
    from prowl_jax.metrics.preference import wilson_interval as wilson_interval
    from prowl_jax.metrics.retrieval import retrieved as retrieved
    from prowl_jax.metrics.sample_scores import energy_score as energy_score
    from prowl_jax.metrics.sample_scores import spread_corrected_regret as spread_corrected_regret
    from prowl_jax.metrics.stability import faults as faults
    from prowl_jax.metrics.stability import windows_of as windows_of

__getattr__, __dir__, __all__ = lazily(__name__, __file__)
