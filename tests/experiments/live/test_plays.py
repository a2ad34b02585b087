"""What a person does on the page is kept, and is what a run of the same environment learns from."""

import json
import shutil
import subprocess
from importlib.resources import files

import numpy as np
import pytest

from experiments.configs import base_voxel
from experiments.live import messages, plays
from experiments.live.session import Session
from experiments.run.config_file import UsageError
from experiments.run.directory import Run
from experiments.stages import build, trajectory_file
from experiments.stages.clip_stores import open_store
from experiments.stages.demonstrations import make_demonstrations
from experiments.stages.trajectory_file import Trajectories


def read(folder):
    """What lies there, in order: (frames ``[T, ...]``, actions ``[T, A]``, what is said of it)."""
    found = [trajectory_file.read(path) for path in sorted(folder.glob("*.npz"))]
    return [(f.frames[0], f.actions[0], f.found[0]) for f in found]


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(plays, "PIECE", 6)


def test_every_action_is_kept_with_the_frame_that_it_was_done_on(short_lived, tmp_path, small_pieces, toy):
    """The walker stands in a column: where it goes between two frames tells which action lay between them."""
    session = Session(short_lived, 0, plays=plays.Plays(short_lived, tmp_path, "one"))
    rng = np.random.default_rng(0)
    for value in rng.integers(0, 3, 30):
        session.inbox.append(messages.Act({"move": int(value)}, {}, {}, 0.0))
        session.tick()
    session.close()
    kept = read(tmp_path)
    assert {about["recording"] for *_, about in kept} >= {"one_1", "one_2"}  # an episode each
    pieces = {(about["start"], len(frames)) for frames, _, about in kept if about["recording"] == "one_1"}
    assert pieces == {(0, 6), (6, 3)}
    for frames, actions, _ in kept:
        columns = frames[:, 0, :, 0].argmax(-1)
        np.testing.assert_array_equal(np.diff(columns) % 16, np.array([0, 1, 15])[actions[:-1, 0]])


def test_what_nobody_does_is_not_kept(short_lived, tmp_path, small_pieces):
    session = Session(short_lived, 0, plays=plays.Plays(short_lived, tmp_path, "one"))
    for _ in range(20):
        session.tick()
    session.close()
    assert read(tmp_path) == []


def factor(name, labels, null=0, degrees=None):
    return {"name": name, "labels": labels.split(), "null": null, "degrees": degrees}


