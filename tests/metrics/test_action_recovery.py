"""MineWorld's action metric by literal counting, by hand, and against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prowl_jax import minecraft
from prowl_jax.actions import ActionSpec, camera, choice
from prowl_jax.envs.vizdoom import action_spec
from prowl_jax.metrics.action_recovery import (
    action_recovery,
    confusion,
    macro_scores,
    tasks,
)


def test_minecraft_has_mineworlds_seven_tasks():
    spec = minecraft.SPEC
    action = np.tile(spec.null, (4, 1))
    for row, sneak, sprint in ((0, 0, 0), (1, 1, 0), (2, 0, 1), (3, 1, 1)):
        action[row, [spec.index("sneak"), spec.index("sprint")]] = sneak, sprint
    found = tasks(spec, action)
    assert {name: classes for name, (classes, _) in found.items()} == {
        "move": 3, "strafe": 3, "jump": 2, "attack": 2, "use": 2, "drop": 2, "sneak_sprint": 3,
    }  # fmt: skip
    assert found["sneak_sprint"][1].tolist() == [0, 1, 2, 0]  # both pressed are neither


def counted(true, predicted, classes):
    """Macro scores as their definition reads, class by class."""
    rows = []
    for c in range(classes):
        hit = sum(t == p == c for t, p in zip(true, predicted, strict=True))
        said, was = sum(p == c for p in predicted), sum(t == c for t in true)
        if said or was:
            precision, recall = hit / said if said else 0.0, hit / was if was else 0.0
            rows.append((precision, recall, 2 * precision * recall / (precision + recall) if hit else 0.0))
    return np.mean(rows, axis=0)


@settings(max_examples=80, deadline=None)
@given(st.integers(2, 4).flatmap(lambda c: st.tuples(
    st.just(c), st.lists(st.tuples(st.integers(0, c - 1), st.integers(0, c - 1)), min_size=1, max_size=12)
)))  # fmt: skip
def test_macro_scores_are_counted(example):
    classes, pairs = example
    true, predicted = map(np.array, zip(*pairs, strict=True))
    half = len(true) // 2
    table = confusion(true[:half], predicted[:half], classes) + confusion(true[half:], predicted[half:], classes)
    np.testing.assert_allclose(macro_scores(table), counted(true, predicted, classes), atol=1e-12)


def test_macro_scores_of_many_tables_are_those_of_each():
    tables = np.random.default_rng(0).integers(0, 3, (4, 5, 3, 3))
    each = [[macro_scores(table) for table in row] for row in tables]
    np.testing.assert_allclose(np.stack(macro_scores(tables), -1), each)
    np.testing.assert_allclose(macro_scores(tables / 7.0), macro_scores(tables))  # means of counts as well as counts


def test_macro_scores_are_scikit_learns():
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    true, predicted = np.random.default_rng(0).integers(0, 3, (2, 50))
    expected = metrics.precision_recall_fscore_support(true, predicted, average="macro", zero_division=0)[:3]
    np.testing.assert_allclose(macro_scores(confusion(true, predicted, 3)), expected)


def test_a_table_by_hand():
    spec = ActionSpec((choice("move", "forward", "back"), choice("jump", "jump"), camera("pitch"), camera("yaw")))
    true = np.array([[1, 0, 5, 5], [1, 1, 5, 0], [0, 1, 5, 5], [0, 0, 5, 5]])
    said = np.array([[1, 0, 5, 5], [0, 1, 4, 3], [0, 1, 5, 5], [0, 0, 5, 5]])
    result = action_recovery(spec, true, said)
    # move: nothing 2/3 and 2/2, forward 1/1 and 1/2, back occurs nowhere and does not count; jump is perfect.
    move = result["tasks"]["move"]
    np.testing.assert_allclose([move["precision"], move["recall"]], [5 / 6, 3 / 4])
    np.testing.assert_allclose(move["f1"], (4 / 5 + 2 / 3) / 2)
    assert move["accuracy"] == 0.75 and result["tasks"]["jump"] == dict.fromkeys(
        ("precision", "recall", "f1", "accuracy"), 1.0
    )
    np.testing.assert_allclose(result["action_precision"], (5 / 6 + 1) / 2)
    assert result["camera_l1"] == (1 + 3) / 8


def test_the_truth_is_perfect_and_needs_no_keys_or_no_camera():
    spec = action_spec(8.0)
    true = np.random.default_rng(1).integers(0, spec.sizes, (3, 20, len(spec.sizes)))
    result = action_recovery(spec, true, true)
    assert [result[f"action_{m}"] for m in ("precision", "recall", "f1")] == [1.0] * 3 and result["camera_l1"] == 0
    assert "camera_l1" not in action_recovery(
        ActionSpec((choice("jump", "jump"),)), true[..., :1] % 2, true[..., :1] % 2
    )
    only = ActionSpec((camera("yaw"),))
    assert action_recovery(only, true[..., -1:], true[..., -1:]) == {"tasks": {}, "camera_l1": 0.0}


def test_mistakes_are_named():
    spec = action_spec(8.0)
    with pytest.raises(ValueError, match="are no pairs"):
        action_recovery(spec, np.tile(spec.null, (3, 1)), np.tile(spec.null, (4, 1)))
    with pytest.raises(ValueError, match="are no pairs"):
        action_recovery(spec, np.zeros((0, 5), int), np.zeros((0, 5), int))
    with pytest.raises(ValueError, match="'move' must be in 0..2"):
        action_recovery(spec, np.tile(spec.null, (3, 1)), np.full((3, 5), 7))
    assert np.isnan(macro_scores(np.zeros((2, 2), int))).all()
