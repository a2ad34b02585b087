"""The second of PROWL's scores: does the dream move as reality does? (arXiv 2605.18803, l_AFS)."""

import jax.numpy as jnp

from prowl_jax.metrics.action_follow import afs_epe


def afs(params, dream):
    """AFS-EPE of each dream, float32 ``[...]``: mean end-point error of its optical flow, in pixels."""
    del params
    if dream.real.flow is None:
        raise ValueError("afs needs the optical flow of the real clip, and only its latents are known")
    return afs_epe(dream.flow, dream.real.flow.astype(jnp.float32))
