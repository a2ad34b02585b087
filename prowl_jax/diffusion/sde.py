"""Stochastic sampling with log-probabilities: the marginals of the flow's ODE, and a policy that can be reinforced.

With the score of straight lines, ``score = -(z + (1 - s) v) / s``, the equation

    dz = (v - g(s)^2 / 2 score) ds + g(s) dW,    s from 1 to 0,

has the same marginals as ``dz = v ds`` for every g (Song et al., arXiv 2011.13456, section 4.3). A step over ds < 0 is

    z' ~ N(z + (v + g^2 / (2 s) (z + (1 - s) v)) ds,  g^2 |ds|).

Flow-GRPO (arXiv 2505.05470) takes ``g = a sqrt(s / (1 - s))``, with the next level in 1 - s where s = 1; DanceGRPO
(arXiv 2505.07818) a constant. Over long steps both leave more noise than the next level says, which the network then
takes for a picture. Coefficients-preserving sampling (``cps``: Flow-CPS, arXiv 2509.05952) leaves as much as it says,
at any length: with the clean sample ``x = z - s v`` and the noise ``e = z + (1 - s) v`` that z means, and s' the next
level,

    z' ~ N((1 - s') x + s' cos(a pi / 2) e,  (s' sin(a pi / 2))^2).

Log-probabilities are means over the dimensions of a sample, as in these codes. Other than there the last step, to
s = 0, adds no noise, so that samples are clean; it is not a choice and has no log-probability.
"""

import jax
import jax.numpy as jnp

from prowl_jax.types import pytree

NOISES = ("flow_grpo", "constant", "cps")
"""Forms of noise."""


@pytree
class Path:
    """What a sampler went through.

    Attributes:
      points: float ``[steps + 1, B, ...]``, from noise to the sample.
      log_prob: float ``[steps - 1, B]``, of all steps but the last.
    """

    points: jax.Array
    log_prob: jax.Array


def transition(z, velocity, now, after, form, strength):
    """A step from level ``now`` down to ``after``; levels broadcast against z.

    Args:
      form: of ``NOISES``. strength: a.

    Returns:
      Mean (the shape of z), deviation and g (of the levels' shape; of ``cps`` g is the deviation).

    Raises:
      ValueError: there is no such form.
    """
    if form not in NOISES:
        raise ValueError(f"no noise {form!r}; there are {', '.join(NOISES)}")
    if form == "cps":
        kept, std = after * jnp.cos(strength * jnp.pi / 2.0), after * jnp.sin(strength * jnp.pi / 2.0)
        return (1.0 - after) * (z - now * velocity) + kept * (z + (1.0 - now) * velocity), std, std
    if form == "constant":
        g = jnp.full_like(now, strength)
    else:
        g = strength * jnp.sqrt(now / (1.0 - jnp.where(now == 1.0, after, now)))
    step = after - now
    mean = z + (velocity + jnp.square(g) / (2.0 * now) * (z + (1.0 - now) * velocity)) * step
    return mean, g * jnp.sqrt(-step), g


def log_prob(z, mean, std):
    """Log-density of each sample under N(mean, std^2), the mean over its dimensions: ``[B, ...] -> [B]``."""
    density = -0.5 * jnp.square((z - mean) / std) - jnp.log(std) - 0.5 * jnp.log(2.0 * jnp.pi)
    return jnp.mean(jnp.broadcast_to(density, z.shape), axis=tuple(range(1, z.ndim)))


def sample_path(velocity, noise, sigmas, key, form, strength):
    """A sample with its path.

    Args:
      velocity: ``f(z, sigma scalar) -> v``. noise: the start, ``[B, ...]``.
      sigmas: decreasing levels ``[steps + 1]`` from 1 to 0; at least two steps. form, strength: of ``transition``.

    Returns:
      The sample ``[B, ...]`` and its ``Path``.

    Raises:
      ValueError: one step, which leaves nothing to chance.
    """
    if len(sigmas) < 3:
        raise ValueError(f"stochastic sampling needs at least 2 steps, not {len(sigmas) - 1}")

    def step(z, inputs):
        now, after, key = inputs
        mean, std, _ = transition(z, velocity(z, now), now, after, form, strength)
        moved = mean + std * jax.random.normal(key, z.shape, z.dtype)
        return moved, (moved, log_prob(moved, mean, std))

    keys = jax.random.split(key, len(sigmas) - 2)
    last, (points, log_probs) = jax.lax.scan(step, noise, (sigmas[:-2], sigmas[1:-1], keys))
    sample = last + (sigmas[-1] - sigmas[-2]) * velocity(last, sigmas[-2])
    return sample, Path(jnp.concatenate([noise[None], points, sample[None]]), log_probs)
