"""Drawing from a partly filled buffer: what is not there never comes, and the rest as often as was computed."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from prowl_jax.pat import priority as pat
from prowl_jax.pat.priority import KINDS, Priority

CAPACITIES = (128, 512, 1000, 4096, 16384)


@functools.partial(jax.jit, static_argnames="priority")
def distribution(scores, last_sampled, filled, priority):
    return pat.mixture(pat.score_weights(scores, filled, priority), last_sampled, 9, filled, priority)


@functools.partial(jax.jit, static_argnames=("n", "replacement"))
def draw(key, p, filled, n, replacement=True):
    return pat.draw(key, p, filled, n, replacement)


def buffer_of(seed, capacity, share):
    """Scores, ages and which slots are filled: a share of them, at the front or anywhere."""
    rng = np.random.default_rng(seed)
    filled = np.arange(capacity) < max(1, round(share * capacity))
    if seed % 2:
        filled = rng.permutation(filled)
    return rng.normal(0, 2, capacity).astype(np.float32), rng.integers(0, 10, capacity).astype(np.int32), filled


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**20),
    capacity=st.sampled_from(CAPACITIES),
    share=st.one_of(st.floats(0, 1), st.just(429 / 512)),
    kind=st.sampled_from(KINDS),
    staleness=st.sampled_from((0.0, 0.3, 1.0)),
)
def test_no_empty_slot_has_a_share_and_the_others_have_theirs(seed, capacity, share, kind, staleness):
    """Of every height that a draw can take, not only of those that some draws took."""
    scores, last, filled = buffer_of(seed, capacity, share)
    p = np.asarray(distribution(scores, last, filled, Priority(kind, 0.5, staleness)))
    steps = np.asarray(jax.jit(pat.cumulative)(p, filled), np.float64)
    shares = np.diff(np.concatenate([[0.0], steps]))
    assert (shares >= 0).all() and (shares[~filled] == 0).all()
    np.testing.assert_allclose(shares / steps[-1], p.astype(np.float64) / p.sum(dtype=np.float64), atol=1e-6)
    for replacement in (True, False):
        drawn = np.asarray(draw(jax.random.key(seed), p, filled, 64, replacement))
        assert filled[drawn].all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("capacity", [512, 16384])
def test_a_million_draws_follow_the_distribution(kind, capacity):
    scores, last, filled = buffer_of(2, capacity, 429 / 512)
    p = np.asarray(distribution(scores, last, filled, Priority(kind, 1.0, 0.3)), np.float64)
    draws = 1 << 20
    counts = np.bincount(np.asarray(draw(jax.random.key(5), jnp.float32(p), filled, draws)), minlength=capacity)
    assert counts[~filled].sum() == 0
    expected = p / p.sum() * draws
    often = expected > 5
    pooled = [*counts[often], counts[~often].sum()], [*expected[often], expected[~often].sum()]
    assert scipy.stats.chisquare(*(np.array(side)[np.array(pooled[1]) > 0] for side in pooled)).pvalue > 1e-4


def test_without_replacement_no_entry_comes_twice_and_the_likely_ones_come_first():
    filled = np.arange(12) % 3 > 0
    p = np.where(filled, np.arange(12), 0) / np.arange(12)[filled].sum()
    keys = jax.random.split(jax.random.key(0), 20_000)
    drawn = np.asarray(jax.vmap(lambda key: pat.draw(key, jnp.float32(p), filled, 5, False))(keys))
    assert filled[drawn].all()
    assert (np.diff(np.sort(drawn, axis=1), axis=1) > 0).all()
    first = np.bincount(drawn[:, 0], minlength=12)
    assert scipy.stats.chisquare(first[filled], p[filled] / p.sum() * len(keys)).pvalue > 1e-3
    # By hand: the second is j with sum_i p_i p_j / (1 - p_i).
    q = p[filled]
    second = np.array([sum(q[i] * q[j] / (1 - q[i]) for i in range(8) if i != j) for j in range(8)])
    counts = np.bincount(drawn[:, 1], minlength=12)[filled]
    assert scipy.stats.chisquare(counts, second * len(keys)).pvalue > 1e-3


def test_more_than_there_are_come_again_in_the_same_order_and_never_an_empty_one():
    filled = np.array([0, 1, 0, 1, 1, 0, 0, 0], bool)
    p = jnp.float32([0, 1.0, 0, 0, 0, 0, 0, 0])  # two are there without a chance: they come last
    for n in (8, 9):  # as many as there are slots, and more
        drawn = np.asarray(draw(jax.random.key(3), p, filled, n, False))
        assert drawn[0] == 1 and sorted(drawn[:3]) == [1, 3, 4]
        np.testing.assert_array_equal(drawn, np.resize(drawn[:3], n))


@pytest.mark.parametrize("replacement", [True, False])
def test_of_nothing_the_first_slot_is_drawn(replacement):
    nothing = np.zeros(600, bool)
    assert not np.asarray(draw(jax.random.key(0), jnp.zeros(600), nothing, 7, replacement)).any()
