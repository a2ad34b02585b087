"""A configuration is written for an environment of somebody's, fits its machine, and scales to minutes."""

import dataclasses
import pathlib
import re
import sys

import numpy as np
import pytest

pytest.importorskip("gymnasium")

from toy_recordings import write_recording

from experiments import new
from experiments.configs import default
from experiments.planning import consistency, own_world
from experiments.run import command_line, config_file
from experiments.run.config_file import UsageError
from experiments.run.directory import Run
from experiments.stages import budget, build, pipeline
from experiments.stages.demonstrations import make_demonstrations
from prowl_jax.actions import ActionSpec, choice
from prowl_jax.data.store import StoreWriter
from prowl_jax.envs.gymnasium import Gymnasium

TOYS = pathlib.Path(__file__).parents[1] / "envs"
SMALL = own_world.Machine(2, 16e9, "")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(TOYS), *sys.path])
    return tmp_path


def test_what_is_written_is_a_configuration_that_holds(here, capsys):
    assert new.main(["dots", "--make=gym_toys:Dot", "--frames=picture", "--minutes=30"]) == 0
    said = capsys.readouterr().out
    assert "keys_0 ([nothing], keys_0)" in said and "frames: 20x30" in said and "about 50 steps" in said
    assert "run it: python -m experiments.prowl_main --config=dots.py" in said
    for variant in ("dots.py", "dots.py:tiny"):
        config = config_file.load_config(variant)
        command_line.validate(config, consistency.RULES)
        assert build.spec_of(config).names == ("keys_0", "keys_1", "wheel")
    config = config_file.load_config("dots.py")
    steps, estimate, episodes = config.world_model.steps, sum(config.estimate), config.demonstrations.episodes
    assert estimate == pytest.approx(30)
    assert config.env.frame_height < config.env.frame_width
    config.minutes = 2 * estimate - config.estimate[0]
    budget.fit(config)
    assert config.world_model.steps == 2 * steps and config.demonstrations.episodes == episodes
    config = config_file.load_config("dots.py")
    config.minutes = config.estimate[0] + 0.5 * config.estimate[1]
    budget.fit(config)
    assert config.world_model.steps == steps // 2 and config.demonstrations.episodes == episodes // 2
    config = config_file.load_config("dots.py")
    config.minutes = config.estimate[0] + 0.1
    budget.fit(config)
    assert (config.demonstrations.episodes, config.demonstrations.held_out_task_episodes) == (24, 4)


def test_what_is_told_of_it_is_what_its_demonstrator_meets():
    """Played by hands a dot's episodes last as long as it says; a policy that ends them at once is believed."""
    make = Gymnasium(make_with="gym_toys:Short", frames="picture", frame_size=(16, 24))
    quits = dataclasses.replace(make, shown_by="gym_toys:quitter")
    assert own_world.look(quits, steps=60).length == 1 < own_world.look(make, steps=60).length


def test_many_at_once_are_looked_at_as_well(here, capsys):
    assert new.main(["many", "--make=gym_toys:make_vector", "--vector"]) == 0
    assert "frames: 20x30" in capsys.readouterr().out
    config = config_file.load_config("many.py")
    assert config.env.gymnasium.vector and build.spec_of(config).names == ("keys_0", "keys_1", "wheel")


@pytest.mark.parametrize("demonstrator, lasts", [("", range(1, 25)), ("gym_toys:to_the_right", (50,))])
def test_episodes_last_as_long_as_the_demonstrator_makes_them(here, capsys, demonstrator, lasts):
    new.main(["brittle", "--make=gym_toys:Brittle", "--frames=picture", f"--demonstrator={demonstrator}"])
    assert int(re.search(r"last about (\d+) steps", capsys.readouterr().out)[1]) in lasts


