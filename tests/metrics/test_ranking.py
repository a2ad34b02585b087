"""Rankings of policies against scipy, loops, and cases whose answer is known."""

import numpy as np
import pytest
from scipy import stats

from prowl_jax.metrics.ranking import MEASURES, mmrv, pearson, ranking, ranks, spearman


def pairs(seed, policies=9, ties=False):
    rng = np.random.default_rng(seed)
    real, dreamt = rng.normal(size=(2, policies))
    return (real.round(0), dreamt.round(0)) if ties else (real, dreamt)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_correlations_are_scipys(seed, ties):
    real, dreamt = pairs(seed, ties=ties)
    np.testing.assert_allclose(pearson(real, dreamt), stats.pearsonr(real, dreamt)[0], atol=1e-12)
    np.testing.assert_allclose(spearman(real, dreamt), stats.spearmanr(real, dreamt)[0], atol=1e-12)
    np.testing.assert_array_equal(ranks(real), stats.rankdata(real))


@pytest.mark.parametrize("ties", [False, True])
def test_mmrv_is_what_its_formula_says(ties):
    real, dreamt = pairs(3, ties=ties)
    worst = []
    for i in range(len(real)):
        violations = [0.0]
        for j in range(len(real)):
            if (dreamt[i] < dreamt[j]) != (real[i] < real[j]):
                violations.append(abs(real[i] - real[j]))
        worst.append(max(violations))
    assert mmrv(real, dreamt) == pytest.approx(np.mean(worst))


def test_one_exchanged_pair_costs_its_difference():
    """Of 0, 1, 5 the last two exchanged: both of them are off by 4, the first is right."""
    assert mmrv([0, 1, 5], [0, 9, 2]) == pytest.approx((0 + 4 + 4) / 3)
    assert mmrv([0, 1, 5], [3, 4, 70]) == 0.0


def test_all_resamples_are_done_at_once():
    real, dreamt = np.stack([pairs(s) for s in range(4)], axis=1)
    for measure in (mmrv, pearson, spearman):
        alone = [measure(r, d) for r, d in zip(real, dreamt, strict=True)]
        np.testing.assert_allclose(measure(real, dreamt), alone)


def test_what_does_not_vary_correlates_with_nothing():
    assert np.isnan(pearson([1.0, 1.0, 1.0], [1.0, 2.0, 3.0])) and np.isnan(spearman([1, 2, 3], [7, 7, 7]))


def returns(rng, skills, episodes=60, noise=1.0):
    return [skill + noise * rng.normal(size=episodes) for skill in skills]


def test_intervals_hold_the_truth_and_shrink_where_the_policies_are_given():
    rng, skills = np.random.default_rng(0), np.arange(10.0)
    found = ranking(returns(rng, skills), returns(rng, skills))
    assert found.keys() == set(MEASURES)
    assert found["spearman"]["low"] > 0.9 and found["spearman"]["high"] == 1.0
    given = ranking(returns(rng, skills), returns(rng, skills[::-1]), over_policies=False)
    assert given["pearson"]["high"] < -0.95 and given["mmrv"]["low"] > 5.0
    free = ranking(returns(rng, skills, 6, 4.0), returns(rng, skills, 6, 4.0))
    fixed = ranking(returns(rng, skills, 6, 4.0), returns(rng, skills, 6, 4.0), over_policies=False)
    widths = [x["pearson"]["high"] - x["pearson"]["low"] for x in (free, fixed)]
    assert widths[0] > widths[1] > 0
    for row in (*found.values(), *given.values()):
        assert row["low"] <= row["value"] <= row["high"]


def test_seeds_of_one_learner_are_no_more_certain_than_learners():
    """Five seeds of each of three learners: as sure as of three policies, not of fifteen."""
    rng, skills, kinds = np.random.default_rng(3), np.repeat([0.0, 1.0, 2.0], 5), list("aaaaabbbbbccccc")
    real, dreamt = returns(rng, skills, noise=0.1), returns(rng, np.repeat([0.0, 2.0, 1.0], 5), noise=0.1)
    alone, in_kinds = ranking(real, dreamt), ranking(real, dreamt, kinds=kinds)
    assert alone["pearson"]["value"] == in_kinds["pearson"]["value"] == pytest.approx(0.5, abs=0.1)
    widths = [x["pearson"]["high"] - x["pearson"]["low"] for x in (alone, in_kinds)]
    assert widths[1] > 1.5 * widths[0]
    each = ranking(real, dreamt, kinds=range(15))
    assert each == alone


def test_the_same_seed_gives_the_same_interval():
    rng = np.random.default_rng(1)
    real, dreamt = returns(rng, [0, 1, 2]), returns(rng, [0, 2, 1])
    assert ranking(real, dreamt, seed=4) == ranking(real, dreamt, seed=4) != ranking(real, dreamt, seed=5)


@pytest.mark.parametrize("real, dreamt", [([[1.0]], [[1.0]]), ([[1.0], [2.0]], [[1.0]]), ([[1.0], []], [[1.0], [2.0]])])
def test_what_cannot_be_ranked(real, dreamt):
    with pytest.raises(ValueError):
        ranking(real, dreamt)
