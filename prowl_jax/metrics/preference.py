"""Who is preferred, from votes on pairs: a share with a binomial interval, and Elo by a Bradley-Terry fit (numpy)."""

import math
import statistics

import numpy as np

from prowl_jax.metrics.intervals import interval_of_means

ELO = 400.0 / math.log(10.0)
"""Elo points for each unit of log-strength: 400 points are odds of 10 to 1."""
HALF = 0.5
"""Of a vote that is added for each of two who met, so that who won every time is not infinitely better (the correction
of log-odds by Haldane and by Anscombe, 1956)."""
STEPS, LONGEST, CLOSE = 100, 1.0, 1e-9
"""Of the search for the strengths, in units of their logarithm."""


def wilson_interval(wins, votes, level=0.95):
    """Wilson's score interval of a share: (low, high); (0, 1) of no votes.

    It keeps its level for few votes and shares near 0 and 1 (Brown, Cai and DasGupta, Statistical Science 2001, eq. 4).
    Votes are taken as independent: several people's on one clip are not quite.

    Args:
      wins: votes of one kind, 0 to ``votes``. votes: in all. level: coverage aimed at, in 0..1.

    Raises:
      ValueError: wins or level out of their range.
    """
    if not 0 <= wins <= votes or not 0 < level < 1:
        raise ValueError(f"{wins} of {votes} votes and a level of {level} make no interval")
    if not votes:
        return 0.0, 1.0
    z, share = statistics.NormalDist().inv_cdf(0.5 + level / 2), wins / votes
    middle = share + z * z / (2 * votes)
    half = z * math.sqrt(share * (1 - share) / votes + (z / (2 * votes)) ** 2)
    low, high = ((middle + sign * half) / (1 + z * z / votes) for sign in (-1, 1))
    return (low if wins else 0.0), (high if wins < votes else 1.0)


def bradley_terry(wins):
    """Log-strengths of the model P(i is preferred to j) = s_i / (s_i + s_j), most likely for ``wins``; the first is 0.

    Bradley and Terry, Biometrika 1952. The log-likelihood is concave in them; its maximum is found by Newton's steps,
    none longer than ``LONGEST``.

    Args:
      wins: float ``[..., M, M]``, how often i was preferred to j.

    Returns:
      float ``[..., M]``.

    Raises:
      ValueError: there is no maximum: somebody, or some together, always or never won, or never met the others.
    """
    wins = np.asarray(wins, np.float64)
    met, won = wins + np.swapaxes(wins, -1, -2), wins.sum(axis=-1)
    log = np.zeros(won.shape)
    for _ in range(STEPS):
        chance = 1.0 / (1.0 + np.exp(log[..., None, :] - log[..., :, None]))
        slope, bend = won - (met * chance).sum(axis=-1), met * chance * (1.0 - chance)
        bend = bend.sum(axis=-1)[..., None] * np.eye(won.shape[-1]) - bend
        try:
            step = np.linalg.solve(bend[..., 1:, 1:], slope[..., 1:, None])[..., 0]
        except np.linalg.LinAlgError:
            break
        log[..., 1:] += np.clip(step, -LONGEST, LONGEST)
        if np.abs(step).max(initial=0.0) < CLOSE:
            return log
    raise ValueError("these votes have no most likely strengths: somebody always or never won, or met nobody")


def elo(wins, **bootstrap):
    """Elo of M who were compared in pairs, above the first, with percentile intervals over clips.

    Half a vote is added both ways between each two who met, so that every resample has an answer: of two it is
    400 log10((a + 0.5) / (b + 0.5)).

    Args:
      wins: float ``[n, M, M]``, on each of n clips, how often i was preferred to j; a vote for neither is half of one
        to each. Clips are drawn with replacement and all votes on one go together.
      bootstrap: ``seed``, ``resamples`` and ``level`` of ``metrics.intervals.interval_of_means``.

    Returns:
      M dicts of floats value, low, high; all 0 for the first, NaN for who was never compared with it, even through
      others.
    """
    wins = np.asarray(wins, np.float64)
    met = wins.sum(axis=0) > 0
    met |= met.T
    reached = np.linalg.matrix_power((met | np.eye(len(met), dtype=bool)).astype(float), len(met))[0] > 0
    added, there = HALF * met[np.ix_(reached, reached)], np.flatnonzero(reached)
    known, fits = wins[:, there][:, :, there], {}

    def of(row):
        def points(mean):
            if mean.ndim not in fits:  # the means, or those of all resamples, which are the same for every row
                fits[mean.ndim] = ELO * bradley_terry(len(wins) * mean + added)
            return fits[mean.ndim][..., row]

        return interval_of_means(points, known, **bootstrap)

    nothing = dict.fromkeys(("value", "low", "high"), float("nan"))
    found = {0: dict.fromkeys(nothing, 0.0)} | {int(i): of(row) for row, i in enumerate(there) if row}
    return [found.get(i, nothing) for i in range(wins.shape[1])]
