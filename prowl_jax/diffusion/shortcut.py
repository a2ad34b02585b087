"""Shortcut forcing (Dreamer 4, arXiv 2509.24527): a model that is told how long a step it takes.

Signal tau in 0..1 is 1 - sigma of this project: ``z = (1 - tau) eps + tau x``. For a step of length d the network
predicts the clean x (velocities were worse in long rollouts, says the paper); with b = (x^ - z) / (1 - tau), the step
leads to z + d b, at tau + d.

    d the finest     L = |x^(z, tau, d) - x|^2
    longer           b'  = (x^(z,  tau,       d/2) - z ) / (1 - tau)            z' = z + d/2 b'
                     b'' = (x^(z', tau + d/2, d/2) - z') / (1 - tau - d/2)
                     L = (1 - tau)^2 |(x^(z, tau, d) - z) / (1 - tau) - sg(b' + b'') / 2|^2
    each times       w(tau) = 0.9 tau + 0.1

so that one step learns to be two of half its length. Rows are of one kind or the other, as in public code
(nicklashansen/dreamer4): a longer one costs two more evaluations without gradient, of the network or its average.
"""

import jax
import jax.numpy as jnp

from prowl_jax.diffusion.flow import interpolate


def ramp(signal):
    """w(tau), the weight of a row by its signal: what is nearly clean teaches most."""
    return 0.9 * signal + 0.1


def draw(key, rows, most, coarse=False):
    """Lengths d and signals tau of ``rows`` rows, float ``[rows]`` each.

    d is 1 / most, or, of ``coarse`` rows, one of 1, 1/2, 1/4 ... down to twice the finest, each as likely; tau is
    uniform on 0, d, 2 d ... 1 - d.

    Raises:
      ValueError: ``most`` is no power of two, or of coarse rows less than 2.
    """
    if most < 1 + coarse or most & (most - 1):
        raise ValueError(f"the most steps of a sample must be a power of two, at least {1 + coarse}, not {most}")
    length_key, place_key = jax.random.split(key)
    steps = jnp.full(rows, most)
    if coarse:
        steps = 2 ** jax.random.randint(length_key, (rows,), 0, most.bit_length() - 1)
    place = jnp.floor(jax.random.uniform(place_key, (rows,)) * steps)
    return 1.0 / steps, jnp.minimum(place, steps - 1) / steps


def empirical_loss(predict, clean, noise, signal, length):
    """The loss of rows of the finest step, float ``[B]``, weighed.

    Args:
      predict: ``f(z, signal [B], length [B]) -> x^``, shaped as z. clean, noise: float ``[B, ...]``.
      signal, length: float ``[B]``, see ``draw``.
    """
    found = predict(_noisy(clean, noise, signal), signal, length)
    return ramp(signal) * _mean_square(found - clean)


def bootstrap_loss(predict, teacher, clean, noise, signal, length):
    """The loss of rows of longer steps, float ``[B]``, weighed; no gradient flows to what ``teacher`` says.

    Args:
      teacher: as ``predict``, the network itself or its average; it is asked for two steps of half the length.
    """
    z, half = _noisy(clean, noise, signal), length / 2.0
    first = _slope(teacher, z, signal, half)
    second = _slope(teacher, z + _wide(half, z) * first, signal + half, half)
    target = jax.lax.stop_gradient((first + second) / 2.0)
    error = _slope(predict, z, signal, length) - target
    return ramp(signal) * jnp.square(1.0 - signal) * _mean_square(error)


def sample(predict, noise, steps):
    """A sample in ``steps`` steps of one length from ``noise [B, ...]``; the last of them lands on what it predicts."""
    length = jnp.full(len(noise), 1.0 / steps)

    def step(z, place):
        return z + _wide(length, z) * _slope(predict, z, jnp.full(len(noise), place), length), None

    return jax.lax.scan(step, noise, jnp.arange(steps) / steps)[0]


def _slope(predict, z, signal, length):
    """b, by which z moves towards what is predicted."""
    return (predict(z, signal, length) - z) / _wide(1.0 - signal, z)


def _noisy(clean, noise, signal):
    return interpolate(clean, noise, _wide(1.0 - signal, clean))


def _wide(rows, like):
    """``[B]`` to broadcast against ``[B, ...]``."""
    return rows.reshape(-1, *[1] * (like.ndim - 1))


def _mean_square(x):
    return jnp.mean(jnp.square(x), axis=tuple(range(1, x.ndim)))
