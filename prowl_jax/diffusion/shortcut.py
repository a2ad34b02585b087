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
Signals and lengths may be of rows ``[B]`` or of the chunks of a row ``[B, n]``; z has them as its leading axes.
"""

import dataclasses

import jax
import jax.numpy as jnp

from prowl_jax.diffusion.flow import interpolate
from prowl_jax.settings import LARGEST, SHARE, Check, check, setting

POWER_OF_TWO = Check(lambda v: 2 <= v <= LARGEST and v & (v - 1) == 0, "is not a power of two of at least 2")


@dataclasses.dataclass(frozen=True)
class Shortcut:
    """How a network learns to take few steps.

    Attributes:
      most: steps of a sample of the finest length. share: of the rows that learn longer steps.
    """

    most: int = setting(
        32, "steps of the finest sample; it learns to take them in fewer", POWER_OF_TWO, source="Dreamer 4: 64"
    )
    share: float = setting(
        0.25, "of the rows that learn longer steps", SHARE, source="nicklashansen/dreamer4: 0.25"
    )

    def __post_init__(self):
        check(self)

    def coarse(self, rows):
        """How many of ``rows``, the first, learn longer steps."""
        return round(self.share * rows)


def ramp(signal):
    """w(tau), the weight of a row by its signal: what is nearly clean teaches most."""
    return 0.9 * signal + 0.1


def draw(key, rows, most, coarse=False):
    """Lengths d and signals tau of ``rows`` rows, a number or a shape: float ``[rows]`` each.

    d is 1 / most, or, of ``coarse`` rows, one of 1, 1/2, 1/4 ... down to twice the finest, each as likely; tau is
    uniform on 0, d, 2 d ... 1 - d.

    Raises:
      ValueError: ``most`` is no power of two, or of coarse rows less than 2.
    """
    if most < 1 + coarse or most & (most - 1):
        raise ValueError(f"the most steps of a sample must be a power of two, at least {1 + coarse}, not {most}")
    length_key, place_key = jax.random.split(key)
    shape = rows if isinstance(rows, tuple) else (rows,)
    steps = jnp.full(shape, most)
    if coarse:
        steps = 2 ** jax.random.randint(length_key, shape, 0, most.bit_length() - 1)
    place = jnp.floor(jax.random.uniform(place_key, shape) * steps)
    return 1.0 / steps, jnp.minimum(place, steps - 1) / steps


def empirical_loss(predict, clean, noise, signal, length):
    """The loss of rows of the finest step, float ``[B]``, weighed.

    Args:
      predict: ``f(z, signal [B], length [B]) -> x^``, shaped as z. clean, noise: float ``[B, ...]``.
      signal, length: float ``[B]``, see ``draw``.
    """
    found = predict(noisy(clean, noise, signal), signal, length)
    return ramp(signal) * _mean_square(found - clean, signal.ndim)


def bootstrap_loss(predict, teacher, clean, noise, signal, length):
    """The loss of rows of longer steps, float ``[B]``, weighed; no gradient flows to what ``teacher`` says.

    Args:
      teacher: as ``predict``, the network itself or its average; it is asked for two steps of half the length.
    """
    z = noisy(clean, noise, signal)
    target = bootstrap_target(teacher, z, signal, length)
    return ramp(signal) * _mean_square(predict(z, signal, length) - target, signal.ndim)


def bootstrap_target(teacher, z, signal, length):
    """The x^ whose one step of ``length`` from ``z`` leads where two of the teacher's of half of it do.

    ``(1 - tau)^2 |b - b*|^2`` is ``|x^ - x*|^2`` with ``x* = z + (1 - tau) b*``: both losses are of x^. Where nothing
    is noisy (tau 1) it is z. No gradient flows.
    """
    half = length / 2.0
    first = _slope(teacher, z, signal, half)
    second = _slope(teacher, z + _wide(half, z) * first, signal + half, half)
    return jax.lax.stop_gradient(z + _wide(1.0 - signal, z) * (first + second) / 2.0)


def mixed_loss(predict, clean, noise, signal, length, coarse):
    """Both losses of one batch, the first ``coarse`` rows of longer steps, with the network as its own teacher.

    Args:
      predict: as above; of fewer rows than there are it is asked about the first ones.

    Returns:
      float as ``signal``, weighed, and x^ of every row.
    """
    z = noisy(clean, noise, signal)
    found, target = predict(z, signal, length), clean
    if coarse:
        longer = bootstrap_target(predict, z[:coarse], signal[:coarse], length[:coarse])
        target = jnp.concatenate([longer, clean[coarse:]])
    return ramp(signal) * _mean_square(found - target, signal.ndim), found


def draw_mixed(key, shape, settings):
    """``draw`` of a batch for ``mixed_loss``: float ``shape`` each, (length, signal); ``settings`` a ``Shortcut``."""
    rows, *chunks = shape
    coarse = settings.coarse(rows)
    coarse_key, fine_key = jax.random.split(key)
    parts = [draw(fine_key, (rows - coarse, *chunks), settings.most)]
    if coarse:
        parts.insert(0, draw(coarse_key, (coarse, *chunks), settings.most, coarse=True))
    return tuple(jnp.concatenate(column) for column in zip(*parts, strict=True))


def sample(predict, noise, steps):
    """A sample in ``steps`` steps of one length from ``noise [B, ...]``; the last of them lands on what it predicts."""
    length = jnp.full(len(noise), 1.0 / steps)

    def step(z, place):
        return z + _wide(length, z) * _slope(predict, z, jnp.full(len(noise), place), length), None

    return jax.lax.scan(step, noise, jnp.arange(steps) / steps)[0]


def _slope(predict, z, signal, length):
    """b, by which z moves towards what is predicted; 0 where it is there (tau 1)."""
    left = _wide(1.0 - signal, z)
    return jnp.where(left > 0, (predict(z, signal, length) - z) / jnp.where(left > 0, left, 1.0), 0.0)


def noisy(clean, noise, signal):
    """z of a signal, ``(1 - tau) noise + tau clean``."""
    return interpolate(clean, noise, _wide(1.0 - signal, clean))


def _wide(rows, like):
    """``[B]``, or ``[B, n]``, to broadcast against ``[B, ...]``."""
    return rows.reshape(*rows.shape, *[1] * (like.ndim - rows.ndim))


def _mean_square(x, leading):
    return jnp.mean(jnp.square(x), axis=tuple(range(leading, x.ndim)))