def said_by_node(code):
    """What ``keys.js`` and then ``code`` print."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    page = (files("experiments.live") / "pages" / "keys.js").read_text(encoding="utf-8")
    said = subprocess.run([node, "-"], input=page + code, capture_output=True, text=True, timeout=60, check=True)
    return said.stdout.strip()


WHEEL = [
    factor("steer", "-1.0 -0.5 +0.0 +0.5 +1.0", 2),
    factor("gas", "+0.0 +0.5 +1.0"),
    factor("brake", "+0.0 +1.0 +2.0"),
]


@pytest.mark.parametrize(
    ("factors", "keys"),
    [
        (WHEEL, "←: steer -1.0|→: steer +1.0|↑: gas +1.0|↓: brake +2.0"),
        ([factor("action", "noop left up do sleep place")], "←: left|↑: up|Space: do|1: sleep|2: place"),
        ([factor("action", "0 1")], "1: 1"),
        ([factor("action", "NOOP FIRE UP LEFT UPLEFT UPLEFTFIRE UP_HILL")], "Space: fire|↑: up|←: left|1: up hill"),
        ([factor("move", "- forward back")], ""),  # W and S are
    ],
)
def test_an_environment_of_somebodys_has_keys(factors, keys):
    """Its values are found by what they are called, or in order."""
    said = said_by_node(f"console.log(otherRows({json.dumps(factors)}, new Set()).map((row) => row[3]).join('|'));")
    assert said == keys


@pytest.mark.parametrize(
    ("held", "meant"),
    [("LEFT", 3), ("UP LEFT", 4), ("LEFT UP", 4), ("FIRE LEFT UP", 5), ("UP FIRE", 1), ("UP", 2)],
)
def test_keys_that_are_held_together_mean_the_value_that_is_called_so(held, meant):
    """Where none is, the last of the list counts."""
    action = factor("action", "NOOP FIRE UP LEFT UPLEFT UPLEFTFIRE")
    assert said_by_node(f"console.log(meantBy({json.dumps(action)}, {json.dumps(held.split())}))") == str(meant)


@pytest.mark.parametrize(
    ("names", "turned"),
    [
        (["pitch", "yaw"], {"yaw": "yaw", "pitch": "pitch"}),
        (["axis_2", "axis_0"], {"yaw": "axis_2", "pitch": "axis_0"}),
        (["yaw"], {"yaw": "yaw"}),
        (["pitch", "heading"], {"yaw": "heading", "pitch": "pitch"}),
        ([], {}),
    ],
)
def test_a_camera_is_turned_whatever_its_axes_are_called(names, turned):
    factors = [factor("move", "- forward"), *(factor(name, "-1 +0 +1", 1, [-1, 0, 1]) for name in names)]
    assert json.loads(said_by_node(f"console.log(JSON.stringify(cameras({json.dumps(factors)})))")) == turned


@pytest.fixture
def config(tmp_path):
    made = base_voxel.get_config("tiny")
    made.env.held_out_tasks = ()
    made.demonstrations.update(play=str(tmp_path / "plays"), episode_frames=16)
    (tmp_path / "plays").mkdir()
    return made


def play(config, name, recording, start=0, frames=20, **changed):
    """One file as the page writes it."""
    rng, spec = np.random.default_rng(len(name)), build.spec_of(config)
    actions = np.stack([rng.integers(0, n, (1, frames)) for n in spec.sizes], -1).astype(np.int32)
    pictures = rng.integers(0, 256, (1, frames, *build.frame_shape(config))).astype(np.uint8)
    environment = {**build.environment_of(config), "env.task": "wander", **changed}
    about = {"by": "a person", "recording": recording, "start": start}
    made = Trajectories(pictures, actions, spec, environment, [about])
    trajectory_file.write(f"{config.demonstrations.play}/{name}.npz", made)
    return made


def test_a_run_learns_from_what_was_played(config, tmp_path, capsys):
    first, second = play(config, "a", "one"), play(config, "b", "two", frames=16)
    build.check_files(config)
    run = Run(tmp_path / "run", config)
    assert make_demonstrations(run) == {"frames": 32}  # four frames of the first are too few
    assert "played by a person: 32 frames in 2 episodes" in capsys.readouterr().out
    store = open_store(run)
    assert store.lengths.tolist() == [16, 16]
    np.testing.assert_array_equal(store.episode(0).frames, first.frames[0, :16])
    np.testing.assert_array_equal(store.episode(1).actions, second.actions[0])


def test_two_pieces_of_one_episode_are_not_held_out_from_each_other(config, tmp_path):
    play(config, "a", "one"), play(config, "b", "one", start=20)
    with pytest.raises(UsageError, match="all 2 episodes are of one recording, one"):
        make_demonstrations(Run(tmp_path / "run", config))
    assert not (tmp_path / "run" / "data").exists() or not list((tmp_path / "run" / "data").iterdir())


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda c, folder: None, "demonstrations.play=.* holds no .npz; play with --plays="),
        (lambda c, folder: folder.rmdir(), "demonstrations.play=.* is not there"),
        (lambda c, folder: play(c, "a", "one", **{"env.voxel.hour": 3}), "was found with env.voxel.hour=3, not 6000"),
        (lambda c, folder: (folder / "a.npz").write_bytes(b"PK"), "a.npz holds no trajectories"),
    ],
)
def test_what_does_not_fit_is_one_line(config, tmp_path, spoil, words):
    spoil(config, tmp_path / "plays")
    with pytest.raises(UsageError, match=words) as error:
        build.check_files(config)
    assert "\n" not in str(error.value)


def test_one_episode_is_too_few(config, tmp_path):
    play(config, "a", "one", frames=16)
    with pytest.raises(UsageError, match="gave 1 episode of .* at least two are needed"):
        make_demonstrations(Run(tmp_path / "run", config))
    assert json.dumps(sorted(p.name for p in (tmp_path / "run").rglob("*.partial"))) == "[]"
