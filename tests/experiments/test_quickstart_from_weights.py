"""From a base model to its file, and from there to a quick start, at the smallest sizes; what does not fit is told."""

import json
import re
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

from experiments import dream_quality
from experiments import zoo as zoo_command
from experiments.configs import base_voxel, quickstart
from experiments.run.config_file import UsageError
from experiments.run.directory import Run
from experiments.run.metrics_log import read_metrics
from experiments.stages import build, pipeline, weights, world_model
from experiments.stages.demonstrations import make_demonstrations
from experiments.stages.inverse_dynamics import load_inverse_dynamics, train_inverse_dynamics
from experiments.stages.reference import clone_reference, load_reference
from prowl_jax import zoo
from prowl_jax.train.sharding import DIT_RULES, abstract
from prowl_jax.train.state import init_state

UNET = {"widths": (8, 8), "blocks": (1, 1), "motion_widths": (8,), "motion_blocks": (1,), "width": 16}


def small(config):
    """A configuration of the base model with frames and networks as small as they go."""
    config.env.update(frame_height=32, frame_width=32, held_out_tasks=(), num_envs=4)
    config.env.voxel.worlds = 1
    config.demonstrations.update(episodes=4, episode_frames=26, held_out_task_episodes=2, held_out_fraction=0.25)
    config.world_model.unet.update(UNET)
    config.world_model.update(steps=6, batch=4)
    config.reference.update(features=32, hidden=32, clip=8)
    config.inverse_dynamics.update(width=8, features=16, hidden=16, clip=8)
    return config


def begins_with(path):
    """The quick start, as small as ``small``, from a file of weights."""
    config = quickstart.get_config()
    quickstart.shrink(config)
    small(config).base = str(path)
    config.name, config.phase2.program = "quick", "device"  # whole cycles of the unet as one program
    config.evaluation.update(clips=4, long_clips=4, long_horizon=12)
    config.arms = ("prowl",)
    return config


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A finished base run, without its phase 1's end: as when it is exported on the way."""
    config = small(base_voxel.get_config("tiny"))
    config.world_model.unet.update(own_frames=(1,), own_since=(0.0,))
    run = Run(tmp_path_factory.mktemp("base") / "run", config.lock())
    for stage in (make_demonstrations, world_model.train_world_model, clone_reference, train_inverse_dynamics):
        run.run_stage({"clone_reference": "reference"}.get(stage.__name__, stage.__name__.partition("_")[2]), stage)
    return run


@pytest.fixture(scope="module")
def path(base, tmp_path_factory):
    """The file of its weights."""
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    assert "parameters" in weights.export(base.config, base.workdir, path)
    return path


@pytest.fixture(scope="module")
def done(path, tmp_path_factory):
    """A quick start from the file: its run."""
    config, workdir = begins_with(path), tmp_path_factory.mktemp("quick") / "run"
    pipeline.run_all(config.lock(), workdir)
    return Run(workdir, config, owned=False)


def near(ours, theirs):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6), ours, theirs)


def test_the_file_carries_everything_and_its_card_no_folder(base, path):
    model, card = zoo.load(path), zoo.read_card(path)
    near(model.params, {k: np.asarray(v) if not isinstance(v, dict) else v
                        for k, v in world_model.load_world_model(base).items()})  # fmt: skip
    near(model.policy_params, load_reference(base))
    near(model.inverse_dynamics_params, load_inverse_dynamics(base))
    assert model.policy == build.make_policy(base.config)
    assert model.inverse_dynamics == build.make_inverse_dynamics(base.config)
    assert card["parts"]["policy"]["held_out_nll"] > 0 and card["parts"]["inverse_dynamics"]["parameters"] > 0
    assert card["steps"] == 6 and card["provenance"]["config"]["env"]["voxel"]["look"] == "textured"
    text = path.with_suffix(".json").read_text()
    assert not re.search(r'"/|' + re.escape(str(base.workdir.parent)), text)
    assert "with policy and inverse dynamics model" in weights.checked(path)


def test_check_prints_the_quality_of_the_dreams_that_a_card_has(path, tmp_path, capsys):
    beside = tmp_path / "w.safetensors"
    shutil.copy(path, beside)
    card = zoo.read_card(path) | {"dream_quality": zoo.read_card("voxel")["dream_quality"]}
    for quality, said in ((card["dream_quality"], "over floor: error"), ({"frames": {"8": {}}}, "is not what")):
        beside.with_suffix(".json").write_text(json.dumps(card | {"dream_quality": quality}))
        assert zoo_command.main(["check", str(beside)]) == 0
        assert said in capsys.readouterr().out


def test_what_a_run_has_not_finished_is_left_out_and_said(base, tmp_path, monkeypatch):
    monkeypatch.setattr(Run, "stages", lambda self: {"world_model": {"seconds": 1.0}})
    weights.export(base.config, base.workdir, tmp_path / "bare.safetensors")
    model, card = zoo.load(tmp_path / "bare.safetensors"), zoo.read_card(tmp_path / "bare.safetensors")
    assert (model.policy, model.policy_params, model.inverse_dynamics) == (None, None, None)
    assert card["parts"]["policy"] is None and card["parts"]["inverse_dynamics"] is None
    said = weights.checked(tmp_path / "bare.safetensors")
    assert "without policy and inverse dynamics" in said and "policy: not in the file" in said


