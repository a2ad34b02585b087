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
SWEEPS = 10_000
CLOSE = 1e-10


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

    Bradley and Terry, Biometrika 1952, by the minorisation of Hunter, Annals of Statistics 2004, eq. 3.

    Args:
      wins: float ``[..., M, M]``, how often i was preferred to j. The maximum exists where everybody, directly or by
        way of others, has beaten and been beaten by everybody; NaN stands for who has met nobody.

    Returns:
      float ``[..., M]``.
    """
    wins = np.asarray(wins, np.float64)
    met, won = wins + np.swapaxes(wins, -1, -2), wins.sum(axis=-1)
    log = np.zeros(won.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        for _ in range(SWEEPS):
            strength = np.exp(log)
            renewed = np.log(won / (met / (strength[..., :, None] + strength[..., None, :])).sum(axis=-1))
            renewed -= renewed[..., :1]
            moved, log = np.abs(renewed - log), renewed
            if not np.nanmax(moved, initial=0.0) > CLOSE:
                break
    return log


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
    known = wins[:, there][:, :, there]

    def of(row):
        def points(mean):
            return ELO * bradley_terry(len(wins) * mean + added)[..., row]

        return interval_of_means(points, known, **bootstrap)

    nothing = dict.fromkeys(("value", "low", "high"), float("nan"))
    found = {0: dict.fromkeys(nothing, 0.0)} | {int(i): of(row) for row, i in enumerate(there) if row}
    return [found.get(i, nothing) for i in range(wins.shape[1])]
