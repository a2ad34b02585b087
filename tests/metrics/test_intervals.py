"""Bootstrap intervals against scipy, and their coverage."""

import itertools

import numpy as np
import pytest
import scipy.stats

from prowl_jax.metrics.intervals import (
    hierarchical_bootstrap,
    interval_of_means,
    mean_interval,
    nested_interval_of_means,
    paired_bootstrap,
)


def clips(n, seed=0, effect=-0.05):
    """A baseline with large differences between clips, and a model that is slightly better."""
    rng = np.random.default_rng(seed)
    b = rng.lognormal(0.0, 0.5, n)
    return b * (1 + effect) + rng.normal(size=n) * 0.03, b


def relative(a, b, axis=-1):
    return (a.mean(axis=axis) - b.mean(axis=axis)) / b.mean(axis=axis)


def test_agrees_with_scipy():
    a, b = clips(80)
    ours = paired_bootstrap(a, b, resamples=8000)
    theirs = scipy.stats.bootstrap(
        (a, b), relative, paired=True, method="percentile", n_resamples=8000, rng=np.random.default_rng(1)
    ).confidence_interval
    width = theirs.high - theirs.low
    assert ours["relative"] == pytest.approx(relative(a, b))
    assert ours["mean_a"] == pytest.approx(a.mean()) and ours["mean_b"] == pytest.approx(b.mean())
    assert abs(ours["low"] - theirs.low) < 0.06 * width and abs(ours["high"] - theirs.high) < 0.06 * width


def test_covers_the_truth_as_often_as_it_says():
    hits = [
        r["low"] <= -0.05 <= r["high"]
        for r in (paired_bootstrap(*clips(60, s), seed=s, resamples=400, level=0.9) for s in range(400))
    ]
    assert 0.85 < np.mean(hits) < 0.94  # 4 deviations of the count are 0.06

    rng = np.random.default_rng(0)
    means = [mean_interval(rng.normal(2.0, 1.0, 60), resamples=400, level=0.9) for _ in range(400)]
    assert 0.84 < np.mean([m["low"] <= 2.0 <= m["high"] for m in means]) < 0.95


def test_pairing_removes_what_clips_share():
    a, b = clips(80)
    paired = paired_bootstrap(a, b)
    shuffled = paired_bootstrap(a, np.random.default_rng(0).permutation(b))
    assert paired["high"] < 0 < shuffled["high"]
    assert paired["high"] - paired["low"] < 0.2 * (shuffled["high"] - shuffled["low"])


def test_equal_models_give_an_interval_of_zero():
    _, b = clips(20)
    result = paired_bootstrap(b, b)
    assert result["relative"] == result["low"] == result["high"] == 0.0


def test_the_seed_decides():
    a, b = clips(30)
    assert paired_bootstrap(a, b, seed=3) == paired_bootstrap(a, b, seed=3)
    assert paired_bootstrap(a, b, seed=3)["low"] != paired_bootstrap(a, b, seed=4)["low"]


def test_a_wider_level_is_a_wider_interval():
    a, b = clips(30)
    narrow, wide = (paired_bootstrap(a, b, level=level) for level in (0.5, 0.99))
    assert wide["low"] < narrow["low"] < narrow["relative"] < narrow["high"] < wide["high"]


def test_a_baseline_of_zero_has_no_relative_difference():
    result = paired_bootstrap([1.0, 2.0], [0.0, 0.0])
    assert result["mean_a"] == 1.5 and np.isnan([result["relative"], result["low"], result["high"]]).all()


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        ([1.0], [1.0, 2.0], "pairs"),
        ([], [], "shape"),
        ([np.nan], [1.0], "finite"),
        ([[1.0]], [[1.0]], "shape"),
    ],
)
def test_what_cannot_be_compared_is_refused(a, b, words):
    with pytest.raises(ValueError, match=words):
        paired_bootstrap(a, b)


