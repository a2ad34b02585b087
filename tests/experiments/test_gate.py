"""The command answers every mistake in one line, with exit code 2; a run may be unfinished."""

import pytest

from experiments import gate
from experiments.configs.base_voxel import get_config


@pytest.fixture
def workdir(tmp_path):
    (tmp_path / "config.json").write_text(get_config("tiny").to_json())
    (tmp_path / "checkpoints" / "world_model" / "4").mkdir(parents=True)  # phase 1 goes on
    return tmp_path


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--dreams=1"], "'1' is not a whole number of at least 2"),
        (["--trainable=half"], "'half' is not one of phase2, all"),
        (["--on=gaps,swim"], "--on: 'swim' cannot be recorded; there are gaps, wander"),
        (["--held-out=moon"], "--held-out: 'moon' cannot be recorded"),
        (["--weights=voxel"], "not allowed with argument"),
        (["--output=/no/where/x.json"], "--output: there is no directory /no/where"),
    ],
)
def test_a_mistaken_flag(workdir, capsys, flags, words):
    with pytest.raises(SystemExit) as exit:
        gate.main([f"--workdir={workdir}", *flags])
    output = capsys.readouterr()
    assert exit.value.code == 2 and output.out == ""
    assert words in output.err
