"""The intraclass correlation against the known one of drawn groups, and a published table."""

import numpy as np
import pytest

from prowl_jax.metrics.intraclass import intraclass


def test_it_is_the_published_figure():
    """Shrout and Fleiss (1979), table 2: six targets, four judges, ICC(1,1) = .17."""
    ratings = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
    found = intraclass(np.array(ratings, np.float32).reshape(-1), 4)
    assert float(found["intraclass"]) == pytest.approx(0.17, abs=0.005)
    assert float(found["within"]) == pytest.approx(6.26, abs=0.01)  # their mean square within targets


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_of_drawn_groups_it_is_the_share_they_were_drawn_with(share):
    rng = np.random.default_rng(0)
    values = np.sqrt(share) * rng.normal(size=(4000, 1)) + np.sqrt(1 - share) * rng.normal(size=(4000, 5))
    found = intraclass(values.reshape(-1).astype(np.float32) * 3 + 7, 5)
    assert float(found["intraclass"]) == pytest.approx(share, abs=0.03)
    assert float(found["between"]) == pytest.approx(9 * share, abs=0.4)
    assert float(found["within"]) == pytest.approx(9 * (1 - share), abs=0.3)


def test_broken_groups_are_left_out_and_few_say_nothing():
    rng = np.random.default_rng(1)
    values = rng.normal(size=(5, 3)).astype(np.float32)
    whole = intraclass(values[:4].reshape(-1), 3)
    values[4, 1] = np.nan
    valid = np.isfinite(values).reshape(-1)
    for name, value in intraclass(values.reshape(-1), 3, valid).items():
        np.testing.assert_allclose(value, whole[name], rtol=1e-5)
    assert not any(intraclass(values[:1].reshape(-1), 3).values())
    assert float(intraclass(np.ones(6, np.float32), 3)["intraclass"]) == 0.0
    with pytest.raises(ValueError, match="at least 2"):
        intraclass(np.ones(6), 1)
