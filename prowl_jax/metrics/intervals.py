"""How sure a difference is: bootstrap intervals over clips (numpy; Efron and Tibshirani 1993).

Two models are compared on the same clips, and clips differ far more than models do. So
clips are drawn, with replacement, in pairs; what clips share cancels.
"""

import numpy as np


def paired_bootstrap(a, b, *, seed=0, resamples=2000, level=0.95):
    """Percentile interval of the relative difference (mean a - mean b) / mean b.

    Args:
      a: float ``[n]``, a metric of one model on n clips.
      b: float ``[n]``, of the baseline on the same clips, in the same order.
      seed: of the resampling; the same seed gives the same interval.
      resamples: bootstrap samples.
      level: coverage aimed at, in 0..1.

    Returns:
      dict of floats: mean_a, mean_b, relative (negative: a is lower), low, high. ``relative``
      and its bounds are NaN where mean b is 0.

    Raises:
      ValueError: shapes that differ, no clip, or values that are not finite.
    """
    a, b = _checked(a, "a"), _checked(b, "b")
    if a.shape != b.shape:
        raise ValueError(f"a and b must be pairs, got {a.size} and {b.size} clips")
    draws = _draws(a.size, seed, resamples)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean_a, mean_b = a.mean(), b.mean()
        relative = (mean_a - mean_b) / mean_b if mean_b != 0 else np.nan
        resampled_b = b[draws].mean(axis=1)
        differences = (a[draws].mean(axis=1) - resampled_b) / resampled_b
        low, high = _percentiles(differences, level) if mean_b != 0 else (np.nan, np.nan)
    return {
        "mean_a": float(mean_a),
        "mean_b": float(mean_b),
        "relative": float(relative),
        "low": float(low),
        "high": float(high),
    }


def mean_interval(a, *, seed=0, resamples=2000, level=0.95):
    """Percentile interval of a mean: float ``[n]`` -> dict of floats mean, low, high.

    Arguments and errors as in ``paired_bootstrap``.
    """
    a = _checked(a, "a")
    low, high = _percentiles(a[_draws(a.size, seed, resamples)].mean(axis=1), level)
    return {"mean": float(a.mean()), "low": float(low), "high": float(high)}


def _checked(x, name):
    x = np.asarray(x, np.float64)
    if x.ndim != 1 or not x.size:
        raise ValueError(f"{name} must hold one number for each clip, got shape {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError(f"{name} has {np.sum(~np.isfinite(x))} values that are not finite")
    return x


def _draws(n, seed, resamples):
    return np.random.default_rng(seed).integers(0, n, (resamples, n))


def _percentiles(samples, level):
    if not 0 < level < 1:
        raise ValueError(f"level must be in 0..1, not {level}")
    return np.percentile(samples, [50 * (1 - level), 50 * (1 + level)])
