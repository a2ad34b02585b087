"""Stochastic sampling with log-probabilities: the marginals of the flow's ODE, and a policy that can be reinforced.

With the score of straight lines, ``score = -(z + (1 - s) v) / s``, the equation

    dz = (v - g(s)^2 / 2 score) ds + g(s) dW,    s from 1 to 0,

has the same marginals as ``dz = v ds`` for every g (Song et al., arXiv 2011.13456, section 4.3). A step over ds < 0 is

    z' ~ N(z + (v + g^2 / (2 s) (z + (1 - s) v)) ds,  g^2 |ds|).

Flow-GRPO (arXiv 2505.05470) takes ``g = a sqrt(s / (1 - s))``, with the next level in 1 - s where s = 1; DanceGRPO
(arXiv 2505.07818) a constant. Log-probabilities are means over the dimensions of a sample, as in both codes. Other than
there the last step, to s = 0, adds no noise, so that samples are clean; it is not a choice and has no log-probability.
"""

import jax
import jax.numpy as jnp

from prowl_jax.types import pytree

NOISES = ("flow_grpo", "constant")
"""Forms of g."""


@pytree
class Path:
    """What a sampler went through.

    Attributes:
      points: float ``[steps + 1, B, ...]``, from noise to the sample.
      log_prob: float ``[steps - 1, B]``, of all steps but the last.
    """

    points: jax.Array
    log_prob: jax.Array


def diffusion(now, after, form, strength):
    """g of the step from level ``now`` down to ``after``; ValueError for a form that there is not."""
    if form == "constant":
        return jnp.full_like(now, strength)
    if form != "flow_grpo":
        raise ValueError(f"no noise {form!r}; there are {', '.join(NOISES)}")
    return strength * jnp.sqrt(now / (1.0 - jnp.where(now == 1.0, after, now)))


def transition(z, velocity, now, after, g):
    """Mean (the shape of z) and deviation (of ``g``) of a step; levels and g broadcast against z, after < now."""
    step = after - now
    mean = z + (velocity + jnp.square(g) / (2.0 * now) * (z + (1.0 - now) * velocity)) * step
    return mean, g * jnp.sqrt(-step)


def log_prob(z, mean, std):
    """Log-density of each sample under N(mean, std^2), the mean over its dimensions: ``[B, ...] -> [B]``."""
    density = -0.5 * jnp.square((z - mean) / std) - jnp.log(std) - 0.5 * jnp.log(2.0 * jnp.pi)
    return jnp.mean(jnp.broadcast_to(density, z.shape), axis=tuple(range(1, z.ndim)))


def sample_path(velocity, noise, sigmas, key, form, strength):
    """A sample with its path.

    Args:
      velocity: ``f(z, sigma scalar) -> v``. noise: the start, ``[B, ...]``.
      sigmas: decreasing levels ``[steps + 1]`` from 1 to 0; at least two steps. form, strength: of ``diffusion``.

    Returns:
      The sample ``[B, ...]`` and its ``Path``.

    Raises:
      ValueError: one step, which leaves nothing to chance.
    """
    if len(sigmas) < 3:
        raise ValueError(f"stochastic sampling needs at least 2 steps, not {len(sigmas) - 1}")

    def step(z, inputs):
        now, after, key = inputs
        mean, std = transition(z, velocity(z, now), now, after, diffusion(now, after, form, strength))
        moved = mean + std * jax.random.normal(key, z.shape, z.dtype)
        return moved, (moved, log_prob(moved, mean, std))

    keys = jax.random.split(key, len(sigmas) - 2)
    last, (points, log_probs) = jax.lax.scan(step, noise, (sigmas[:-2], sigmas[1:-1], keys))
    sample = last + (sigmas[-1] - sigmas[-2]) * velocity(last, sigmas[-2])
    return sample, Path(jnp.concatenate([noise[None], points, sample[None]]), log_probs)
