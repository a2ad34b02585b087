"""How well a number tells two kinds of clips apart: the area under the curve of hits against false alarms (numpy)."""

import numpy as np

from prowl_jax.metrics.ranking import ranks


def auroc(usual, unusual):
    """P(a number of the unusual is higher than one of the usual), ties counting half; 0.5 is chance.

    Args:
      usual: float ``[..., n]``. unusual: float ``[..., m]``.

    Returns:
      float ``[...]``, by ranks (Mann and Whitney's U over n m).
    """
    usual, unusual = np.asarray(usual, np.float64), np.asarray(unusual, np.float64)
    n, m = usual.shape[-1], unusual.shape[-1]
    if not n or not m:
        raise ValueError(f"two kinds of clips are needed, got {n} and {m}")
    both = ranks(np.concatenate([usual, unusual], axis=-1))
    return (both[..., n:].sum(-1) - m * (m + 1) / 2) / (n * m)


def auroc_interval(usual, unusual, *, seed=0, resamples=1000, level=0.95):
    """``auroc`` of ``[n]`` and ``[m]`` with a percentile interval over both kinds of clips: value, low, high."""
    usual, unusual = np.asarray(usual, np.float64), np.asarray(unusual, np.float64)
    rng = np.random.default_rng(seed)
    draws = [
        float(auroc(*(x[rng.integers(0, len(x), len(x))] for x in (usual, unusual)))) for _ in range(resamples)
    ]
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return {"value": float(auroc(usual, unusual)), "low": float(low), "high": float(high)}
