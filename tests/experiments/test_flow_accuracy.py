"""Known motions are what they are said to be, and the table refuses to show what is not SEA-RAFT."""

import numpy as np
import pytest
from scipy import ndimage

from experiments import flow_accuracy as command
from experiments.evaluation import flow_accuracy
from experiments.evaluation.flow_accuracy import end_point_error, scenes

SCENES = scenes(48, 64, seed=0)


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_the_second_picture_is_the_first_moved_along_the_flow(scene):
    """``second(x + flow(x)) = first(x)``, by scipy's splines."""
    x = np.stack(np.meshgrid(np.arange(64), np.arange(48)), axis=-1) + scene.flow
    for first, second in zip(scene.first, scene.second, strict=True):
        at = (x[..., 1], x[..., 0])
        moved = np.stack([ndimage.map_coordinates(second[..., c], at, order=3) for c in range(3)], axis=-1)
        inside = scene.seen.copy()
        inside[:3] = inside[-3:] = inside[:, :3] = inside[:, -3:] = False
        assert np.abs(moved - first)[inside].mean() < 0.01
        assert np.abs(second - first)[inside].mean() > 0.005
    assert scene.seen.mean() > 0.8


def test_translations_and_rotations_by_hand():
    assert [scene.name for scene in SCENES][3:6] == ["move 8, 2", "turn 1", "turn 3"]
    np.testing.assert_array_equal(SCENES[3].flow, np.broadcast_to([8.0, 2.0], (48, 64, 2)))
    turn = scenes(48, 64, seed=1)[-1].flow  # by 10 degrees: right goes down
    angle = np.deg2rad(10)
    np.testing.assert_allclose(turn[24, 63, 1], 31.5 * np.sin(angle) + 0.5 * (np.cos(angle) - 1), atol=1e-9)
    np.testing.assert_allclose(turn.mean((0, 1)), 0.0, atol=1e-9)


def test_the_error_is_the_mean_distance_over_what_is_seen():
    scene = SCENES[3]
    wrong = np.broadcast_to(scene.flow, (4, 48, 64, 2)) + [3.0, 4.0]
    assert end_point_error(wrong, scene) == pytest.approx(5.0)
    outside = np.where(scene.seen[..., None], scene.flow, 1e3)
    assert end_point_error(outside[None], scene) == 0.0


def test_the_table(capsys):
    """The small flow is below a third of a pixel on every translation; a network without weights is not shown."""
    assert command.main([]) == 0
    title, head, small, sea_raft, dis = capsys.readouterr().out.splitlines()
    assert title.endswith("4 pictures of 48x64 a motion, seed 0") and head.split()[-3:] == ["ms", "a", "pair"]
    assert sea_raft.split() == ["SEA-RAFT", "not", "run:", "no", "weights"]
    errors = [float(x) for x in small.split()[1:]]
    assert len(errors) == 9 and max(errors[:4]) < 0.33
    assert len(dis.removeprefix("OpenCV DIS").split()) == 9


def test_without_opencv_its_row_says_so(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    assert flow_accuracy.flows(None)["OpenCV DIS"].startswith("not run: OpenCV is not installed")


@pytest.mark.parametrize("argument", ["--height=47", "--width=8", "--seed=-1", "--weights=none.safetensors", "--x=1"])
def test_mistakes_are_one_line(argument, capsys):
    with pytest.raises(SystemExit) as exit:
        command.main([argument])
    error = capsys.readouterr().err
    assert exit.value.code == 2 and error.startswith("error: ") and error.count("\n") == 1
