"""The clips with the most action, counted by hand and held against scipy's ranks."""

import numpy as np
import pytest
from scipy.stats import rankdata

from experiments.evaluation.evaluate import action_amounts, action_dense
from prowl_jax.actions import ActionSpec, Camera, Factor, camera, choice

SPEC = ActionSpec(
    (choice("move", "forward", "back"), Factor("gait", ("walk", "stand"), still=1), camera("yaw", Camera(8.0, 3)))
)


def test_a_key_counts_where_it_is_not_at_rest():
    rest, both, turn = (0, 1, 1), (2, 0, 1), (0, 1, 0)
    amounts = action_amounts(SPEC, np.array([[rest] * 4, [both, rest, rest, turn], [turn, turn, rest, both]]))
    np.testing.assert_allclose(amounts["keys"], [0, 0.5, 0.5])
    np.testing.assert_allclose(amounts["camera"], [0, 2.0, 4.0])
    np.testing.assert_array_equal(action_dense(amounts), [2])


def test_without_a_camera_the_keys_decide():
    spec = ActionSpec(SPEC.factors[:2])
    amounts = action_amounts(spec, np.array([[(0, 1)], [(1, 0)], [(1, 1)], [(1, 0)]]))
    np.testing.assert_array_equal(action_dense(amounts), [1, 3])


@pytest.mark.parametrize("clips", [1, 2, 7, 30])
def test_ranks_are_added_and_a_tertile_is_taken(clips):
    rng = np.random.default_rng(clips)
    amounts = {"keys": rng.integers(0, 5, clips) / 4, "camera": 100 * rng.exponential(size=clips).round(1)}
    dense = action_dense(amounts)
    ranks = rankdata(amounts["keys"]) + rankdata(amounts["camera"])
    assert len(dense) == -(-clips // 3) == len(set(dense.tolist()))
    rest = np.setdiff1d(np.arange(clips), dense)
    assert not len(rest) or ranks[dense].min() >= ranks[rest].max()
    scaled = {"keys": amounts["keys"], "camera": 7 * amounts["camera"]}
    np.testing.assert_array_equal(action_dense(scaled), dense, err_msg="no unit has a say")
