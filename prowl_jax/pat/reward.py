"""What a policy is paid for a cycle's trajectories, from their raw scores."""

import functools

import jax
import jax.numpy as jnp

from prowl_jax.pat.buffer import composite, statistics


@functools.partial(jax.jit, static_argnames="scoring")
def composite_reward(buffer, raw, valid, scoring):
    """What new trajectories are worth: their composite score, ``Delta`` being 0 of what is new.

    Args:
      buffer: ``PATBuffer``, for its statistics. raw: name -> ``[B]``. valid: bool ``[B]``. scoring: ``Scoring``.

    Returns:
      (float32 ``[B]``, 0 where not valid; what is reported of the trajectories, scalars by name).
    """
    mean, std = statistics(buffer, scoring)
    unchanged = {name: jnp.zeros_like(raw[name]) for name, _ in scoring.changes}
    reward = jnp.where(valid, composite(raw, unchanged, mean, std, scoring), 0.0)
    total = jnp.maximum(jnp.sum(valid), 1)
    return reward, {
        "return": jnp.sum(reward) / total,
        **{name: jnp.sum(jnp.where(valid, value, 0.0)) / total for name, value in raw.items()},
        "dropped_trajectories": jnp.sum(~valid).astype(jnp.float32),
    }


@jax.jit
def standardised(raw, valid):
    """(z-scores of ``raw [B]`` over what is valid, so that their scale is that of PROWL's, 0 elsewhere; the mean)."""
    valid = valid & jnp.isfinite(raw)
    total = jnp.maximum(jnp.sum(valid), 1)
    mean = jnp.sum(jnp.where(valid, raw, 0.0)) / total
    std = jnp.sqrt(jnp.sum(jnp.where(valid, jnp.square(raw - mean), 0.0)) / total)
    return jnp.where(valid, (raw - mean) / jnp.maximum(std, 1e-6), 0.0), mean