def test_seeds_and_clips_agree_with_every_possible_resample():
    """Two seeds of two and three clips: all 4 draws of seeds times all draws of clips, by their chances."""
    a, b = [[1.0, 2.0], [4.0, 7.0, 9.0]], [[2.0, 3.0], [5.0, 5.0, 11.0]]

    def draws(s):
        """(mean of a, mean of b) of every resample of seed s's clips."""
        rows = itertools.product(range(len(a[s])), repeat=len(a[s]))
        return [(np.mean([a[s][i] for i in r]), np.mean([b[s][i] for i in r])) for r in rows]

    values, chances = [], []
    for s, t in itertools.product(range(2), repeat=2):
        first, second = draws(s), draws(t)
        for (a_s, b_s), (a_t, b_t) in itertools.product(first, second):
            values.append((a_s + a_t) / (b_s + b_t) - 1)
            chances.append(1 / (4 * len(first) * len(second)))
    order = np.argsort(values)
    values, reached = np.array(values)[order], np.cumsum(np.array(chances)[order])
    result = hierarchical_bootstrap(a, b, resamples=40000, level=0.8)
    assert result["relative"] == pytest.approx((1.5 + 20 / 3) / (2.5 + 7) - 1)
    for bound, share in (("low", 0.1), ("high", 0.9)):
        near = values[np.searchsorted(reached, share - 0.01) : np.searchsorted(reached, share + 0.01) + 1]
        assert near.min() - 1e-9 <= result[bound] <= near.max() + 1e-9


def test_the_width_is_the_closed_form_of_two_levels():
    """Var = (variance of the seeds' means + mean of the clips' variance / n) / S; the baseline is 1 throughout."""
    rng = np.random.default_rng(0)
    groups = [rng.normal(rng.normal(1.0, 0.2), 0.5, n) for n in rng.integers(30, 50, 40)]
    ones = [np.ones(len(g)) for g in groups]
    between, within = np.var([g.mean() for g in groups]), np.mean([g.var() / len(g) for g in groups])
    for over_seeds, variance in ((True, between + within), (False, within)):
        result = hierarchical_bootstrap(groups, ones, over_seeds=over_seeds, resamples=20000)
        expected = 2 * 1.96 * np.sqrt(variance / len(groups))
        assert result["high"] - result["low"] == pytest.approx(expected, rel=0.04)


def test_one_seed_is_the_plain_bootstrap():
    a, b = clips(80)
    nested, plain = hierarchical_bootstrap([a], [b], resamples=8000), paired_bootstrap(a, b, resamples=8000)
    assert nested["relative"] == pytest.approx(plain["relative"])
    width = plain["high"] - plain["low"]
    assert abs(nested["low"] - plain["low"]) < 0.06 * width and abs(nested["high"] - plain["high"]) < 0.06 * width


def test_seeds_weigh_alike_and_must_be_pairs():
    result = hierarchical_bootstrap([[1.0], [3.0, 3.0, 3.0]], [[1.0], [1.0, 1.0, 1.0]], resamples=100)
    assert result["mean_a"] == 2.0 and result["relative"] == 1.0
    assert (result["low"], result["high"]) == pytest.approx((0.0, 2.0))
    assert np.isnan(hierarchical_bootstrap([[1.0]], [[0.0]])["low"])
    for a, b in (([], []), ([[1.0]], [[1.0], [1.0]]), ([[1.0, 2.0]], [[1.0]])):
        with pytest.raises(ValueError, match="pairs"):
            hierarchical_bootstrap(a, b)


def test_of_a_mean_and_of_a_ratio_it_is_what_the_others_say():
    a, b = clips(50)
    whole = mean_interval(a, resamples=500)
    ours = interval_of_means(lambda mean: mean, a, resamples=500)
    np.testing.assert_allclose(list(ours.values()), list(whole.values()), rtol=1e-12)
    ratio, paired = interval_of_means(lambda x, y: x / y - 1, a, b), paired_bootstrap(a, b)
    np.testing.assert_allclose(list(ratio.values()), [paired[k] for k in ("relative", "low", "high")], rtol=1e-12)


def test_values_of_a_clip_may_have_any_shape():
    tables = np.random.default_rng(0).integers(0, 9, (20, 2, 2)).astype(float)
    diagonal = interval_of_means(lambda t: t[..., 0, 0] + t[..., 1, 1], tables)
    assert diagonal == pytest.approx(
        dict(zip(("value", "low", "high"), mean_interval(tables[:, 0, 0] + tables[:, 1, 1]).values(), strict=True))
    )


