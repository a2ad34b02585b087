"""The comparison of one change at a time, as small as it goes: same data, counted steps, a table, going on."""

import json

import pytest

from experiments import ablation as command
from experiments.configs.ablation import get_config
from experiments.planning import consistency
from experiments.run import command_line
from experiments.study import ablation
from experiments.study.settings import VARIANTS


def test_every_variant_is_a_configuration_that_can_run():
    config = get_config()
    base = ablation.variant_of(config, {})
    for name, (_, changes) in VARIANTS.items():
        command_line.validate(ablation.variant_of(config, changes), consistency.RULES)
        changed = ablation.variant_of(config, changes)
        assert (changed.to_dict() == base.to_dict()) == (name == "base")
    assert "ablation" in config  # a copy was changed


@pytest.mark.parametrize("wrong", ["--config.ablation.variants=bass", "--config.ablation.variants=base,base"])
def test_a_variant_that_is_none(wrong, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(["--config=experiments/configs/ablation.py:tiny", f"--workdir={tmp_path / 'new'}", wrong])
    assert ended.value.code == 2 and not (tmp_path / "new").exists()
    assert "ablation.variants" in capsys.readouterr().err


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ablation")
    arguments = ["--config=experiments/configs/ablation.py:tiny", f"--workdir={folder / 'runs'}"]
    arguments.append(f"--config.ablation.results={folder / 'results'}")
    assert command.main(arguments) == 0
    return folder, arguments


def test_all_variants_train_on_the_same_frames_and_stand_in_the_table(done):
    folder, _ = done
    rows = json.loads((folder / "results/ablation_tiny.json").read_text())["rows"]
    assert list(rows) == ["base", "fourfold"]
    stores = {(folder / "runs" / name / "data/wander/frames.bin").stat().st_ino for name in ("shared", *rows)}
    assert len(stores) == 1
    assert all(row["steps"]["world_model"] == 1 and row["quality"]["steps"] == 1 for row in rows.values())
    assert [name for name, row in rows.items() if "autoencoder_core_seconds" in row["steps"]] == ["fourfold"]
    table = (folder / "results/ablation_tiny.md").read_text()
    assert table.count("\n| ") == 2 + len(rows) and "| fourfold: over latents of a fourfold" in table


def test_what_is_done_is_not_done_again(done, capsys):
    folder, arguments = done
    before = (folder / "runs/base/metrics.jsonl").read_bytes()
    assert command.main(arguments) == 0
    assert (folder / "runs/base/metrics.jsonl").read_bytes() == before
    assert "world_model: done before" in capsys.readouterr().out
