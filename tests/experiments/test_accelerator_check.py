"""The whole accelerator check at a tiny size, against a clock that goes on whenever it is read."""

import json

import jax
import numpy as np
import pytest
from PIL import Image

from experiments import accelerator_check
from experiments.benchmarks import accelerator, accelerator_training
from experiments.stages import build
from prowl_jax import zoo

MINUTES = 14.0


class Ticks:
    """A clock; every reading takes a tick: with two seconds, as long as a call may take, a call is one step."""

    def __init__(self, seconds=2.0):
        self.seconds, self.now = seconds, 100.0

    def __call__(self):
        self.now += self.seconds
        return self.now


def options(*arguments):
    return accelerator_check._parser().parse_args([f"--minutes={MINUTES}", "--tiny", *arguments])


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("accelerator") / "new"
    code = accelerator_check.main([f"--minutes={MINUTES}", "--tiny", f"--output={folder}"], now=Ticks())
    return code, folder, json.loads((folder / "accelerator.json").read_text())


def test_every_part_says_what_it_found_within_the_time(done):
    code, folder, found = done
    assert code == 0 and found["seconds"] < 60 * MINUTES + 10.0  # a few readings later
    assert set(found["device"]["matmul_tflops"]) == {"bfloat16", "float32", "float32_highest"}
    assert [row["envs"] for row in found["environment"]["batches"]] == [2]
    assert found["environment"]["batches"][0]["steps_per_s"] > 0
    training = found["training"]
    assert training["steps"] > 10 and training["last"]["own"] == 4 and training["rounds"] > 1
    assert np.isfinite(training["last"]["loss"]) and training["last"]["seconds"] < 60 * MINUTES
    for part in ("quality_before", "quality"):
        assert list(found[part]["frames"]) == ["1", "2", "4", "8", "16", "20"]
        assert all(np.isfinite(list(row.values())).all() for row in found[part]["frames"].values())
    # Untrained it repeats the last frame, whatever is done.
    first = found["quality_before"]["frames"]["1"]
    assert first["floor_relative_error"] == pytest.approx(1.0, abs=0.3)
    assert first["exchanged_over_true"] == pytest.approx(1.0, abs=0.05)
    assert found["quality"]["frames"]["1"] != first
    assert Image.open(folder / "contact_sheet.png").size == (8 * 32, 4 * 32)
    assert {path.name for path in folder.iterdir()} == {"accelerator.json", "contact_sheet.png", "voxel.safetensors"}


def test_the_weights_can_be_read_and_gone_on_from(done):
    _, folder, found = done
    path = folder / "voxel.safetensors"
    assert found["training"]["weights"]["bytes"] == path.stat().st_size < accelerator.MOST_BYTES
    settings = accelerator.make_settings(options(f"--resume={path}", "--dtype=bfloat16"))
    assert settings.config.world_model.dtype == "bfloat16" and settings.resumed.world_model.dit.dtype == np.float32
    model = build.make_world_model(settings.config)
    state = accelerator_training.start(settings.config, model, settings.resumed)
    saved, began = zoo.load(path).params["dit"], jax.device_get((state.params, state.ema))
    jax.tree.map(np.testing.assert_array_equal, began, (saved, saved))
    assert any(np.abs(x).max() > 0 for x in jax.tree.leaves(saved["out"]))  # 0 where nothing was trained


@pytest.mark.parametrize(
    "flags, line",
    [
        (["--minutes=0"], "not a number above 0"),
        (["--minutes=1", "--tiny", "--widths=8"], "--widths: the network has 2 levels, not 1"),
        (["--minutes=1", "--tiny", "--batch=6"], "--batch=6 is not a multiple of 4"),
        (["--minutes=1", "--widths=512,512,512"], "MB of weights; a file is to have less than 16"),
        (["--minutes=1", "--resume=none.safetensors"], "--resume: base=none.safetensors: none.safe"),
    ],
)
def test_a_mistake_is_one_line(flags, line, tmp_path, capsys):
    with pytest.raises(SystemExit) as error:
        accelerator_check.main([*flags, f"--output={tmp_path}"])
    said = capsys.readouterr().err
    assert error.value.code == 2 and line in said and said.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_other_weights_are_refused(done, tmp_path, capsys):
    with pytest.raises(SystemExit):
        path = done[1] / "voxel.safetensors"
        accelerator_check.main(["--minutes=1", "--tiny", "--widths=8,12", f"--resume={path}", f"--output={tmp_path}"])
    assert "world_model of the configuration differ: widths: (8, 8), not (8, 12)" in capsys.readouterr().err


def test_a_part_that_fails_is_noted_and_the_next_begins(tmp_path, capsys):
    def broken(settings, clock, report):
        report.put("one", known=1)
        raise ValueError("no such device\nand more")

    report = accelerator.Report(tmp_path / "a.json", accelerator.Clock(60.0, Ticks()))
    assert not accelerator._attempt(report, "one", broken, None, None)
    assert accelerator._attempt(report, "two", lambda *_: report.put("two", known=2), None, None)
    found = json.loads((tmp_path / "a.json").read_text())
    assert found["one"]["error"] == "ValueError: no such device\nand more" and found["one"]["known"] == 1
    assert found["two"] == {"known": 2} and "one: failed: ValueError: no such device" in capsys.readouterr().out


def test_an_environment_that_would_come_too_late_is_not_begun(monkeypatch, tmp_path):
    monkeypatch.setattr(accelerator, "steps_per_second", lambda envs, **_: 10.0 * envs)
    settings = accelerator.make_settings(options(f"--output={tmp_path}"))
    settings = accelerator.dataclasses.replace(settings, envs=(4, 8, 16))
    clock = accelerator.Clock(10.0, Ticks(0.6))  # a fifth of it is two seconds
    report = accelerator.Report(tmp_path / "a.json", clock)
    accelerator.time_environment(settings, clock, report)
    rates = [row["steps_per_s"] for row in report.known["environment"]["batches"]]
    assert rates[0] == 40 and rates[-1] is None


def test_the_rate_rises_stays_and_falls_by_the_time():
    w = accelerator.base_voxel.get_config().world_model
    places = ((0, 0.0), (99, 0.1), (199, 0.1), (5, 0.5), (9999, 0.8), (9999, 0.9), (9999, 1.0))
    at = [float(accelerator_training.learning_rate(w, *place)) / w.learning_rate for place in places]
    assert at == pytest.approx([1 / 200, 0.5, 1.0, 6 / 200, 1.0, 0.51, 0.02], rel=1e-4)
    own = [accelerator_training.own_frames(w.unet, share) for share in (0.0, 0.09, 0.1, 0.29, 0.3, 1.0)]
    assert own == [1, 1, 2, 2, 4, 4]
