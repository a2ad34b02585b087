"""How sure a difference is: bootstrap intervals over clips (numpy; Efron and Tibshirani 1993).

Two models are compared on the same clips, and clips differ far more than models do. So
clips are drawn, with replacement, in pairs; what clips share cancels. Where both were trained from
several seeds, the seeds are drawn first and then clips within each (``hierarchical_bootstrap``; Davison
and Hinkley 1997, section 3.8): the interval then also covers what another seed would have changed.

Clips that were cut from one recorded episode are not independent of each other, and seeds that are measured on the same
recordings not of each other. Where the ``episodes`` of the clips are told, episodes are drawn in the place of clips, an
episode's clips together, and those that several seeds share once for all of them (the pigeonhole bootstrap: Owen 2007,
arXiv 0712.1111).
"""

import functools

import numpy as np

from prowl_jax.spans import span


@span("statistics")
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


@span("statistics")
def hierarchical_bootstrap(a, b, *, over_seeds=True, episodes=None, seed=0, resamples=2000, level=0.95):
    """Percentile interval of the relative difference of two models that were trained from several seeds.

    A mean is the mean over seeds of the mean over a seed's clips: seeds weigh alike, however many
    clips they have. A resample draws as many seeds as there are and, for each time one is drawn, as many
    of its clips as it has, both with replacement; a and b share every draw.

    Args:
      a: one sequence of floats ``[n_s]`` a seed, a metric on this seed's clips. b: of the baseline, in pairs.
      over_seeds: False keeps the seeds as they are and draws clips alone: how sure the difference is for
        these very models. With one seed both are the same.
      episodes: one sequence of names ``[n_s]`` a seed, the episode of every clip; None: each clip is one.
      seed, resamples, level: as in ``paired_bootstrap``.

    Returns:
      As ``paired_bootstrap``.

    Raises:
      ValueError: as there, and where a and b have no seed or another number of them.
    """
    a, b = ([_checked(x, name) for x in group] for group, name in ((a, "a"), (b, "b")))
    sizes = tuple(x.size for x in a)
    if not a or sizes != tuple(x.size for x in b):
        raise ValueError(f"a and b must be pairs, got {list(sizes)} and {[x.size for x in b]} clips of each seed")
    mean_a, mean_b = (float(np.mean([x.mean() for x in group])) for group in (a, b))
    result = {"mean_a": mean_a, "mean_b": mean_b}
    if mean_b == 0:
        return {**result, "relative": np.nan, "low": np.nan, "high": np.nan}
    weights = _weights(sizes, episodes, over_seeds, seed, resamples)
    resampled_a, resampled_b = weights @ np.concatenate(a), weights @ np.concatenate(b)
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = _percentiles((resampled_a - resampled_b) / resampled_b, level)
    return {**result, "relative": mean_a / mean_b - 1.0, "low": float(low), "high": float(high)}


@span("statistics")
def nested_interval_of_means(
    function, *groups, over_seeds=True, episodes=None, seed=0, resamples=2000, level=0.95
):
    """``interval_of_means`` of several seeds: seeds are drawn first, then clips within each.

    Args:
      function: as there, of numbers: each mean is that of the seeds' own means.
      groups: each a list of one float ``[n_s, *what a clip has]`` for every seed s; of one seed, all groups have the
        same clips.
      over_seeds: False draws clips alone. episodes: as of ``hierarchical_bootstrap``.

    Returns and errors: as there.
    """
    groups = [[_checked(x, f"group {i}", rank=None) for x in group] for i, group in enumerate(groups)]
    sizes = {tuple(map(len, group)) for group in groups}
    if len(sizes) != 1 or sizes == {()}:
        raise ValueError(f"the groups must be of the same clips of each seed, got {sorted(sizes)}")
    weights = _weights(*sizes, episodes, over_seeds, seed, resamples)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = function(*(np.mean([x.mean(axis=0) for x in group], axis=0) for group in groups))
        draws = function(*(_resampled(weights, np.concatenate(group)) for group in groups))
    if not np.isfinite(value) or not np.isfinite(draws).all():
        return dict.fromkeys(("value", "low", "high"), float("nan"))
    low, high = _percentiles(draws, level)
    return {"value": float(value), "low": float(low), "high": float(high)}


def _resampled(weights, values):
    """Weighted means ``[resamples, ...]`` of ``[n, ...]``."""
    if values.ndim == 1:
        return weights @ values
    return (weights @ values.reshape(len(values), -1)).reshape(len(weights), *values.shape[1:])


def _weights(sizes, episodes, over_seeds, seed, resamples):
    """The weight of every clip of every seed in every resample, float ``[resamples, sum(sizes)]``; rows sum to 1."""
    if episodes is None:
        return _nested_weights(sizes, over_seeds, seed, resamples)
    if tuple(map(len, episodes)) != sizes:
        raise ValueError(f"{list(map(len, episodes))} clips have episodes, of {list(sizes)} of each seed")
    return _crossed_weights(tuple(tuple(map(str, one)) for one in episodes), over_seeds, seed, resamples)


