"""The PAT buffer: what was found, drawn by how wrong the world model is of it. Pure functions of device arrays."""

from typing import TYPE_CHECKING

from prowl_jax.lazy import lazily

if TYPE_CHECKING:
    from prowl_jax.pat.buffer import PATBuffer as PATBuffer
    from prowl_jax.pat.buffer import Scoring as Scoring
    from prowl_jax.pat.buffer import all_finite as all_finite
    from prowl_jax.pat.buffer import changes as changes
    from prowl_jax.pat.buffer import composite as composite
    from prowl_jax.pat.buffer import distribution as distribution
    from prowl_jax.pat.buffer import gather as gather
    from prowl_jax.pat.buffer import init as init
    from prowl_jax.pat.buffer import insert as insert
    from prowl_jax.pat.buffer import nbytes as nbytes
    from prowl_jax.pat.buffer import rescore as rescore
    from prowl_jax.pat.buffer import sample as sample
    from prowl_jax.pat.buffer import score_distribution as score_distribution
    from prowl_jax.pat.buffer import scores as scores
    from prowl_jax.pat.buffer import statistics as statistics
    from prowl_jax.pat.priority import Priority as Priority
    from prowl_jax.pat.priority import draw as draw
    from prowl_jax.pat.priority import mixture as mixture
    from prowl_jax.pat.priority import score_weights as score_weights
    from prowl_jax.pat.priority import staleness_weights as staleness_weights
    from prowl_jax.pat.rescoring import Rescoring as Rescoring
    from prowl_jax.pat.rescoring import make_rescore as make_rescore
    from prowl_jax.pat.reward import composite_reward as composite_reward
    from prowl_jax.pat.reward import standardised as standardised
    from prowl_jax.pat.score import composite_score as composite_score
    from prowl_jax.pat.score import latent_regret as latent_regret
    from prowl_jax.pat.score import z_score as z_score

__getattr__, __dir__, __all__ = lazily(__name__, __file__)
