"""The two figures by which rankings are compared, and the command's answers to mistakes."""

import json

import numpy as np
import pytest
import scipy.stats

from experiments import rescore_effect as command
from experiments.evaluation import rescore_effect


def test_spearman_is_scipys():
    rng = np.random.default_rng(0)
    a = rng.normal(size=50)
    for b in (a, -a, a + rng.normal(size=50), rng.normal(size=50)):
        expected = scipy.stats.spearmanr(a, b).statistic
        assert rescore_effect.spearman(a, b) == pytest.approx(expected)


def test_the_top_of_two_rankings():
    a, b = np.array([5.0, 4, 3, 2, 1]), np.array([5.0, 1, 4, 3, 2])
    assert [rescore_effect.top_overlap(a, b, k) for k in (1, 2, 3, 9)] == [1, 1 / 2, 2 / 3, 1]


@pytest.mark.parametrize(
    "argv, said",
    [
        (["--workdir=nowhere"], "holds no run"),
        (["--workdir=RUN"], "has not finished phase2/prowl"),
        (["--workdir=RUN", "--cycles=0"], "--cycles=0 is too small"),
        (["--workdir=RUN", "--what"], "unrecognized arguments: --what"),
    ],
)
def test_mistakes_are_one_line(tmp_path, capsys, argv, said):
    (tmp_path / "config.json").write_text(json.dumps({"name": "x"}))
    with pytest.raises(SystemExit) as stop:
        command.main([a.replace("RUN", str(tmp_path)) for a in argv])
    line = capsys.readouterr().err
    assert stop.value.code == 2 and said in line and line.count("\n") == 1
