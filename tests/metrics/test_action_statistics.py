"""Statistics of actions against counts by hand, and a distance that knows alike from other."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prowl_jax.actions import ActionSpec, Camera, camera, choice
from prowl_jax.metrics.action_statistics import action_statistics, total_variation

SPEC = ActionSpec((choice("move", "forward", "back"), camera("yaw", Camera(10.0, 3, 10.0))))
LEFT, STILL, RIGHT = 0, 1, 2  # -10, 0 and 10 degrees


def test_by_hand():
    actions = np.array([[1, RIGHT], [1, RIGHT], [0, STILL], [2, LEFT]])
    found = action_statistics(SPEC, actions)
    assert found["steps"] == 4
    assert found["frequencies"] == {"move": [0.25, 0.5, 0.25], "yaw": [0.25, 0.25, 0.5]}
    assert found["used"] == {"move": 0.75, "yaw": 0.75} and found["null"] == 0.25
    assert found["camera_speed"] == pytest.approx(7.5) and found["camera_speed_p95"] == pytest.approx(10.0)
    # Products 100, 0, 0 over the squares 100, 100, 0 of what they follow.
    assert found["camera_persistence"] == {"yaw": pytest.approx(0.5)}


def test_episodes_do_not_follow_one_another():
    actions = np.array([[0, RIGHT], [0, RIGHT], [0, LEFT], [0, LEFT]])
    assert action_statistics(SPEC, actions, [2, 2])["camera_persistence"]["yaw"] == pytest.approx(1.0)
    assert action_statistics(SPEC, actions)["camera_persistence"]["yaw"] == pytest.approx(1 / 3)
    assert action_statistics(SPEC, actions, [1, 1, 1, 1])["camera_persistence"]["yaw"] is None


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31))
def test_a_policy_is_at_distance_zero_from_itself_only(seed):
    rng = np.random.default_rng(seed)
    one, two = (
        action_statistics(SPEC, np.stack([rng.integers(0, 3, 20), rng.integers(0, 3, 20)], 1))["frequencies"]
        for _ in range(2)
    )
    assert set(total_variation(one, one).values()) == {0.0}
    there, back = total_variation(one, two), total_variation(two, one)
    assert there == pytest.approx(back) and all(0 <= d <= 1 for d in there.values())
    for name, distance in there.items():  # by its other definition: the most an event's probability differs
        events = [[i for i in range(3) if mask >> i & 1] for mask in range(8)]
        most = max(abs(sum(one[name][i] - two[name][i] for i in event)) for event in events)
        assert distance == pytest.approx(most, abs=1e-12)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="3 steps in episodes"):
        action_statistics(SPEC, np.zeros((2, 2), int), [1, 2])
    with pytest.raises(ValueError, match="0 steps"):
        action_statistics(SPEC, np.zeros((0, 2), int))
    with pytest.raises(ValueError, match="'move' must be in 0..2"):
        action_statistics(SPEC, np.full((1, 2), 3))
    with pytest.raises(ValueError, match="other factors: move and move"):
        total_variation({"move": [1.0]}, {"move": [0.5, 0.5]})
