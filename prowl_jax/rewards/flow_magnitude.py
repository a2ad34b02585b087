"""How much a dream moves: the guard against static dreams, into which long GRPO falls (arXiv 2603.17808 warns)."""

import jax.numpy as jnp


def flow_magnitude(params, dream):
    """Mean length of the dream's optical flow in pixels, float ``[...]``; of the dream alone, reality is not asked."""
    del params
    return jnp.linalg.norm(dream.flow, axis=-1).mean(axis=(-3, -2, -1))