def test_what_is_not_finite_has_no_interval():
    assert np.isnan(list(interval_of_means(lambda x, y: x / y, np.ones(5), np.zeros(5)).values())).all()
    with pytest.raises(ValueError, match="of the same clips"):
        interval_of_means(lambda x, y: x, np.ones(5), np.ones(4))


def crossed(rng, seeds, episodes, clips, of_seed, of_episode, of_clip):
    """Differences of two models whose seeds, episodes (which all seeds share) and clips each have a deviation."""
    own, shared = rng.normal(0, of_seed, seeds), rng.normal(0, of_episode, episodes)
    noise = rng.normal(0, of_clip, (seeds, episodes, clips))
    off = own[:, None, None] + shared[None, :, None] + noise
    return [1.0 + one.ravel() for one in off], [np.repeat(np.arange(episodes), clips)] * seeds


def test_where_episodes_are_shared_the_interval_is_as_wide_as_they_make_it():
    """The variance of the mean is s^2/S + e^2/E + c^2/(S E C); clips drawn by themselves see next to nothing of e."""
    a, episodes = crossed(np.random.default_rng(0), 8, 12, 6, 0.05, 0.3, 0.2)
    b = [np.ones_like(x) for x in a]
    expected = 2 * 1.96 * np.sqrt(0.05**2 / 8 + 0.3**2 / 12 + 0.2**2 / (8 * 12 * 6))
    told, blind = (hierarchical_bootstrap(a, b, episodes=e, resamples=4000) for e in (episodes, None))
    assert told["relative"] == blind["relative"]
    assert told["high"] - told["low"] == pytest.approx(expected, rel=0.35)
    assert blind["high"] - blind["low"] < 0.4 * (told["high"] - told["low"])
    same = nested_interval_of_means(lambda x, y: x / y - 1.0, a, b, episodes=episodes, resamples=4000)
    assert same["low"] == pytest.approx(told["low"]) and same["high"] == pytest.approx(told["high"])


def test_intervals_over_shared_episodes_cover_the_truth():
    hits = []
    for i in range(200):
        a, episodes = crossed(np.random.default_rng(i), 6, 15, 4, 0.1, 0.2, 0.2)
        found = hierarchical_bootstrap(a, [np.ones_like(x) for x in a], episodes=episodes, resamples=300, level=0.9)
        hits.append(found["low"] <= 0.0 <= found["high"])
    assert 0.8 < np.mean(hits) < 0.97


def test_where_every_clip_is_an_episode_of_its_own_seed_it_is_nearly_the_nested_one():
    rng = np.random.default_rng(2)
    a = [1.0 + rng.normal(0, 0.3, 40) for _ in range(5)]
    b = [np.ones(40)] * 5
    own = [[f"{s}/{i}" for i in range(40)] for s in range(5)]
    for over_seeds in (True, False):
        widths = [
            found["high"] - found["low"]
            for found in (
                hierarchical_bootstrap(a, b, over_seeds=over_seeds, episodes=e, resamples=4000) for e in (own, None)
            )
        ]
        assert widths[0] == pytest.approx(widths[1], rel=0.12)


def test_episodes_are_of_the_same_clips():
    with pytest.raises(ValueError, match="clips have episodes"):
        hierarchical_bootstrap([np.ones(3)], [np.ones(3)], episodes=[[1, 2]])


def test_subsets_that_differ_from_seed_to_seed_still_share_what_they_share():
    """Of the hardest clips each seed has others, of the same few episodes: no stratum of one that is always drawn."""
    a, episodes = crossed(np.random.default_rng(5), 8, 12, 6, 0.02, 0.4, 0.1)
    rng = np.random.default_rng(6)
    kept = [np.sort(rng.choice(72, 20, replace=False)) for _ in a]
    a, of = ([x[rows] for x, rows in zip(parts, kept, strict=True)] for parts in (a, episodes))
    b = [np.ones_like(x) for x in a]
    told, blind = (hierarchical_bootstrap(a, b, episodes=e, resamples=3000) for e in (of, None))
    assert told["high"] - told["low"] > 2 * (blind["high"] - blind["low"])