def test_nothing_is_overwritten_and_bad_input_is_one_line(here, capsys):
    (here / "mine.py").write_text("# mine")
    dots = ["other", "--make=gym_toys:Dot", "--frames=picture"]
    for arguments, line in (
        (["mine", "--make=gym_toys:Dot", "--frames=picture"], "mine.py is there already"),
        (["other", "--make=gym_toys:Words"], "Text cannot be cut into factors"),
        (["other", "--make=gym_toys:Endless"], "give limits=(LOW, HIGH)"),
        (["other", "--make=NoSuchThing-v0"], "env.gymnasium.make=NoSuchThing-v0: NameNotFound"),
        ([*dots, '--arguments={"fault": "size"}'], "a frame is 21x30, the first was 20x30; wrap the environment"),
        ([*dots, '--arguments={"fault": "nan"}'], "has NaN or infinite numbers; mend the environment, or wrap it"),
        (["other", "--make=gym_toys:Dot", "--arguments=[1]"], "is no JSON object"),
        (["other", "--make=gym_toys:Dot", "--frame-skip=0"], "frame_skip=0 is not within 1.."),
        (["other", "--make=a:b", "--source=c"], "give one of --make"),
        (["other/one", "--make=a:b"], "is no name of a Python module"),
        (["other", "--make=a:b", "--minutes=3"], "starting and compiling alone"),
        (["other", "--make=gym_toys:Dot", "--limits=a"], "argument --limits: 'a' is not LOW,HIGH"),
        (["other", "--source=none"], "--source=none: no folder or index file none"),
        (["other", f"--source={here}"], "become a clip store first (python -m experiments.import_recordings)"),
    ):
        with pytest.raises(SystemExit) as end:
            new.main(arguments)
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert end.value.code == 2 and error.startswith("error: ") and line in error
    assert (here / "mine.py").read_text() == "# mine" and not (here / "other.py").exists()


@pytest.mark.parametrize(
    "answers, line",
    [(("gym_toys:Plain", ""), ""), (("", "none", "30"), "none: no folder"), (("a:b", "an hour"), "an hour is no")],
)
def test_without_either_it_asks(here, capsys, monkeypatch, answers, line):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    said = iter(answers)
    monkeypatch.setattr("builtins.input", lambda question: next(said))
    if not line:
        assert new.main(["asked"]) == 0 and sum(config_file.load_config("asked.py").estimate) == pytest.approx(60)
        return
    with pytest.raises(SystemExit) as end:
        new.main(["asked"])
    assert end.value.code == 2 and line in capsys.readouterr().err and not (here / "asked.py").exists()


def test_recordings_alone_have_no_phase_2(here, capsys):
    write_recording(here / "minecraft", "one")
    assert new.main(["people", "--source=minecraft"]) == 0
    assert "no phase 2" in capsys.readouterr().out
    config = config_file.load_config("people.py")
    command_line.validate(config, consistency.RULES)
    assert build.arms(config) == () and config.demonstrations.source == "minecraft"


def test_a_clip_store_is_learned_from_with_its_own_actions(here, capsys):
    spec, rng = ActionSpec((choice("go", "ahead"),)), np.random.default_rng(0)
    with StoreWriter(here / "store", spec, (24, 48, 3)) as writer:
        for _ in range(3):
            frames = rng.integers(0, 256, (30, 24, 48, 3)).astype(np.uint8)
            writer.add_episode(frames, rng.integers(0, 2, (30, 1)).astype(np.int32))
    assert new.main(["mine", "--source=store"]) == 0
    said = capsys.readouterr().out
    assert "actions: go ([nothing], ahead)" in said and "frames: 24x48; 3 episodes of about 30 steps" in said
    for variant in ("mine.py", "mine.py:tiny"):
        config = config_file.load_config(variant)
        command_line.validate(config, consistency.RULES)
        build.check_files(config)
        assert build.arms(config) == () and build.spec_of(config) == spec
    config = config_file.load_config("mine.py")
    assert config.env.frame_width > config.env.frame_height
    config.demonstrations.held_out_fraction = 0.3
    assert make_demonstrations(Run(here / "run", config)) == {"frames": 90}
    config.env.clips.path = str(here / "none")
    with pytest.raises(UsageError, match="env.clips.path=.*none: no clip store at"):
        build.check_files(config)


def test_a_hint_where_no_value_does_nothing(here, capsys):
    for arguments, told in (([], True), (["--sticky"], False)):
        new.main([f"pole{len(arguments)}", "--make=gym_toys:Pole", *arguments])
        said = "no value is known to do nothing: where no key is down, action=0 is done; name one"
        assert (said in capsys.readouterr().out) == told


