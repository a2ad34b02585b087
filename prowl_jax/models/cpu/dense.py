"""A dense layer whose product, and both products of its gradient, are of two matrices."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from prowl_jax.models import cpu


def flat_dot_general(x, kernel, dimension_numbers, **options):
    """``x [..., I]`` times ``kernel [I, O]`` with the leading axes of ``x`` laid out as one.

    The kernel's gradient then contracts a single axis. Over several axes XLA turns it into a product
    of transposed copies, and a CPU takes half as long again for it. ``nn.Dense`` passes the arguments
    of ``jax.lax.dot_general``; there is only one way to contract here, so their numbers are not read on a CPU.
    """
    if not cpu.tuned():
        return jax.lax.dot_general(x, kernel, dimension_numbers, **options)
    return jnp.dot(x.reshape(-1, x.shape[-1]), kernel, **options).reshape(*x.shape[:-1], kernel.shape[-1])


Dense = functools.partial(nn.Dense, dot_general=flat_dot_general)
"""``nn.Dense`` by ``flat_dot_general``; parameters and values are those of ``nn.Dense``."""
