"""The PAT buffer: what was found, drawn by how wrong the world model is of it. Pure functions of device arrays."""

from typing import TYPE_CHECKING

from prowl_jax.lazy import lazily

if TYPE_CHECKING:
    from prowl_jax.pat.buffer import (
        PATBuffer,
        Scoring,
        all_finite,
        changes,
        composite,
        distribution,
        gather,
        init,
        insert,
        nbytes,
        rescore,
        sample,
        score_distribution,
        scores,
        statistics,
    )
    from prowl_jax.pat.priority import Priority, draw, mixture, score_weights, staleness_weights
    from prowl_jax.pat.rescoring import Rescoring, make_rescore
    from prowl_jax.pat.reward import composite_reward, standardised
    from prowl_jax.pat.score import composite_score, latent_regret, z_score

__getattr__, __dir__, __all__ = lazily(__name__, __file__)
