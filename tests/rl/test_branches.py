"""Rewards against siblings and against the reference, by hand and by what may not matter."""

import numpy as np
import pytest

from prowl_jax.rl.branches import BASELINES, relative

REWARD = np.array([1.0, 3.0, 5.0, 10.0, 10.0, 40.0], np.float32)
ALL = np.ones(6, bool)


def test_against_siblings_is_less_the_mean_of_the_valid_ones():
    worth, learned = relative(REWARD, ALL, 3, "siblings")
    np.testing.assert_allclose(worth, [-2, 0, 2, -10, -10, 20])
    assert learned.all()
    valid = np.array([True, False, True, False, False, True])
    worth, learned = relative(np.where(valid, REWARD, np.nan), valid, 3, "siblings")
    np.testing.assert_allclose(worth, [-2, 0, 2, 0, 0, 0])
    np.testing.assert_array_equal(learned, [True, False, True, False, False, False])  # one alone has no sibling


def test_against_the_reference_its_own_rows_are_not_learned_from():
    worth, learned = relative(REWARD, ALL, 3, "reference")
    np.testing.assert_allclose(worth, [0, 2, 4, 0, 0, 30])
    np.testing.assert_array_equal(learned, [False, True, True] * 2)
    worth, learned = relative(REWARD, np.array([False, True, True, True, True, False]), 3, "reference")
    np.testing.assert_allclose(worth, 0)
    np.testing.assert_array_equal(learned, [False] * 4 + [True, False])


@pytest.mark.parametrize("baseline", [name for name in BASELINES if name != "none"])
def test_how_hard_the_place_is_does_not_matter(baseline):
    place = np.repeat([100.0, -7.0], 3).astype(np.float32)
    worth, _ = relative(REWARD, ALL, 3, baseline)
    np.testing.assert_allclose(relative(REWARD + place, ALL, 3, baseline)[0], worth, atol=1e-4)


def test_scaled_has_the_deviation_one_in_every_group_that_varies():
    worth = np.asarray(relative(REWARD, ALL, 3, "scaled")[0]).reshape(2, 3)
    np.testing.assert_allclose(worth.std(1), 1, atol=1e-3)
    np.testing.assert_array_equal(relative(np.full(6, 2.0, np.float32), ALL, 3, "scaled")[0], np.zeros(6))


def test_without_a_baseline_nothing_changes():
    worth, learned = relative(REWARD, ALL, 1, "none")
    assert worth is REWARD and learned is ALL


@pytest.mark.parametrize("size, baseline, words", [(1, "siblings", "at least two"), (2, "mean", "no baseline 'mean'")])
def test_what_cannot_be_is_refused(size, baseline, words):
    with pytest.raises(ValueError, match=words):
        relative(REWARD, ALL, size, baseline)
