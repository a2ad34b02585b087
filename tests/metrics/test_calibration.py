"""Calibration: known cases, and a second way of computing it."""

import numpy as np
import pytest

from prowl_jax.metrics.calibration import brier, calibration_error, reliability


def test_a_coin_that_says_what_it_does_is_calibrated():
    rng = np.random.default_rng(0)
    said = rng.uniform(size=40000)
    happened = rng.uniform(size=40000) < said
    assert calibration_error(said, happened) < 0.02
    assert calibration_error(np.sqrt(said), happened) > 0.1
    assert brier(said, happened) == pytest.approx(1 / 6, abs=0.01)  # the mean of p (1 - p)


def test_rows_hold_every_step_once_in_order():
    said, happened = np.array([0.9, 0.1, 0.2, 0.8, 0.3]), np.array([1, 0, 0, 1, 1], bool)
    rows = reliability(said, happened, bins=2)
    assert [row["count"] for row in rows] == [3, 2]
    assert rows[0] == {"said": pytest.approx(0.2), "happened": pytest.approx(1 / 3), "count": 3}
    assert rows[1] == {"said": pytest.approx(0.85), "happened": 1.0, "count": 2}
    assert calibration_error(said, happened, bins=2) == pytest.approx((3 * abs(0.2 - 1 / 3) + 2 * 0.15) / 5)
    assert sum(row["count"] for row in reliability(said, happened, bins=10)) == 5


def test_brier_of_always_saying_the_frequency():
    happened = np.arange(10) < 3
    assert brier(np.full(10, 0.3), happened) == pytest.approx(0.3 * 0.7)
    assert brier(happened.astype(float), happened) == 0.0


@pytest.mark.parametrize("said, happened", [([0.5], [1, 0]), ([], []), ([1.5], [1]), ([np.nan], [1])])
def test_what_is_no_chance_is_refused(said, happened):
    with pytest.raises(ValueError):
        brier(said, happened)
