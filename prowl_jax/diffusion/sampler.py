"""Euler sampling of one chunk, and the autoregressive rollout over chunks.

Everything takes the model as callables, so that an analytic velocity can be tested in its
place. The past is clean (sigma = 0) and, attention being causal over chunks, does not depend
on the chunk that is sampled. Three ways to keep it:

  rollout           runs the window of S latents once a chunk: no chunk knows more than these S
  cached_rollout    runs a finished chunk once, into a ring (``ring.py``): the least to compute; the
                    ring's keys still know something of what has left it
  uncached_rollout  runs everything since the start at every Euler step: what the ring must equal
"""

import jax
import jax.numpy as jnp


def euler(velocity, noise, sigmas):
    """Integrate ``dz/dsigma = v(z, sigma)`` from sigma 1 to 0.

    Args:
      velocity: ``f(z, sigma scalar) -> v``.
      noise: the start, any shape.
      sigmas: decreasing levels ``[steps + 1]``, from ``flow.sigma_schedule``.
    """

    def step(z, levels):
        now, after = levels
        return z + (after - now) * velocity(z, now), None

    z, _ = jax.lax.scan(step, noise, (sigmas[:-1], sigmas[1:]))
    return z


def sample_chunk(remember, velocity, noise, context, context_actions, actions, sigmas):
    """Sample the chunk of latents that follows a clean context.

    Args:
      remember: ``f(context [B, S, h, w, C], context_actions) -> memory`` (any pytree).
      velocity: ``f(memory, z [B, K, h, w, C], sigma scalar, actions) -> v``.
      noise: standard normal ``[B, K, h, w, C]``, where the chunk starts.
      context: float ``[B, S, h, w, C]``.
      context_actions, actions: per latent, ``[B, S, ...]`` and ``[B, K, ...]``: those that led
        to each latent.
      sigmas: ``[steps + 1]``.

    Returns:
      float ``[B, K, h, w, C]``.
    """
    memory = remember(context, context_actions)
    return euler(lambda z, sigma: velocity(memory, z, sigma, actions), noise, sigmas)


def rollout(remember, velocity, noise, context, actions, chunk, sigmas):
    """Sample chunk after chunk of K latents, each from the S latents before it.

    The window slides: it keeps the S latents it starts with, the oldest chunk leaving as a
    new one enters, so that memory and cost per chunk are constant.

    Args:
      noise: standard normal ``[B, H, h, w, C]``, whole chunks; its length is how far to go.
      context: float ``[B, S, h, w, C]``, clean; S is a multiple of ``chunk``.
      actions: per latent, ``[B, S + H, ...]``: those that led to each latent.
      chunk: K. (The others as in ``sample_chunk``.)

    Returns:
      float ``[B, H, h, w, C]``, the sampled latents only.
    """
    length, horizon = context.shape[1], noise.shape[1]
    if length % chunk or horizon % chunk or not length or not horizon:
        raise ValueError(f"{length} context and {horizon} predicted latents are not whole chunks of {chunk}")
    if actions.shape[1] < length + horizon:
        raise ValueError(f"{actions.shape[1]} actions do not cover {length} + {horizon} latents")

    def step(window, index):
        past = jax.lax.dynamic_slice_in_dim(actions, index * chunk, length, axis=1)
        now = jax.lax.dynamic_slice_in_dim(actions, index * chunk + length, chunk, axis=1)
        start = jax.lax.dynamic_slice_in_dim(noise, index * chunk, chunk, axis=1)
        new = sample_chunk(remember, velocity, start, window, past, now, sigmas)
        return jnp.concatenate([window[:, chunk:], new], axis=1), new

    _, chunks = jax.lax.scan(step, context, jnp.arange(horizon // chunk))
    return jnp.moveaxis(chunks, 0, 1).reshape(noise.shape)


def cached_rollout(velocity, write, cache, noise, actions, chunk, sigmas):
    """Sample chunk after chunk of K latents, each from a cache that the one before was written into.

    Args:
      velocity: ``f(cache, z [B, K, h, w, C], sigma scalar, actions) -> v``.
      write: ``f(cache, z, actions) -> cache``, given the chunk when it is clean.
      cache: any pytree whose shapes do not change, such as a ``ring.Ring``.
      noise: standard normal ``[B, H, h, w, C]``, whole chunks.
      actions: per latent, ``[B, H, ...]``: those that led to each.
      chunk: K. sigmas: ``[steps + 1]``.

    Returns:
      float ``[B, H, h, w, C]``, and the cache after the last chunk.
    """
    horizon = noise.shape[1]
    if horizon % chunk or not horizon:
        raise ValueError(f"{horizon} predicted latents are not whole chunks of {chunk}")
    if actions.shape[1] != horizon:
        raise ValueError(f"{actions.shape[1]} actions are not one for each of {horizon} predicted latents")

    def step(cache, index):
        start, now = (jax.lax.dynamic_slice_in_dim(x, index * chunk, chunk, axis=1) for x in (noise, actions))
        new = euler(lambda z, sigma: velocity(cache, z, sigma, now), start, sigmas)
        return write(cache, new, now), new

    cache, chunks = jax.lax.scan(step, cache, jnp.arange(horizon // chunk))
    return jnp.moveaxis(chunks, 0, 1).reshape(noise.shape), cache


def uncached_rollout(velocity, noise, context, actions, chunk, sigmas):
    """Sample chunk after chunk, running all latents since the start at every Euler step.

    Slow, and slower with every chunk, of another shape each: for tests and benchmarks.

    Args:
      velocity: ``f(z [B, L, h, w, C], sigma [L/K], actions [B, L, ...]) -> v``, of any number of chunks.
      noise, context, actions, chunk, sigmas: as in ``rollout``.

    Returns:
      float ``[B, H, h, w, C]``.
    """
    past = context
    for index in range(noise.shape[1] // chunk):
        length = past.shape[1] + chunk

        def last(z, sigma, past=past, length=length):
            levels = jnp.zeros(length // chunk).at[-1].set(sigma)
            return velocity(jnp.concatenate([past, z], axis=1), levels, actions[:, :length])[:, -chunk:]

        start = noise[:, index * chunk : (index + 1) * chunk]
        past = jnp.concatenate([past, euler(last, start, sigmas)], axis=1)
    return past[:, context.shape[1] :]