def test_a_card_tells_the_weights_that_its_run_began_with(base, path, tmp_path, monkeypatch):
    """Those of the file as it was when the run began, whatever lies there later."""
    config = base.config.copy_and_resolve_references().unlock()
    config.name, config.world_model.weights = "base_voxel_next", str(path)
    again = Run(tmp_path / "again", config.lock())
    begun = init_state(world_model.init_dit(config), world_model.world_model_optimizer(config))
    monkeypatch.setattr(world_model, "train", lambda *_, **__: begun)
    world_model.train_world_model(again)
    first = {**zoo.read_card(path), "steps": 5}
    monkeypatch.setattr(zoo, "read_card", lambda name: first)
    world_model.train_world_model(again)
    monkeypatch.setattr(weights, "load_world_model", lambda run: world_model.load_world_model(base))
    shutil.copytree(base.workdir / "checkpoints", again.workdir / "checkpoints")
    assert "6 of 6 steps, hours not noted: python -m experiments.prowl_main " in (
        weights.export(again.config, again.workdir, tmp_path / "w.safetensors")
    )
    card = json.loads((tmp_path / "w.json").read_text())
    assert card["began_with"]["steps"] == 6 and card["command"].endswith("configs/base_voxel.py:next")
    assert f"; after 6 of 6 steps, {base.stages()['world_model']['seconds'] / 3600:.1f} hours" in weights.shown(card)


def test_the_file_of_every_configuration_is_found_by_its_name():
    assert weights.config_file("base_voxel") == "experiments/configs/base_voxel.py"
    assert weights.config_file("base_voxel_next") == "experiments/configs/base_voxel.py:next"
    assert weights.config_file("voxel_tiny") == "experiments/configs/voxel.py:tiny"
    assert weights.config_file("my_own") == "experiments/configs/my_own.py"


def test_a_run_that_was_ended_before_it_noted_its_time_is_exported(base, tmp_path, monkeypatch):
    monkeypatch.setattr(Run, "stages", lambda self: {})
    assert "6 of 6 steps, hours not noted" in weights.export(base.config, base.workdir, tmp_path / "w.safetensors")


