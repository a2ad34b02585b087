"""Softmax attention, with a gradient whose products a CPU is good at."""

import jax
import jax.numpy as jnp

from prowl_jax.models import cpu


def softmax_attention(query, key, value, mask=None):
    """Attention under an explicit mask.

    Args:
      query: ``[B, Q, heads, d]``; key, value: ``[B, S, heads, d]``.
      mask: bool, broadcastable to ``[B, heads, Q, S]``, True where attention is allowed; None: everywhere.

    Returns:
      ``[B, Q, heads, d]``, of ``value``'s type.
    """
    if not cpu.tuned():
        return jax.nn.dot_product_attention(query, key, value, mask=mask, implementation="xla")
    return _attention(query, key, value, mask)


@jax.custom_vjp
def _attention(query, key, value, mask):
    """Written out.

    ``[d, Q] x [Q, S]`` takes a third of the time of contracting the leading axes of ``[Q, d]`` and
    ``[Q, S]``, which the derived gradient does twice. So the narrow factor is transposed, never the
    weights, and the weights are divided by their sum after the product with the values.
    """
    return _attention_forward(query, key, value, mask)[0]


def _attention_forward(query, key, value, mask):
    scaled = query * query.shape[-1] ** -0.5
    logits = jnp.matmul(_rows(scaled), _columns(key), preferred_element_type=jnp.float32)
    if mask is not None:
        logits = jnp.where(mask, logits, jnp.finfo(jnp.float32).min)
    weights = jnp.exp(logits - logits.max(axis=-1, keepdims=True))
    inverse = 1.0 / weights.sum(axis=-1, keepdims=True)
    weights = weights.astype(value.dtype)
    out = ((weights @ _rows(value)) * inverse).astype(value.dtype).swapaxes(1, 2)
    return out, (query, key, value, weights, inverse.swapaxes(1, 2), out)


def _attention_backward(saved, gradient):
    query, key, value, weights, inverse, out = saved
    scale = query.shape[-1] ** -0.5
    gradient = (gradient * inverse).astype(out.dtype)
    mean = jnp.sum((gradient * out).astype(jnp.float32), axis=-1, keepdims=True).swapaxes(1, 2)
    d_logits = (weights * (_rows(gradient) @ _columns(value) - mean)).astype(out.dtype)
    d_query = (d_logits @ _rows(key)).swapaxes(1, 2) * scale
    d_key = (_columns(query * scale) @ d_logits).transpose(0, 3, 1, 2)
    d_value = (_columns(gradient) @ weights).transpose(0, 3, 1, 2)
    return d_query, d_key, d_value, None


_attention.defvjp(_attention_forward, _attention_backward)


def _rows(x):
    """``[B, S, heads, d]`` -> ``[B, heads, S, d]``."""
    return x.swapaxes(1, 2)


def _columns(x):
    """``[B, S, heads, d]`` -> ``[B, heads, d, S]``."""
    return x.transpose(0, 2, 3, 1)
