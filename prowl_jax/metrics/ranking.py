"""Does a dream rank policies as reality does? MMRV, Pearson and Spearman, with intervals (numpy).

The question of SIMPLER (arXiv 2405.05941) of a simulator, asked of a world model. With R_i the real and S_i the dreamt
return of policy i, a pair is ranked wrongly where the order of S is not that of R, and costs what is lost by it:

    RV(i, j) = |R_i - R_j| 1[(S_i < S_j) != (R_i < R_j)],     MMRV = mean_i max_j RV(i, j)

MMRV is in units of the return and 0 where all is in order; the correlations are the usual ones.
"""

import numpy as np

MEASURES = ("mmrv", "pearson", "spearman")


def mmrv(real, dreamt):
    """Mean maximum rank violation: float ``[..., P]`` twice -> ``[...]``."""
    real, dreamt = np.asarray(real, np.float64), np.asarray(dreamt, np.float64)
    wrong = (dreamt[..., :, None] < dreamt[..., None, :]) != (real[..., :, None] < real[..., None, :])
    return (np.abs(real[..., :, None] - real[..., None, :]) * wrong).max(axis=-1).mean(axis=-1)


def pearson(real, dreamt):
    """Pearson's correlation: float ``[..., P]`` twice -> ``[...]``, NaN where one of them does not vary."""
    a, b = (x - x.mean(axis=-1, keepdims=True) for x in (np.asarray(real, float), np.asarray(dreamt, float)))
    scale = np.sqrt((a * a).sum(-1) * (b * b).sum(-1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(scale > 0, (a * b).sum(-1) / scale, np.nan)


def spearman(real, dreamt):
    """Spearman's: Pearson's of the ranks, ties sharing their mean rank."""
    return pearson(ranks(real), ranks(dreamt))


def ranks(values):
    """Ranks from 1 of float ``[..., P]``; equal values have the mean of the ranks that they take."""
    values = np.asarray(values, np.float64)
    below = (values[..., None, :] < values[..., :, None]).sum(-1)
    equal = (values[..., None, :] == values[..., :, None]).sum(-1)
    return below + (equal + 1) / 2.0


def ranking(real, dreamt, *, over_policies=True, kinds=None, seed=0, resamples=2000, level=0.95):
    """The three measures of mean returns, with percentile intervals.

    Args:
      real: one sequence of returns ``[n_i]`` a policy, of its real episodes. dreamt: the same of its dreams.
      over_policies: a resample draws policies, and episodes of each; else the policies stay: how sure it is of these.
      kinds: of each policy, which others it was made like: a resample draws kinds, with all of their policies, since
        seeds of one learner are not as different as learners are. None: each is one of a kind.
      seed, resamples, level: of the bootstrap, as in ``intervals``.

    Returns:
      measure of ``MEASURES`` -> dict of floats value, low, high. A resample of one policy alone says nothing of
      correlations and is left out of theirs.

    Raises:
      ValueError: fewer than two policies, another number of them in reality, or no episode.
    """
    if len(real) != len(dreamt) or len(real) < 2:
        raise ValueError(f"ranking needs two policies or more, the same twice, got {len(real)} and {len(dreamt)}")
    rng, count = np.random.default_rng(seed), len(real)
    means = [np.array([_returns(x).mean() for x in group]) for group in (real, dreamt)]
    resampled = [np.stack([_resampled_means(rng, x, resamples) for x in group], -1) for group in (real, dreamt)]
    if over_policies:
        resampled = _policies_drawn(rng, kinds or range(count), *resampled)
    else:
        resampled = list(zip(*resampled, strict=True))
    found = {}
    for name, measure in zip(MEASURES, (mmrv, pearson, spearman), strict=True):
        drawn = np.array([measure(*pair) for pair in resampled])
        drawn = drawn[np.isfinite(drawn)]
        ends = [50 * (1 - level), 50 * (1 + level)]
        low, high = np.percentile(drawn, ends) if len(drawn) else (np.nan, np.nan)
        found[name] = {"value": float(measure(*means)), "low": float(low), "high": float(high)}
    return found


def _policies_drawn(rng, kinds, real, dreamt):
    """Of every resample the means ``[n]`` of the kinds that it drew, real and dreamt; n differs."""
    kinds = list(kinds)
    members = [np.array([i for i, kind in enumerate(kinds) if kind == one]) for one in dict.fromkeys(kinds)]
    drawn = []
    for a, b in zip(real, dreamt, strict=True):
        chosen = np.concatenate([members[i] for i in rng.integers(0, len(members), len(members))])
        drawn.append((a[chosen], b[chosen]))
    return drawn


def _returns(x):
    x = np.asarray(x, np.float64)
    if x.ndim != 1 or not x.size:
        raise ValueError(f"a policy needs one return for each episode, got shape {x.shape}")
    return x


def _resampled_means(rng, returns, resamples):
    returns = _returns(returns)
    return returns[rng.integers(0, len(returns), (resamples, len(returns)))].mean(axis=1)
