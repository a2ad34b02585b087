"""Preferences: Wilson's interval by scipy's, Elo by its closed form and by a likelihood maximised otherwise."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import binomtest

from prowl_jax.metrics.preference import ELO, bradley_terry, elo, wilson_interval

FAST = {"resamples": 300}


@pytest.mark.parametrize("wins, votes", [(0, 1), (1, 1), (3, 7), (160, 200), (0, 40), (40, 40)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_wilson_is_scipys(wins, votes, level):
    theirs = binomtest(wins, votes).proportion_ci(level, method="wilson")
    assert wilson_interval(wins, votes, level) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_no_votes_say_nothing_and_impossible_ones_are_refused():
    assert wilson_interval(0, 0) == (0.0, 1.0)
    for mistake in ((2, 1), (-1, 3), (1, 2, 1.0)):
        with pytest.raises(ValueError, match="make no interval"):
            wilson_interval(*mistake)


def test_bradley_terry_is_the_most_likely():
    rng = np.random.default_rng(0)
    wins = rng.integers(1, 30, (5, 4, 4)).astype(float)
    wins[0, 0, 3] = wins[0, 3, 0] = 0  # two who never met are compared by way of others
    wins[:, range(4), range(4)] = 0

    def most_likely(one):
        def minus(rest):
            s = np.concatenate([[0.0], rest])
            return -(one * np.log(expit(s[:, None] - s[None, :]))).sum()

        return np.concatenate([[0.0], minimize(minus, np.zeros(3), tol=1e-10).x])

    np.testing.assert_allclose(bradley_terry(wins), [most_likely(one) for one in wins], atol=1e-4)


@pytest.mark.parametrize("wins", [[[0, 3], [0, 0]], [[0, 1, 0], [1, 0, 0], [0, 0, 0]]])
def test_votes_without_an_answer_are_refused(wins):
    with pytest.raises(ValueError, match="no most likely strengths"):
        bradley_terry(np.array(wins))


def one_against(ours, theirs, ties=0):
    """``[n, 2, 2]``, a vote on each clip."""
    wins = np.zeros((ours + theirs + ties, 2, 2))
    wins[:ours, 0, 1], wins[ours : ours + theirs, 1, 0] = 1, 1
    wins[ours + theirs :, 0, 1] = wins[ours + theirs :, 1, 0] = 0.5
    return wins


@pytest.mark.parametrize("votes", [(5, 15), (10, 10), (0, 12), (6, 2, 4)])
def test_elo_of_two_has_a_closed_form(votes):
    first, second = elo(one_against(*votes), **FAST)
    a, b = (x + (votes[2] / 2 if len(votes) > 2 else 0) for x in votes[:2])
    assert first == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert second["value"] == pytest.approx(400 * math.log10((b + 0.5) / (a + 0.5)), abs=1e-6)
    assert second["low"] <= second["value"] <= second["high"]


def test_elo_intervals_are_as_wide_as_theory_says_and_clips_hold_together():
    many = one_against(150, 250)
    wide = elo(many, resamples=2000)[1]
    expected = 2 * 1.96 * ELO * math.sqrt(1 / 150 + 1 / 250)  # the delta method on log-odds
    assert wide["high"] - wide["low"] == pytest.approx(expected, rel=0.08)
    four_on_a_clip = np.concatenate([many[:150].reshape(-1, 2, 2, 2).sum(1), many[150:].reshape(-1, 2, 2, 2).sum(1)])
    wider = elo(four_on_a_clip, resamples=2000)[1]
    assert wider["value"] == pytest.approx(wide["value"])
    assert wider["high"] - wider["low"] == pytest.approx(math.sqrt(2) * expected, rel=0.1)


def test_who_was_never_compared_with_the_first_has_no_elo():
    wins = np.zeros((3, 4, 4))
    wins[0, 0, 1], wins[1, 2, 3], wins[2, 1, 0] = 1, 1, 1
    found = elo(wins, **FAST)
    assert [math.isnan(one["value"]) for one in found] == [False, False, True, True]
