"""The command that measures dreams answers every mistake in one line, with exit code 2, and renews a report's opening.

What it measures is tested on toy models (``evaluation/test_dream_quality.py``) and on a run
(``test_quickstart_tiny.py``).
"""

import json

import mistakes
import pytest

from experiments import dream_quality
from experiments.configs.quickstart import get_config
from experiments.report.quality import opening, renew_report


@pytest.fixture
def workdir(tmp_path):
    return mistakes.begun_run(tmp_path, get_config("tiny"))


def mistake(capsys, *argv):
    return mistakes.answer(capsys, dream_quality.main, *argv)


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--clips=0"], "'0' is not a whole number of at least 1"),
        (["--dreams=1"], "'1' is not a whole number of at least 2"),
        (["--long-clips=-1"], "'-1' is not a whole number of at least 0"),
        (["--quickly"], "--quickly"),
        (["--output=/no/where/x.json"], "--output: there is no directory /no/where"),
    ],
)
def test_a_mistaken_flag(workdir, capsys, flags, words):
    assert words in mistake(capsys, f"--workdir={workdir}", *flags)


def test_phase_1_must_have_saved_something_and_need_not_be_done(workdir, capsys, tmp_path):
    assert "holds no run: there is no config.json" in mistake(capsys, f"--workdir={tmp_path / 'nowhere'}")
    (workdir / "checkpoints" / "world_model" / "4").rmdir()
    assert "phase 1 (stage world_model) has saved no checkpoint yet" in mistake(capsys, f"--workdir={workdir}")


ROW = {"floor_relative_error": 0.5, "floor_relative_error_low": 0.4, "floor_relative_error_high": 0.6, "psnr_db": 21.25}
RESULT = {"name": "x", "task": "t<", "step": 1, "steps": 2, "finished": True, "clips": 3, "frames": {"8": ROW}}


def test_a_report_opens_with_it_and_is_renewed(workdir):
    assert "<h2>" not in opening(workdir)
    renew_report(workdir)
    page = workdir / "report" / "index.html"
    assert not page.exists()  # where there is none, none is made
    page.parent.mkdir()
    page.write_text(f"before{opening(workdir)}after")
    for error in (0.5, 0.25):
        ROW["floor_relative_error"] = error
        (workdir / "dream_quality.json").write_text(json.dumps(RESULT))
        (workdir / "dream_quality.webp").write_bytes(b"RIFF")
        renew_report(workdir)
        text = page.read_text()
        assert text.startswith("before<!--") and text.endswith("-->after") and text.count("<h2>") == 1
        assert f"{error:.2f} (0.40, 0.60)" in text and "21.25" in text and "of t&lt;" in text
        assert "data:image/webp;base64,UklGRg==" in text