def test_sizes_follow_the_machine_and_the_episodes():
    long = own_world.Seen((400, 600), 100.0, 400, "")
    ours = own_world.changes("a", {}, long, SMALL, 60)
    large = own_world.changes("a", {}, long, own_world.Machine(16, 128e9, "gpu"), 60)
    assert large["env.frame_width"] > ours["env.frame_width"] > ours["env.frame_height"]
    assert large["world_model.steps"] > ours["world_model.steps"]
    slow = own_world.changes("a", {}, own_world.Seen((400, 600), 10.0, 400, ""), SMALL, 60)
    fast = own_world.changes("a", {}, own_world.Seen((400, 600), 1e4, 400, ""), SMALL, 60)
    for values, rate in ((slow, 2 * 10.0), (fast, 2 * 1e4)):  # two workers
        frames = (values["demonstrations.episodes"] + values["demonstrations.held_out_task_episodes"]) * 256
        assert frames / rate / 60 < 0.25 * sum(values["estimate"]) and sum(values["estimate"]) == pytest.approx(60)
    assert slow["demonstrations.episodes"] < fast["demonstrations.episodes"] == 192
    assert slow["world_model.steps"] < fast["world_model.steps"]
    one = own_world.changes("a", {}, long, own_world.Machine(1, 16e9, ""), 60)
    assert one["estimate"][0] > ours["estimate"][0] == large["estimate"][0]
    assert sum(one["estimate"]) == pytest.approx(60)
    short = own_world.changes("a", {}, own_world.Seen((400, 600), 100.0, 10, ""), SMALL, 60)
    assert short["evaluation.long_horizon"] + 2 <= 10 < ours["evaluation.long_horizon"]
    assert own_world.changes("a", {}, long, own_world.Machine(2, 2e9, ""), 60)["world_model.batch"] == 16


@pytest.mark.slow
def test_from_new_to_the_report(here):
    """Both arms and all of the evaluation, of actions that are none of those that a game of ours has."""
    new.main(["pole", "--make=gym_toys:Pole"])
    config = config_file.load_config("pole.py:tiny")
    config.update_from_flattened_dict(
        {
            "metrics.frechet": "", "env.num_envs": 2, "env.workers": 1, "demonstrations.episodes": 4,
            "demonstrations.episode_frames": 24, "demonstrations.held_out_task_episodes": 2, "world_model.steps": 4,
            "world_model.unet.widths": (8,), "world_model.unet.blocks": (1,), "world_model.unet.motion": False,
            "world_model.unet.predict_residual": False, "world_model.unet.attention": False,
            "world_model.unet.own_frames": (1,),
            "world_model.unet.own_since": (0.0,), "evaluation.clips": 4, "evaluation.long_clips": 2,
        }
    )  # fmt: skip
    command_line.validate(config, consistency.RULES)
    evaluation = pipeline.run_all(config, here / "run")
    assert (here / "run" / "report" / "index.html").exists() and evaluation["modes"] == {}
    assert evaluation["arms"].keys() == {"phase1", "frozen_reference", "prowl"}


def test_it_is_told_what_few_minutes_make_of_the_steps(capsys):
    config = default.get_config()
    budget.say(config)
    assert capsys.readouterr().out == ""
    config.estimate, config.minutes = (5.0, 10.0), 6.0
    for steps, warned in ((1900, False), (2000, False), (190, True)):
        config.world_model.steps = steps * 10
        budget.fit(config)
        budget.say(config)
        said = capsys.readouterr().out
        assert f"minutes=6: world_model.steps={steps}," in said and ("dreams are noise" in said) == warned


def test_minutes_without_an_estimate_or_too_few_are_one_line():
    config = default.get_config()
    budget.fit(config)  # none are asked for
    config.minutes = 60.0
    with pytest.raises(UsageError, match="minutes=60: this configuration says no estimate"):
        budget.fit(config)
    config.estimate, config.minutes = (5.0, 10.0), 4.0
    with pytest.raises(UsageError, match="minutes=4: starting and compiling alone take about 5"):
        budget.fit(config)
