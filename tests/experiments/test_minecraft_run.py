"""configs/minecraft.py from recordings to report, and phase 2 in the stub of MineRL, at the smallest size."""

import json
import pathlib
import sys

import jax
import numpy as np
import pytest
from toy_recordings import panorama, real_recording, tick, write_ticks, write_video

pytest.importorskip("av")

from experiments.configs.minecraft import get_config
from experiments.run.command_line import UsageError
from experiments.run.directory import Run
from experiments.run.metrics_log import read_metrics
from experiments.stages import phase2, pipeline
from experiments.stages.demonstrations import make_demonstrations
from experiments.stages.reference import clone_reference
from prowl_jax import minecraft
from prowl_jax.data.store import ClipStore
from prowl_jax.models.policies.vpt_policy import VPTNetwork, VPTPolicy
from prowl_jax.models.published import vpt_weights

STUB = pathlib.Path(__file__).parents[1] / "envs" / "minerl_stub.py"


def record(folder, name, seed, frames=70):
    """A player who walks and turns in front of a wide picture: dx and yaw belong together."""
    rng = np.random.default_rng(seed)
    dx = rng.choice([-20, 0, 0, 20], frames)
    yaws = np.concatenate([[0], np.cumsum(0.15 * dx)[:-1]])
    folder.mkdir(exist_ok=True)
    write_video(folder / f"{name}.mp4", panorama(yaws))
    write_ticks(folder / f"{name}.jsonl", [tick(dx=float(x), keys=["w"] if x else []) for x in dx])


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings") / "players"
    record(folder, "one", 0)
    record(folder, "two", 1)
    return folder


@pytest.fixture(scope="module")
def config(recordings):
    config = get_config("tiny")
    config.demonstrations.source = config.evaluation.action_prior = str(recordings)
    return config


@pytest.fixture(scope="module")
def done(config, tmp_path_factory):
    """The workdir of a run without a live environment."""
    workdir = tmp_path_factory.mktemp("minecraft") / "run"
    pipeline.run_all(config, workdir)
    return workdir


def test_recordings_become_a_world_model_and_a_report(done, config):
    store = ClipStore.open(done / "data" / config.env.task, minecraft.SPEC)
    assert list(store.lengths) == [20, 20, 20] * 2  # 70 frames each, cut; the rest of 10 is too short
    evaluation = json.loads((done / "evaluation.json").read_text())
    assert list(evaluation["arms"]) == ["phase1"] and evaluation["comparisons"] == []
    assert {"in_distribution", "training", "long_rollout"} == set(evaluation["arms"]["phase1"])
    assert evaluation["arm_checks"] == evaluation["budget"] == evaluation["targets"] == {}
    assert not (done / "checkpoints" / "phase2").exists()
    page = (done / "report" / "index.html").read_text()
    for words in ("Learned by heart", "How everyone acts", "people", "Does it follow the actions?"):
        assert words in page
    assert "MISSED" not in page and "✗ missed" not in page  # targets are the quick start's


def test_everyone_is_laid_beside_people(done, recordings):
    actions = json.loads((done / "evaluation.json").read_text())["actions"]
    assert list(actions) == ["people", "demonstrations", "reference"]
    people = actions["people"]
    assert people["steps"] == 140 and sum(people["frequencies"]["yaw"]) == pytest.approx(1)
    ticks = [json.loads(line) for file in recordings.glob("*.jsonl") for line in file.open()]
    walking = np.mean([bool(t["keyboard"]["keys"]) for t in ticks])
    assert people["used"]["move"] == pytest.approx(walking) and people["null"] == pytest.approx(1 - walking)
    for statistics in actions.values():
        assert set(statistics["frequencies"]) == set(minecraft.SPEC.names)


