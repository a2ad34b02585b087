"""Generalised advantage estimation (Schulman et al., arXiv 1506.02438)."""

import chex
import jax
import jax.numpy as jnp


def gae(rewards, values, discounts, lambda_):
    """Advantages of one sequence; ``vmap`` it for a batch.

    delta_t = r_t + gamma_t V(s_t+1) - V(s_t),   A_t = delta_t + gamma_t lambda A_t+1
    (equation 16 of the paper, as a recursion).

    Args:
      rewards: float ``[T]``, ``rewards[t]`` follows action t.
      values: float ``[T + 1]``, the last one bootstraps what comes after the sequence.
      discounts: float ``[T]``, gamma, and 0 where the episode ends with action t.
      lambda_: float scalar in 0..1.

    Returns:
      float ``[T]``; ``advantages + values[:-1]`` are the targets of the value function.
    """
    chex.assert_rank([rewards, values, discounts, lambda_], [1, 1, 1, 0])
    chex.assert_equal_shape([rewards, discounts, values[1:]])
    deltas = rewards + discounts * values[1:] - values[:-1]

    def step(advantage_tp1, delta_and_discount_t):
        delta_t, discount_t = delta_and_discount_t
        advantage_t = delta_t + discount_t * lambda_ * advantage_tp1
        return advantage_t, advantage_t

    _, advantages = jax.lax.scan(step, jnp.zeros_like(deltas[0]), (deltas, discounts), reverse=True)
    return advantages
