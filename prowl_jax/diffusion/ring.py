"""A ring of keys and values: those of the last S latents of a rollout, each written once.

As Self Forcing's rolling cache (arXiv 2506.08009): a chunk is sampled against the ring, run once more
when it is clean, and what it leaves takes the place of the oldest chunk. Shapes never change, so
one compiled program samples every chunk. RoPE is relative: keys that were rotated by the time they
were written at stay right while the window slides.

What a block remembers of a chunk was computed when that chunk was new, from chunks that have left the
ring since. So a model of depth d sees, through the cached keys of its upper blocks, up to d S
latents back and not S alone; ``sampler.uncached_rollout`` is the same thing without a ring.

Memory of one row of the batch: 2 * depth * S * N * D numbers (keys and values; N tokens a latent, D the
width), of 4 bytes in float32.
"""

import jax
import jax.numpy as jnp

from prowl_jax.types import pytree


@pytree
class Ring:
    """The ring of a batch of rollouts.

    Attributes:
      keys_values: for every block a pair ``[B, S, N, heads, d]``, slot i holding a latent whose
        number is i modulo S.
      written: int32 scalar, latents written so far, which is the time index of the next one.
    """

    keys_values: tuple
    written: jax.Array


def start(memory, latents, length):
    """A ring that holds the first latents of a rollout.

    Args:
      memory: their keys and values, for every block a pair ``[B, latents N, heads, d]``.
      latents: how many they are.
      length: S, how many the ring holds.

    Raises:
      ValueError: more latents than the ring holds.
    """
    if not 0 < latents <= length:
        raise ValueError(f"a ring of {length} latents cannot start with {latents}; give it 1 to {length}")

    def slots(x):
        x = _per_latent(x, x.shape[1] // latents)
        return jnp.pad(x, ((0, 0), (0, length - latents), (0, 0), (0, 0), (0, 0)))

    return Ring(jax.tree.map(slots, memory), jnp.int32(latents))


def write(ring, memory):
    """The ring with one more chunk in it, in place of the oldest.

    Args:
      memory: keys and values of a chunk of K latents, pairs ``[B, K N, heads, d]``. K divides S and
        all latents written before.
    """
    length, tokens = jax.tree.leaves(ring.keys_values)[0].shape[1:3]

    def put(slots, x):
        return jax.lax.dynamic_update_slice_in_dim(slots, _per_latent(x, tokens), ring.written % length, axis=1)

    chunk = jax.tree.leaves(memory)[0].shape[1] // tokens
    return Ring(jax.tree.map(put, ring.keys_values, memory), ring.written + chunk)


def memory(ring):
    """What a model attends to: for every block a pair ``[B, S N, heads, d]``, in the ring's own order."""
    return jax.tree.map(lambda x: x.reshape(x.shape[0], -1, *x.shape[3:]), ring.keys_values)


def mask(ring, chunk):
    """What a new chunk may see: bool ``[K, S + K]``, every slot that was written, and itself."""
    length = jax.tree.leaves(ring.keys_values)[0].shape[1]
    seen = jnp.arange(length + chunk)
    seen = (seen < ring.written) | (seen >= length)
    return jnp.broadcast_to(seen, (chunk, length + chunk))


def _per_latent(x, tokens):
    """``[B, L N, heads, d]`` -> ``[B, L, N, heads, d]``."""
    return x.reshape(x.shape[0], -1, tokens, *x.shape[2:])