@functools.lru_cache(maxsize=8)
def _crossed_weights(episodes, over_seeds, seed, resamples):
    """``_weights`` where seeds and episodes are drawn, each by itself.

    Episodes that several seeds share are drawn among themselves, and those of one seed alone likewise, so that it keeps
    as many. A seed none of whose episodes were drawn in a resample has its clips as they are.
    """
    rng, seeds = np.random.default_rng(seed), len(episodes)
    known = {name: i for i, name in enumerate(dict.fromkeys(name for one in episodes for name in one))}
    of_clip = [np.array([known[name] for name in one]) for one in episodes]
    held_by = np.zeros((len(known), seeds), bool)
    for s, rows in enumerate(of_clip):
        held_by[rows, s] = True
    times = np.ones((resamples, seeds), int)
    if over_seeds:
        times = rng.multinomial(seeds, np.full(seeds, 1.0 / seeds), resamples)
    drawn = np.zeros((resamples, len(known)))
    shared = held_by.sum(axis=1) > 1
    for s in (None, *range(seeds)):
        members = np.flatnonzero(shared if s is None else held_by[:, s] & ~shared)
        if len(members):
            often = 1 if s is None else np.maximum(times[:, s], 1)  # of one seed: anew each time that it is drawn
            count = np.full(resamples, len(members)) * often
            drawn[:, members] = rng.multinomial(count, np.full(len(members), 1.0 / len(members)))
    parts = []
    for s, rows in enumerate(of_clip):
        counts = np.where(drawn[:, rows].any(axis=1, keepdims=True), drawn[:, rows], 1.0)
        parts.append(counts / counts.sum(axis=1, keepdims=True) * times[:, s : s + 1] / seeds)
    weights = np.concatenate(parts, axis=1)
    weights.setflags(write=False)
    return weights


@functools.lru_cache(maxsize=8)  # a study asks for the same draws for every arm and metric
def _nested_weights(sizes, over_seeds, seed, resamples):
    """The weight of every clip of every seed in every resample, float ``[resamples, sum(sizes)]``; rows sum to 1."""
    rng, seeds = np.random.default_rng(seed), len(sizes)
    offsets, total = np.cumsum([0, *sizes[:-1]]), sum(sizes)
    weights = np.zeros((resamples, total))
    for place in range(seeds):
        chosen = rng.integers(0, seeds, resamples) if over_seeds else np.full(resamples, place)
        for s, (offset, size) in enumerate(zip(offsets, sizes, strict=True)):
            rows = np.flatnonzero(chosen == s)
            drawn = rng.integers(0, size, (len(rows), size)) + size * np.arange(len(rows))[:, None]
            counts = np.bincount(drawn.ravel(), minlength=len(rows) * size).reshape(len(rows), size)
            weights[rows, offset : offset + size] += counts / (size * seeds)
    weights.setflags(write=False)
    return weights


@span("statistics")
def mean_interval(a, *, seed=0, resamples=2000, level=0.95):
    """Percentile interval of a mean: float ``[n]`` -> dict of floats mean, low, high.

    Arguments and errors as in ``paired_bootstrap``.
    """
    a = _checked(a, "a")
    low, high = _percentiles(a[_draws(a.size, seed, resamples)].mean(axis=1), level)
    return {"mean": float(a.mean()), "low": float(low), "high": float(high)}


@span("statistics")
def interval_of_means(function, *values, seed=0, resamples=2000, level=0.95):
    """Percentile interval of a function of means over clips, such as the ratio of two of them.

    Args:
      function: ``f(*means)`` of the mean of each of ``values`` over the clips, ``[..., *what a clip has]``, to
        ``[...]``: it is called once with the means and once with those of all resamples.
      values: float ``[n, ...]`` each, of the same n clips, which are drawn together.
      seed, resamples, level: as in ``paired_bootstrap``.

    Returns:
      dict of floats value, low, high, all of them NaN where the function is not finite for the means or a resample.

    Raises:
      ValueError: numbers of clips that differ, or none.
    """
    values = [np.asarray(x, np.float64) for x in values]
    clips = {len(x) for x in values}
    if len(clips) != 1 or clips == {0}:
        raise ValueError(f"values must be of the same clips, got {sorted(clips)} of them")
    (n,) = clips
    weights = np.stack([np.bincount(drawn, minlength=n) for drawn in _draws(n, seed, resamples)]) / n
    resampled = [(weights @ x.reshape(n, -1)).reshape(resamples, *x.shape[1:]) for x in values]
    with np.errstate(divide="ignore", invalid="ignore"):
        value, draws = function(*(x.mean(axis=0) for x in values)), np.asarray(function(*resampled))
    if not np.isfinite(value) or not np.isfinite(draws).all():
        return dict.fromkeys(("value", "low", "high"), float("nan"))
    low, high = _percentiles(draws, level)
    return {"value": float(value), "low": float(low), "high": float(high)}


def _checked(x, name, rank=1):
    x = np.asarray(x, np.float64)
    if (x.ndim != rank if rank else x.ndim < 1) or not x.size:
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
