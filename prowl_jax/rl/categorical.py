"""Factored categorical distributions: a product of independent categoricals.

The logits of all factors lie side by side on one axis, ``[..., sum(sizes)]``, where ``sizes``
is a static tuple with the number of values of each factor (``ActionSpec.sizes``). Being
independent, log-probabilities, entropies and divergences of the factors add up. A logit of
-inf rules a value out.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np


def split(logits, sizes):
    """Cut ``[..., sum(sizes)]`` into a list of ``[..., size]``, one for each factor."""
    chex.assert_axis_dimension(logits, -1, sum(sizes))
    return jnp.split(logits, np.cumsum(sizes)[:-1], axis=-1)


def log_prob(logits, actions, sizes):
    """Log-probability of actions: ``[..., sum(sizes)]``, int ``[..., A]`` -> ``[...]``."""
    chex.assert_axis_dimension(actions, -1, len(sizes))
    total = 0.0
    for i, factor in enumerate(split(logits, sizes)):
        log_p = jax.nn.log_softmax(factor)
        total += jnp.take_along_axis(log_p, actions[..., i : i + 1], axis=-1)[..., 0]
    return total


def entropy(logits, sizes):
    """Entropy in nats: ``[..., sum(sizes)]`` -> ``[...]``."""
    total = 0.0
    for factor in split(logits, sizes):
        log_p = jax.nn.log_softmax(factor)
        p = jnp.exp(log_p)
        total -= jnp.sum(p * jnp.where(p > 0, log_p, 0.0), axis=-1)  # 0 log 0 = 0
    return total


def kl(p_logits, q_logits, sizes):
    """KL(p || q) in nats, in closed form: two ``[..., sum(sizes)]`` -> ``[...]``.

    PROWL's anchor is KL(pi_phi || pi_ref), so the acting policy comes first.
    """
    chex.assert_equal_shape([p_logits, q_logits])
    total = 0.0
    for p_factor, q_factor in zip(split(p_logits, sizes), split(q_logits, sizes), strict=True):
        log_p, log_q = jax.nn.log_softmax(p_factor), jax.nn.log_softmax(q_factor)
        p = jnp.exp(log_p)
        total += jnp.sum(p * jnp.where(p > 0, log_p - log_q, 0.0), axis=-1)
    return total


def sample(key, logits, sizes):
    """Draw one action each: ``[..., sum(sizes)]`` -> int32 ``[..., A]``."""
    factors = split(logits, sizes)
    keys = jax.random.split(key, len(factors))
    draws = [jax.random.categorical(k, factor) for k, factor in zip(keys, factors, strict=True)]
    return jnp.stack(draws, axis=-1).astype(jnp.int32)


def mode(logits, sizes):
    """The likeliest action: ``[..., sum(sizes)]`` -> int32 ``[..., A]``."""
    return jnp.stack([jnp.argmax(f, axis=-1) for f in split(logits, sizes)], axis=-1).astype(jnp.int32)
