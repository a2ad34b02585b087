"""Retrieval against a search that sorts, at chance for noise, and of no use to a prediction that says nothing."""

import numpy as np
import pytest

from prowl_jax.metrics.retrieval import retrieved


def test_it_is_a_search_among_the_clip_and_those_after_it():
    rng = np.random.default_rng(0)
    real = rng.integers(0, 256, (9, 4, 4, 3), dtype=np.uint8)
    predicted = np.clip(real + rng.normal(0, 90, real.shape), 0, 255).astype(np.uint8)
    predicted[3] = real[5]
    found = []
    for i in range(9):
        ring = [(i + j) % 9 for j in range(4)]
        apart = [((predicted[i].astype(float) - real[c]) ** 2).sum() for c in ring]
        found.append(ring[int(np.argmin(apart))] == i)
    assert retrieved(predicted, real, 4).tolist() == found
    assert not found[3] and any(found)


def test_noise_finds_its_own_as_often_as_chance_has_it():
    predicted, real = np.random.default_rng(1).normal(size=(2, 4000, 8))
    assert retrieved(predicted, real).mean() == pytest.approx(1 / 16, abs=0.02)


def test_the_same_for_all_finds_none_where_all_are_alike():
    assert not retrieved(np.zeros((16, 5)), np.ones((16, 5))).any()


def test_too_few_clips():
    with pytest.raises(ValueError, match="no 16 or more pairs"):
        retrieved(np.zeros((15, 5)), np.zeros((15, 5)))