def test_with_minerl_the_same_configuration_runs_phase_2(done, config, tmp_path):
    """The stub stands for Minecraft, and a tiny VPT of random weights for the policy that acts.

    That VPT learns by PPO is shown in tests/train/test_vpt_training.py.
    """
    network = VPTNetwork((4, 4, 4), hidden=8, heads=2, blocks=1, kept=2, image=16)
    params = VPTPolicy(network).init(jax.random.key(0), (16, 16, 3))
    vpt_weights.save(tmp_path / "tiny.safetensors", vpt_weights.to_published(params), network.temperature)
    live = config.copy_and_resolve_references()
    live.env.name, live.reference.weights = "minerl", str(tmp_path / "tiny.safetensors")
    live.env.minerl.update(python=sys.executable, make=f"{STUB}:make", episode_steps=200)
    live.phase2.trajectories = 2
    (done / "config.json").unlink()
    run = Run(done, live)
    measured = clone_reference(run)
    assert measured["held_out_nll"] == pytest.approx(np.log(8641 * 121), rel=0.01)  # small heads: all but uniform
    figures = phase2.run_arm(run, "frozen_reference")
    assert figures["pat_filled"] > 0 and figures["broken_trajectories"] == 0
    assert [r["step"] for r in read_metrics(done) if r["stage"] == "phase2"] == [1, 2]
    actions = np.load(phase2.actions_path(run, "frozen_reference"))
    minecraft.SPEC.check(actions)
    assert actions.shape == (2, phase2.trajectory_length(live) - 1, len(minecraft.SPEC.factors))
    found = phase2.load_arm(run, "frozen_reference").found
    minecraft.SPEC.check(found.clips.actions)


def test_the_real_recording_is_read_whole(tmp_path):
    video, _ = real_recording()
    config = get_config("small")
    config.demonstrations.source = str(video.parent)
    figures = make_demonstrations(Run(tmp_path, config))
    store = ClipStore.open(tmp_path / "data" / config.env.task, minecraft.SPEC)
    assert figures["frames"] == len(store) > 250 and max(store.lengths) == 50


def test_one_episode_is_not_enough(recordings, tmp_path):
    config = get_config("tiny")
    config.demonstrations.update(source=str(recordings / "lonely"), episode_frames=400)
    record(recordings / "lonely", "one", 0, frames=30)
    with pytest.raises(UsageError, match="gave 1 episode .* one to hold out"):
        make_demonstrations(Run(tmp_path, config))
    assert not (tmp_path / "data" / config.env.task).exists()


@pytest.mark.slow
def test_a_finished_run_is_measured_anew_with_other_values(done, config, capsys):
    """Last, since the one before has put its own configuration there."""
    other = config.copy_and_resolve_references()
    other.evaluation.resamples, other.evaluation.action_prior = 11, ""
    (done / "config.json").write_text(config.to_json())
    trained = {p: p.stat().st_mtime_ns for p in (done / "checkpoints" / "world_model").rglob("*")}
    with pytest.raises(UsageError, match="--stages=evaluation,report makes these anew"):
        pipeline.run_all(other, done)
    pipeline.run_all(other, done, anew=("evaluation", "report"))
    assert trained == {p: p.stat().st_mtime_ns for p in (done / "checkpoints" / "world_model").rglob("*")}
    assert "people" not in json.loads((done / "evaluation.json").read_text())["actions"]
    assert "world_model: done before" in capsys.readouterr().out
    assert json.loads((done / "config.json").read_text())["evaluation"]["resamples"] == 11


def test_a_broken_file_of_people_ends_a_run_before_anything_is_done(recordings, config, tmp_path):
    broken = config.copy_and_resolve_references()
    (tmp_path / "people").mkdir()
    (tmp_path / "people" / "a.jsonl").write_text('{"mouse": 1}\n{"mou')
    broken.evaluation.action_prior = str(tmp_path / "people")
    with pytest.raises(UsageError, match="evaluation.action_prior=.*people: a.jsonl is cut off in line 2"):
        pipeline.run_all(broken, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["a.mp4", "a.jsonl"])
def test_recordings_of_which_none_is_whole_end_a_run_before_anything_is_done(config, tmp_path, name):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_bytes(b"x")
    broken = config.copy_and_resolve_references()
    broken.demonstrations.source = str(tmp_path / "in")
    with pytest.raises(UsageError, match="not one recording in it has both its .mp4 and its .jsonl"):
        pipeline.run_all(broken, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", ["/no/such/python", "'unclosed"])
def test_a_python_that_is_not_there_ends_a_run_before_anything_is_done(config, tmp_path, command):
    broken = config.copy_and_resolve_references()
    broken.env.name, broken.env.minerl.python, broken.arms = "minerl", command, ("frozen_reference",)
    with pytest.raises(UsageError, match="env.minerl.python="):
        pipeline.run_all(broken, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_inside_its_recordings_is_refused_before_anything_is_made(recordings, config):
    before = sorted(recordings.rglob("*"))
    with pytest.raises(UsageError, match="--workdir=.* lies inside demonstrations.source=.*; name a folder elsewhere"):
        pipeline.run_all(config, recordings / "run")
    assert sorted(recordings.rglob("*")) == before
