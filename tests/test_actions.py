"""The action codec: VPT's mu-law bins, null actions, words, JSON."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prowl_jax.actions import ActionSpec, Camera, Factor, camera, choice

VPT_DEGREES = [0, 0.61539, 1.60950, 3.21537, 5.80948, 10]
VPT_THRESHOLDS = [0.27098, 1.05314, 2.31662, 4.35766, 7.65473]

SPEC = ActionSpec((choice("move", "forward", "back"), camera("pitch"), camera("yaw", Camera(20.0, 5, 3.0))))

cameras = st.builds(
    Camera,
    max_degrees=st.floats(0.5, 180),
    bins=st.integers(1, 20).map(lambda n: 2 * n + 1),
    mu=st.floats(0.1, 50),
)
choices = st.builds(lambda name, n: choice(name, *map(str, range(n))), st.text(max_size=3), st.integers(1, 5))
specs = st.lists(
    st.one_of(choices, st.builds(camera, st.text(max_size=3), cameras)), min_size=1, max_size=4
).map(lambda factors: ActionSpec(tuple(factors)))


def test_bins_are_those_of_vpt():
    degrees = np.array(Camera().degrees)
    np.testing.assert_allclose(degrees[5:], VPT_DEGREES, atol=1e-5)
    np.testing.assert_allclose(degrees[:6], -np.array(VPT_DEGREES[::-1]), atol=1e-5)


@pytest.mark.parametrize("sign", [1, -1])
def test_thresholds_are_those_of_vpt(sign):
    for i, threshold in enumerate(VPT_THRESHOLDS):
        below, above = Camera().encode([sign * (threshold - 1e-4), sign * (threshold + 1e-4)])
        assert (below, above) == (5 + sign * i, 5 + sign * (i + 1))


@given(axis=cameras)
def test_every_bin_survives_a_round_trip(axis):
    bins = np.arange(axis.bins)
    np.testing.assert_array_equal(axis.encode(axis.decode(bins)), bins)
    np.testing.assert_allclose(axis.decode(bins), -axis.decode(bins)[::-1], atol=1e-9)


@given(axis=cameras, degrees=st.floats(-400, 400))
def test_encoding_picks_a_neighbour_and_clips(axis, degrees):
    grid = np.array(axis.degrees)
    value = int(axis.encode(degrees))
    clipped = np.clip(degrees, -axis.max_degrees, axis.max_degrees)
    assert grid[max(value - 1, 0)] - 1e-9 <= clipped <= grid[min(value + 1, axis.bins - 1)] + 1e-9

    # Half-way is measured on the mu-law scale, where the bins are equally far apart.
    def squash(x):
        return np.sign(x) * np.log1p(axis.mu * abs(x) / axis.max_degrees)

    distances = np.abs([squash(g) - squash(clipped) for g in grid])
    assert distances[value] <= distances.min() + 1e-9


@given(axis=cameras, a=st.floats(-50, 50), b=st.floats(-50, 50))
def test_encoding_is_monotone_and_odd(axis, a, b):
    assert axis.encode(min(a, b)) <= axis.encode(max(a, b))
    # Half to even at the exact middle between two bins may differ by one under a sign change.
    assert abs(int(axis.encode(a)) + int(axis.encode(-a)) - (axis.bins - 1)) <= 1


@pytest.mark.parametrize("kwargs", [{"bins": 10}, {"bins": 1}, {"max_degrees": 0}, {"mu": -1.0}])
def test_bad_cameras_are_refused(kwargs):
    with pytest.raises(ValueError, match="camera"):
        Camera(**kwargs)


@given(spec=specs)
def test_specs_survive_json(spec):
    again = ActionSpec.from_json(json.loads(json.dumps(spec.to_json())))
    assert again == spec and hash(again) == hash(spec)


@given(spec=specs, data=st.data())
def test_valid_actions_pass_and_others_name_the_factor(spec, data):
    action = [data.draw(st.integers(0, size - 1)) for size in spec.sizes]
    np.testing.assert_array_equal(spec.check(np.array([action], np.int64)), [action])
    assert spec.check(np.array(action)).dtype == np.int32
    spec.check(spec.null)
    i = data.draw(st.integers(0, len(action) - 1))
    action[i] = data.draw(st.sampled_from([-1, spec.sizes[i], 2**31]))
    with pytest.raises(ValueError) as caught:
        spec.check(np.array(action))
    assert repr(spec.factors[i].name) in str(caught.value)


@pytest.mark.parametrize("actions", [np.zeros(3), np.zeros((4, 2), int), np.zeros((3, 1), int), 0])
def test_other_shapes_and_types_are_refused(actions):
    with pytest.raises(ValueError, match="actions must be ints"):
        SPEC.check(actions)


def test_empty_batches_pass():
    assert SPEC.check(np.zeros((0, 3), np.int32)).shape == (0, 3)


def test_null_sizes_and_names():
    assert SPEC.names == ("move", "pitch", "yaw") and SPEC.sizes == (3, 11, 5)
    np.testing.assert_array_equal(SPEC.null, [0, 5, 2])
    assert SPEC.camera_factors == (1, 2)
    assert SPEC.index("yaw") == 2
    with pytest.raises(KeyError, match="move, pitch, yaw"):
        SPEC.index("jump")
    assert Factor("x", ("", "a")).null == 0


def test_camera_speed_is_the_length_of_pitch_and_yaw():
    pitch, yaw = Camera().degrees, Camera(20.0, 5, 3.0).degrees
    actions = np.array([[[0, 5, 2], [2, 0, 4], [1, 7, 3]]])
    expected = [[0, np.hypot(10, 20), np.hypot(pitch[7], yaw[3])]]
    np.testing.assert_allclose(SPEC.camera_speed(actions), expected)
    assert ActionSpec((choice("move", "forward"),)).camera_speed(np.zeros((4, 1), int)).tolist() == [0] * 4


def test_describe_says_what_is_done():
    assert SPEC.describe(SPEC.null) == ""
    assert SPEC.describe([1, 5, 4]) == "forward, yaw +20.0"
    assert SPEC.describe([2, 0, 2]) == "back, pitch -10.0"


def test_numbers_are_told_with_their_factor_and_what_does_something_is_not_nothing():
    wheel, turn = Factor("wheel", ("-1.00", "+0.00", "+1.00"), still=1), Factor("action", ("turn_left", "ahead"))
    assert ActionSpec((wheel, wheel)).describe([0, 1]) == "wheel -1.00" and wheel.rests
    assert ActionSpec((turn,)).describe([0]) == "turn_left" and not turn.rests
    assert ActionSpec((Factor("action", ("0", "1")),)).describe([0]) == "action 0"
    assert Factor("pan", ("pan -1", "pan +0"), still=1).rests and Factor("go", ("noop", "go")).rests
