"""What a person found is a file; phase 2 takes it in where it fits, and says in one line where it does not."""

import json

import jax
import numpy as np
import pytest

from experiments.configs import base_voxel
from experiments.run.config_file import UsageError
from experiments.stages import build, trajectory_file
from experiments.stages.clip_stores import clip_name
from experiments.stages.phase2 import parts
from experiments.stages.trajectory_file import Trajectories
from prowl_jax.actions import ActionSpec, choice
from prowl_jax.envs.voxel import SPEC
from prowl_jax.types import RealClip


@pytest.fixture
def config(tmp_path):
    made = base_voxel.get_config("tiny")
    made.arms = ("prowl",)
    made.phase2.include = str(tmp_path / "finds.npz")
    return made


def finds(config, frames=22, spec=SPEC, **changed):
    rng = np.random.default_rng(0)
    actions = np.stack([rng.integers(0, n, (3, frames)) for n in spec.sizes], -1).astype(np.int32)
    pictures = rng.integers(0, 256, (3, frames, *build.frame_shape(config))).astype(np.uint8)
    environment = {**build.environment_of(config), "env.task": "wander", **changed}
    return Trajectories(pictures, actions, spec, environment, [{"by": "a person"}] * 3)


def test_a_file_reads_as_it_was_written(config):
    written = finds(config)
    trajectory_file.write(config.phase2.include, written)
    read = trajectory_file.read(config.phase2.include)
    assert read.spec == written.spec and read.environment == written.environment and read.found == written.found
    np.testing.assert_array_equal(read.frames, written.frames)
    np.testing.assert_array_equal(read.actions, written.actions)


def test_every_window_of_every_find_is_a_trajectory(config):
    written = finds(config)
    trajectory_file.write(config.phase2.include, written)
    trajectory = parts.included(config)
    length = parts.trajectory_length(config)
    windows = 22 // length
    assert windows > 1 and trajectory.valid.sum() == 3 * windows
    np.testing.assert_array_equal(trajectory.frames[3], written.frames[0, length : 2 * length])
    np.testing.assert_array_equal(trajectory.actions[3], written.actions[0, length : 2 * length])
    assert trajectory.first[:, 0].all() and not trajectory.first[:, 1:].any()


def test_what_was_brought_is_known_again(config):
    """By what it shows and what is done in it; where the file is gone, nothing is."""
    assert parts.finders(config) == {}
    trajectory_file.write(config.phase2.include, finds(config))
    trajectory, who = parts.included(config), parts.finders(config)
    valid = jax.tree.map(lambda x: x[trajectory.valid], trajectory)
    clips = RealClip(None, valid.actions, valid.frames)
    assert who == {clip_name(clips, i): "a person" for i in range(len(valid.frames))}
    config.phase2.include = ""
    assert parts.finders(config) == {}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda c: finds(c, frames=4), "a trajectory"),
        (lambda c: finds(c, **{"env.voxel.hour": 3}), "env.voxel.hour=3"),
        (lambda c: finds(c, spec=ActionSpec((choice("move", "forward"),))), "other actions"),
    ],
)
def test_what_does_not_fit_is_one_line(config, make, words):
    trajectory_file.write(config.phase2.include, make(config))
    with pytest.raises(UsageError, match=words) as error:
        build.check_files(config)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("arms", [(), ("best_of_n",)])
def test_where_no_arm_keeps_them_they_are_not_asked_for(config, arms):
    trajectory_file.write(config.phase2.include, finds(config))
    build.check_files(config)
    config.arms = arms
    with pytest.raises(UsageError, match="no arm of arms=.* keeps what others found"):
        build.check_files(config)


@pytest.mark.parametrize("content", [b"", b"PK", b"no such file", None])
def test_what_is_no_such_file_is_one_line(config, content, tmp_path):
    if content is not None:
        (tmp_path / "finds.npz").write_bytes(content)
    with pytest.raises(UsageError, match="phase2.include=.*holds no trajectories"):
        build.check_files(config)


def test_other_versions_and_pickles_are_refused(config, tmp_path):
    about = {"format": 99, "spec": SPEC.to_json(), "environment": {}, "found": [{}]}
    blank = {"frames": np.zeros((1, 2, 4, 4, 3), np.uint8), "actions": np.zeros((1, 2, 9), np.int32)}
    np.savez(tmp_path / "finds.npz", **blank, about=np.array(json.dumps(about)))
    with pytest.raises(ValueError, match="format 99"):
        trajectory_file.read(tmp_path / "finds.npz")
    np.savez(tmp_path / "finds.npz", **blank, about=np.array({"a": 1}, dtype=object))
    with pytest.raises(ValueError, match="no trajectories"):
        trajectory_file.read(tmp_path / "finds.npz")
