"""P(i) against the formulas written out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prowl_jax.pat.priority import (
    Priority,
    mixture,
    score_weights,
    staleness_weights,
)

ALL = np.ones(4, bool)
KINDS = ("rank", "softmax", "power")
jitted_weights = jax.jit(score_weights, static_argnames="priority")


def weights(scores, filled=ALL, **priority):
    scores, filled = np.asarray(scores, np.float32), np.asarray(filled)
    return np.asarray(jitted_weights(scores, filled, Priority(**priority)))


def test_rank_is_the_power_of_the_inverse_rank():
    expected = np.array([1 / 3, 1.0, 1 / 4, 1 / 2]) ** (1 / 0.3)
    np.testing.assert_allclose(weights([0.1, 9.0, -3.0, 0.2]), expected / expected.sum(), rtol=1e-5)


def test_equal_scores_share_the_better_rank():
    expected = np.array([1 / 2, 1 / 2, 1.0, 1 / 2]) ** (1 / 0.5)
    np.testing.assert_allclose(
        weights([1.0, 1.0, 2.0, 1.0], temperature=0.5), expected / expected.sum(), rtol=1e-5
    )


def test_rank_at_the_temperature_of_the_plr_paper_does_not_underflow():
    scores = np.arange(4000.0)
    p = weights(scores, np.ones(4000, bool), temperature=0.1)
    assert p.sum() == pytest.approx(1.0) and p.argmax() == 3999 and np.isfinite(p).all()


@given(st.lists(st.tuples(st.floats(width=32, allow_subnormal=False), st.booleans()), min_size=8, max_size=8))
@settings(deadline=None, max_examples=200)
def test_a_rank_is_one_more_than_how_many_score_higher(entries):
    scores, filled = (np.array(x) for x in zip((0.0, True), (-0.0, True), *entries, strict=True))
    scores = scores.astype(np.float32)
    known = np.where(np.isfinite(scores), scores, -np.inf)
    ranks = 1 + ((known[None] > known[:, None]) & filled[None]).sum(1)
    expected = np.where(filled, 1.0 / ranks, 0.0)
    p = weights(scores, filled, kind="rank", temperature=1.0)
    np.testing.assert_allclose(p, expected / max(expected.sum(), 1e-9), rtol=1e-5)


def test_softmax_and_power():
    scores = np.array([0.5, -1.0, 0.0, 2.0])
    expected = np.exp(scores / 0.7)
    np.testing.assert_allclose(
        weights(scores, kind="softmax", temperature=0.7), expected / expected.sum(), rtol=1e-5
    )
    expected = (scores + 1.0 + 1e-6) ** (1 / 0.7)
    np.testing.assert_allclose(
        weights(scores, kind="power", temperature=0.7), expected / expected.sum(), rtol=1e-4, atol=1e-7
    )


def test_uniform_knows_no_score():
    filled = np.array([True, False, True, True])
    np.testing.assert_allclose(weights([5.0, 9.0, np.nan, -3.0], filled, kind="uniform"), filled / 3, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_the_lowest(kind, bad):
    p = weights([0.3, bad, 0.1, 0.2], kind=kind)
    assert np.isfinite(p).all() and p.sum() == pytest.approx(1.0)
    assert p[1] <= p[2] < p[3] < p[0]


@pytest.mark.parametrize("kind", KINDS)
def test_empty_slots_get_nothing_even_before_a_bad_score(kind):
    p = weights([np.inf, np.nan, 7.0, -2.0], [False, True, False, True], kind=kind)
    assert p[0] == p[2] == 0 and p.sum() == pytest.approx(1.0) and p[3] >= p[1] > 0
    if kind == "rank":
        np.testing.assert_allclose(p[1] / p[3], 2 ** (-1 / 0.3), rtol=1e-5)
    assert not weights([1.0, np.nan, 3.0, -np.inf], np.zeros(4, bool), kind=kind).any()


@settings(deadline=None)
@given(
    scores=st.permutations([-3.0, -0.5, 0.0, 0.7, 2.0, 5.0]),
    filled=st.lists(st.booleans(), min_size=6, max_size=6).filter(any),
    kind=st.sampled_from(KINDS),
)
def test_a_higher_score_is_never_less_likely(scores, filled, kind):
    p = weights(scores, filled, kind=kind)
    assert p.sum() == pytest.approx(1.0, abs=1e-5)
    assert not p[~np.array(filled)].any()
    present = [i for i in np.argsort(scores) if filled[i]]
    assert (np.diff(p[present]) >= 0).all()


def test_staleness_is_the_age_or_uniform():
    filled = jnp.array([True, True, False, True])
    last = jnp.array([7, 4, 0, 10])
    np.testing.assert_allclose(staleness_weights(last, 10, filled), np.array([3, 6, 0, 0]) / 9, rtol=1e-6)
    fresh = jnp.full(4, 10)
    np.testing.assert_allclose(staleness_weights(fresh, 10, filled), np.array([1, 1, 0, 1]) / 3, rtol=1e-6)
    assert not np.asarray(staleness_weights(last, 10, jnp.zeros(4, bool))).any()


def test_the_mixture_takes_rho_of_staleness():
    scores, last, filled = jnp.array([1.0, 3.0, 2.0]), jnp.array([0, 4, 3]), jnp.ones(3, bool)
    by_score = np.array([1 / 3, 1, 1 / 2])
    by_age = np.array([4, 0, 1]) / 5
    for rho in (0.0, 0.25, 1.0):
        priority = Priority(temperature=1.0, staleness=rho)
        p_score = weights(scores, filled, temperature=1.0)
        p = jax.jit(mixture, static_argnames="priority")(p_score, last, 4, filled, priority)
        np.testing.assert_allclose(p, (1 - rho) * by_score / by_score.sum() + rho * by_age, rtol=1e-5)


@pytest.mark.parametrize(
    "wrong", [{"kind": "proportional"}, {"temperature": 0.0}, {"staleness": 1.1}, {"staleness": -0.1}]
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Priority(**wrong)
