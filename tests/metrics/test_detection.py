"""AUROC against pairs counted one by one."""

import numpy as np
import pytest

from prowl_jax.metrics.calibration import amounts, relative_error
from prowl_jax.metrics.detection import auroc, auroc_interval


def test_it_counts_pairs_and_ties_by_half():
    rng = np.random.default_rng(0)
    usual, unusual = rng.integers(0, 6, 30), rng.integers(2, 8, 20)
    pairs = [(a > b) + 0.5 * (a == b) for a in unusual for b in usual]
    assert auroc(usual, unusual) == pytest.approx(np.mean(pairs))
    assert auroc(usual, unusual) + auroc(unusual, usual) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="two kinds"):
        auroc([], [1.0])


def test_its_interval_holds_it_and_is_narrow_where_all_is_clear():
    rng = np.random.default_rng(0)
    found = auroc_interval(rng.normal(size=60), rng.normal(1.0, size=60), resamples=200)
    assert 0.5 < found["low"] < found["value"] < found["high"] < 0.95
    assert auroc_interval([1, 2, 3], [4, 5, 6], resamples=20) == {"value": 1.0, "low": 1.0, "high": 1.0}


def test_amounts_are_compared_bin_by_bin():
    said = np.repeat([1.0, 2.0, 4.0], 100)
    rows = amounts(said, np.repeat([1.0, 3.0, 4.0], 100), bins=3)
    assert [row["said"] for row in rows] == [1.0, 2.0, 4.0] and [row["count"] for row in rows] == [100] * 3
    assert relative_error(rows) == pytest.approx(1.0 / 8.0)
