"""The commands that look at rewards answer every mistake in one line, with exit code 2.

What they measure is tested on toy models (``evaluation/test_probe.py``, ``evaluation/test_best_of.py``).
"""

import json

import mistakes
import pytest

from experiments import best_of, probe
from experiments.configs.quickstart import get_config
from experiments.evaluation import reward_command


@pytest.fixture
def workdir(tmp_path):
    return mistakes.begun_run(tmp_path, get_config("tiny"))


@pytest.mark.parametrize("command", [probe, best_of])
@pytest.mark.parametrize(
    "flags, words",
    [
        (["--clips=1"], "'1' is not a whole number of at least 2"),
        (["--frames=0"], "'0' is not a whole number of at least 1"),
        (["--dreams=3"], "--dreams"),
        (["--output=/no/where/x.json"], "--output: there is no directory /no/where"),
        (["--weights=voxel"], "not allowed with argument --workdir"),
    ],
)
def test_a_mistaken_flag(workdir, capsys, command, flags, words):
    assert words in mistakes.answer(capsys, command.main, f"--workdir={workdir}", *flags)


@pytest.mark.parametrize("command", [probe, best_of])
def test_a_run_or_weights_must_be_there(tmp_path, capsys, command):
    assert "there is no config.json" in mistakes.answer(capsys, command.main, f"--workdir={tmp_path / 'nowhere'}")
    assert "no/such" in mistakes.answer(capsys, command.main, f"--output={tmp_path / 'x'}", "--weights=no/such")


def test_what_is_measured_is_printed_and_written(workdir, monkeypatch, capsys):
    from experiments.evaluation import reward_bench

    monkeypatch.setattr(reward_bench, "make_bench", lambda run, *asked: (run.workdir, *asked))

    class Table:
        measure = staticmethod(lambda bench: {"bench": [str(x) for x in bench]})
        table = staticmethod(lambda result: f"asked {result['bench'][1:]}")

    argv = [f"--workdir={workdir}", "--clips=3"]
    assert reward_command.run_command(argv, "probe", "Words.", get_config(), lambda: Table) == 0
    assert "asked ['3', 'None', 'probe']" in capsys.readouterr().out
    written = json.loads((workdir / "probe.json").read_text())
    assert written["bench"][0] == str(workdir) and "provenance" in written