def test_an_export_that_fails_leaves_no_file(base, tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "_checksums", lambda run: json.loads("{"))
    with pytest.raises(ValueError):
        weights.export(base.config, base.workdir, tmp_path / "w.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_run_from_weights_trains_nothing_that_they_bring(done):
    assert tuple(done.stages()) == (
        "demonstrations", "autoencoder", "world_model", "first_look", "reference", "inverse_dynamics", "dream_quality",
        "phase2/prowl", "evaluation", "report",
    )  # fmt: skip
    assert {row["stage"] for row in read_metrics(done.workdir)} == {"phase2"}
    assert {p.name for p in (done.workdir / "checkpoints").iterdir()} == {"phase2"}
    assert done.stages()["reference"]["held_out_nll"] > 0
    assert 0 <= done.stages()["inverse_dynamics"]["held_out_accuracy"] <= 1
    evaluation = json.loads((done.workdir / "evaluation.json").read_text())
    assert set(evaluation["arms"]) == {"phase1", "prowl"} and "autoencoder_psnr_db" not in evaluation["checks"]
    before, after = (evaluation["arms"][arm]["in_distribution"]["latent_regret"]["all"] for arm in ("phase1", "prowl"))
    assert np.isfinite([before, after]).all() and before != after
    quality = json.loads((done.workdir / "dream_quality.json").read_text())
    assert (quality["step"], quality["finished"]) == (6, True) and "action_f1" in quality["frames"]["1"]


def test_the_policy_can_be_cloned_from_the_runs_own_demonstrations(done, path, tmp_path):
    config = begins_with(path)
    config.reference.update(of_base=False, hidden=16, steps=2, batch=4)
    build.check_files(config)
    shutil.copytree(done.workdir / "data", tmp_path / "run" / "data")
    own = Run(tmp_path / "run", config.lock())
    own.run_stage("demonstrations", make_demonstrations)
    own.run_stage("reference", clone_reference)
    assert own.checkpoints("behaviour").exists()
    ours, theirs = (sum(a.size for a in jax.tree.leaves(load_reference(run))) for run in (own, done))
    assert ours < theirs  # of this run's network, where the weights' is larger


def test_the_first_look_is_a_moving_picture_of_held_out_clips(done):
    picture = Image.open(done.workdir / "report" / "first_look.webp")
    figures = done.stages()["first_look"]
    assert picture.n_frames == 2 + 24 == 2 + figures["frames"]
    assert figures["shown_regret"] == pytest.approx(figures["median_regret"], rel=0.5)


def test_episodes_are_others_than_those_the_weights_learned_from(base, done):
    ours, theirs = (np.fromfile(run.data("wander") / "frames.bin", np.uint8) for run in (done, base))
    first = 32 * 32 * 3
    assert len(ours) == len(theirs) and (ours[:first] != theirs[:first]).any()


WRONG = [
    ({"env.voxel.look": "flat"}, "was trained with env.voxel.look=textured, not flat; set env.voxel.look=textured"),
    ({"env.voxel.worlds": 2}, "was trained with env.voxel.worlds=1, not 2"),
    ({"demonstrations.seed": 5}, "was trained with demonstrations.seed=0, not 5"),
    ({"env.frame_width": 64}, "was trained with env.frame_width=32, not 64"),
    ({"world_model.unet.width": 32}, "and world_model of the configuration differ: width: 16, not 32"),
    ({"reference.hidden": 64}, "and reference of the configuration differ: hidden: 32, not 64"),
    ({"inverse_dynamics.features": 8}, "and inverse_dynamics of the configuration differ: features: 16, not 8"),
    ({"env.name": "vizdoom", "env.task": "explore"}, "was trained with env.name=voxel, not vizdoom"),
]


@pytest.mark.parametrize("changes, words", WRONG, ids=[next(iter(row[0])) for row in WRONG])
def test_weights_of_something_else_are_told_in_one_line(path, changes, words):
    config = begins_with(path)
    config.update_from_flattened_dict(changes)
    with pytest.raises(UsageError) as told:
        build.check_files(config)
    assert words in str(told.value) and "\n" not in str(told.value) and str(path) in str(told.value)


def test_other_actions_are_told_with_both_names(path, monkeypatch):
    config = begins_with(path)
    spec = build.spec_of(config)
    other = type(spec)(spec.factors[:-1])
    monkeypatch.setattr(build.base, "spec_of", lambda config: other)
    with pytest.raises(UsageError, match=f"actions {', '.join(spec.names)} of sizes .* the environment has"):
        build.check_base(config)
    config.base, config.world_model.weights = "", str(path)
    with pytest.raises(UsageError, match=f"actions: {', '.join(spec.names)} of sizes .*, not {other.names[0]}, "):
        build.check_files(config)


def test_a_model_that_is_not_shipped_says_how_it_is_made(path):
    config = begins_with("vizdoom")
    with pytest.raises(UsageError, match=r"no weights 'vizdoom'; .*; base_vizdoom.py trains them, .* export makes"):
        build.check_base(config)
    with pytest.raises(UsageError) as told:
        build.check_base(begins_with("nothing"))
    assert "trains them" not in str(told.value)


def test_phase_1_can_begin_with_weights(base, path):
    config = small(base_voxel.get_config("tiny"))
    config.world_model.weights = str(path)
    build.check_files(config)
    optimizer = world_model.world_model_optimizer(config)
    mesh, begin = build.make_config_mesh(config), lambda: init_state(world_model.init_dit(config), optimizer)
    placed = abstract(mesh, begin, DIT_RULES)
    state = world_model.pretrained(config, optimizer)(placed)
    theirs = zoo.load(path).params["dit"]
    jax.tree.map(np.testing.assert_array_equal, state.params, theirs)
    jax.tree.map(np.testing.assert_array_equal, state.ema, theirs)
    assert int(state.step) == 0
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(state.opt_state) if np.issubdtype(leaf.dtype, np.floating))
    config.world_model.unet.width = 32
    with pytest.raises(UsageError, match="do not fit the configured unet: width: 16, not 32"):
        build.check_files(config)
    config.world_model.weights = "nothing"
    with pytest.raises(UsageError, match="world_model.weights=nothing: no weights 'nothing'"):
        build.check_files(config)


def test_a_run_that_began_with_weights_has_none_to_export(done, tmp_path):
    with pytest.raises(UsageError, match="has no phase 1 of its own to export"):
        weights.export(done.config, done.workdir, tmp_path / "again.safetensors")


def test_weights_are_measured_and_shown_without_a_run(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for command in (dream_quality, zoo_command):
        monkeypatch.setattr(command, "EPISODES", 4)
    assert dream_quality.main([f"--weights={path}", "--quick", "--clips=4", "--dream-clips=2"]) == 0
    result = json.loads((tmp_path / "small_dream_quality.json").read_text())
    assert result["step"] == 6 and list(result["frames"]) == ["1", "2", "4", "8", "16", "20"]
    assert result["provenance"]["flags"]["weights"] == "small.safetensors"
    assert (tmp_path / "small_dream_quality.webp").exists()
    assert zoo_command.main(["picture", str(path), f"--output={tmp_path / 'picture.webp'}", "--frames=6"]) == 0
    assert "6 frames of clips of regret" in capsys.readouterr().out
    assert Image.open(tmp_path / "picture.webp").n_frames == 2 + 6


def test_weights_without_a_card_are_told(path, tmp_path, capsys):
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes(path.read_bytes())
    with pytest.raises(SystemExit):
        dream_quality.main([f"--weights={alone}"])
    assert "has no card that says what data it is for" in capsys.readouterr().err
