"""Composite action modes by hand and against a literal count, for the actions of every environment."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prowl_jax import minecraft
from prowl_jax.actions import ActionSpec, choice
from prowl_jax.envs import voxel
from prowl_jax.envs.vizdoom import action_spec
from prowl_jax.metrics import modes
from prowl_jax.metrics.modes import ModeRule

SPECS = {"vizdoom": action_spec(8.0), "voxel": voxel.SPEC, "minecraft": minecraft.SPEC}


def actions_of(spec, *steps):
    """Steps such as ``{"move": "forward", "yaw": 6}`` as actions ``[T, A]``; a camera's value is its bin."""
    rows = np.tile(spec.null, (len(steps), 1))
    for row, step in zip(rows, steps, strict=True):
        for name, value in step.items():
            i = spec.index(name)
            row[i] = value if spec.factors[i].camera else spec.factors[i].labels.index(value)
    return rows


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_the_papers_example_by_hand(spec):
    """Rotate, forward and strafe: left and right are one movement, and turning is a mean over the window."""
    forward, left, right, turn = {"move": "forward"}, {"strafe": "left"}, {"strafe": "right"}, {"yaw": 9}
    steps = [forward | turn] * 3 + [left | turn, left, right] + [{}] * 6
    (mode,) = modes.modes_of(spec, actions_of(spec, *steps))
    assert modes.names(mode) == "forward+rotate+strafe" and modes.is_composite(mode)
    # Two steps of twelve are less than a quarter; a turn of one step is less than a degree in the mean.
    (mode,) = modes.modes_of(spec, actions_of(spec, *[forward] * 2, *[left] * 2, {"yaw": 7}, *[{}] * 7))
    assert mode == 0 and modes.names(mode) == "rest" and not modes.is_composite(mode)


def test_minecrafts_own_movements():
    pressed = {"move": "forward", "jump": "jump", "sprint": "sprint", "strafe": "left", "pitch": 0}
    (mode,) = modes.modes_of(minecraft.SPEC, actions_of(minecraft.SPEC, *[pressed] * 12))
    assert modes.names(mode) == "forward+jump+rotate+sprint+strafe"
    (mode,) = modes.modes_of(minecraft.SPEC, actions_of(minecraft.SPEC, *[{"drop": "drop", "hotbar": "hotbar.3"}] * 12))
    assert mode == 0  # no movements


def literal(spec, actions, rule, start):
    """The mode of one window as the definition reads."""
    window = actions[start : start + rule.window]
    found = set()
    for name, labels in modes.PRIMITIVES.items():
        made = [
            any(not f.camera and f.labels[v] in labels for f, v in zip(spec.factors, step, strict=True))
            for step in window
        ]
        if sum(made) / len(made) >= rule.share:
            found.add(name)
    turns = [
        sum(abs(f.camera.degrees[v]) for f, v in zip(spec.factors, step, strict=True) if f.camera) for step in window
    ]
    return found | ({"rotate"} if np.mean(turns) > rule.degrees else set())


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(SPECS)),
    window=st.integers(1, 9),
    quarters=st.integers(1, 4),
    degrees=st.sampled_from([0.0, 1.3, 4.1]),
    stride=st.one_of(st.none(), st.integers(1, 5)),
    seed=st.integers(0, 2**31),
)
def test_every_window_agrees_with_the_definition(name, window, quarters, degrees, stride, seed):
    spec, rule = SPECS[name], ModeRule(window, quarters / 4, degrees)
    actions = np.random.default_rng(seed).integers(0, spec.sizes, (2, window + 7, len(spec.sizes)))
    found = modes.modes_of(spec, actions, rule, stride)
    starts = range(0, 8, stride or window)
    assert found.shape == (2, len(starts))
    for clip, row in zip(actions, found, strict=True):
        for start, mode in zip(starts, row, strict=True):
            words = literal(spec, clip, rule, start)
            assert modes.names(mode) == ("+".join(sorted(words)) or "rest")
            assert modes.is_composite(mode) == (len(words) >= 2)


def test_strictly_novel_is_composite_and_nowhere_before():
    demonstrated, frozen = np.array([[0b11, 0b01], [0b110, 0b0]]), np.array([0b101])
    found = np.array([[0b11, 0b111], [0b111, 0b100], [0b101, 0b1100]])
    novel = modes.strictly_novel(found, demonstrated, frozen)
    np.testing.assert_array_equal(novel, [0b111, 0b1100])
    np.testing.assert_array_equal(modes.strictly_novel(found), [0b11, 0b101, 0b111, 0b1100])
    np.testing.assert_array_equal(modes.clips_with(found, novel), [True, True, True])
    np.testing.assert_array_equal(modes.clips_with(found, [0b11]), [True, False, False])
    assert modes.counts(found) == {0b111: 2, 0b11: 1, 0b100: 1, 0b101: 1, 0b1100: 1}
    assert not len(modes.strictly_novel(found, found))


def test_means_per_mode_count_a_clip_once_a_mode():
    table = modes.means_per_mode(np.array([[3, 3], [3, 5], [6, 6]]), {"regret": np.array([1.0, 2.0, 4.0])})
    assert table == {3: {"clips": 2, "regret": 1.5}, 5: {"clips": 1, "regret": 2.0}, 6: {"clips": 1, "regret": 4.0}}
    assert list(table)[0] == 3


def test_mistakes_are_named():
    spec = SPECS["vizdoom"]
    with pytest.raises(ValueError, match="11 steps hold no window of 12; give longer clips or a shorter window"):
        modes.modes_of(spec, np.tile(spec.null, (11, 1)))
    with pytest.raises(ValueError, match="the factors buttons have none of the movements forward, back"):
        joint = ActionSpec((choice("buttons", "forward+jump"),))
        modes.modes_of(joint, np.zeros((12, 1), int))
    for bad in (dict(window=0), dict(share=0.0), dict(share=1.1), dict(degrees=-1.0), dict(degrees=float("nan"))):
        with pytest.raises(ValueError, match=f"ModeRule.{next(iter(bad))}"):
            ModeRule(**bad)
