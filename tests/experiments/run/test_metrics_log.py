"""Figures survive interrupts and resuming; progress stays one readable line."""

import io
import json
import math

import numpy as np
import pytest

from experiments.run.metrics_log import MetricsLog, read_metrics
from experiments.run.progress import Progress


def test_rows_come_back_and_nan_is_null(tmp_path):
    log = MetricsLog(tmp_path / "run")
    log.write(stage="world_model", step=np.int64(3), loss=np.float32(0.5), psnr=math.nan, top=math.inf)
    log.write(stage="phase2", step=0, arm="prowl", kl=np.ones((1,)).item())
    assert read_metrics(tmp_path / "run") == [
        {"stage": "world_model", "arm": None, "step": 3, "loss": 0.5, "psnr": None, "top": None},
        {"stage": "phase2", "arm": "prowl", "step": 0, "kl": 1.0},
    ]
    for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_reading_where_there_is_nothing(tmp_path):
    assert read_metrics(tmp_path) == []


def test_truncate_drops_later_rows_of_that_stage_and_arm_alone(tmp_path):
    log = MetricsLog(tmp_path)
    for step in range(5):
        for arm in (None, "prowl", "frozen_reference"):
            log.write(stage="phase2", step=step, arm=arm, x=step)
        log.write(stage="world_model", step=step, x=step)
    log.truncate(stage="phase2", arm="prowl", step=2)

    def steps(stage, arm):
        return [r["step"] for r in read_metrics(tmp_path) if (r["stage"], r["arm"]) == (stage, arm)]

    assert steps("phase2", "prowl") == [0, 1, 2]
    assert (
        steps("phase2", "frozen_reference")
        == steps("phase2", None)
        == steps("world_model", None)
        == [*range(5)]
    )
    for step in (3, 4):  # a resumed stage writes them again, once
        log.write(stage="phase2", step=step, arm="prowl", x=step)
    assert steps("phase2", "prowl") == [*range(5)]
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_a_torn_last_line_is_left_out_and_not_glued_to_the_next(tmp_path):
    MetricsLog(tmp_path).write(stage="a", step=1)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "a", "st')
    assert [r["step"] for r in read_metrics(tmp_path)] == [1]
    MetricsLog(tmp_path).write(stage="a", step=2)
    assert [r["step"] for r in read_metrics(tmp_path)] == [1, 2]


def test_a_spoilt_line_in_the_middle_is_named(tmp_path):
    (tmp_path / "metrics.jsonl").write_text(
        '{"stage": "a", "step": 1}\nnonsense\n{"stage": "a", "step": 2}\n'
    )
    with pytest.raises(ValueError, match="metrics.jsonl, line 2"):
        read_metrics(tmp_path)


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def run(out, steps, total, seconds_a_step, first=1, **figures):
    clock = Clock()
    with Progress("world model", total, out=out, clock=clock) as progress:
        for step in range(first, first + steps):
            clock.now += seconds_a_step
            progress.update(step, **figures)
    return out.getvalue()


def test_rate_and_time_left_count_from_this_sessions_steps():
    # Resumed at step 1001: 200 steps of half a second each, 300 more to go.
    line = run(io.StringIO(), 200, 1500, 0.5, first=1001, loss=0.123456, psnr=25.123).splitlines()[-1]
    assert line == "world model  1200/1500  loss 0.1235  psnr 25.12  2.0 it/s  2:30 left"


def test_slow_steps_and_hours():
    line = run(io.StringIO(), 3, 5000, 4.0).splitlines()[-1]
    assert line == "world model  3/5000  4.0 s/it  5:33:08 left"


def test_a_pipe_gets_a_line_every_ten_seconds_and_the_last():
    lines = run(io.StringIO(), 100, 100, 0.35).splitlines()
    assert [line.split()[2] for line in lines] == ["1/100", "30/100", "59/100", "88/100", "100/100"]
    assert lines[-1].endswith("took 0:35")
    assert not any("\r" in line for line in lines)


def test_a_terminal_sees_one_line_rewritten():
    text = run(Terminal(), 100, 100, 0.35, loss=1.0)
    assert text.count("\n") == 1 and text.endswith("\n")
    assert text.count("\r") == 100


@pytest.mark.parametrize("out", [io.StringIO, Terminal])
def test_lines_are_under_80_columns(out):
    figures = {f"figure_number_{i}": 1.0 for i in range(20)}
    for line in run(out(), 5, 10, 20.0, **figures).replace("\r", "\n").splitlines():
        assert len(line) < 80
        if line.startswith("world model  3/10"):
            assert "figure_number_0 1.000" in line and line.rstrip().endswith("left")


def test_an_interrupt_ends_the_line_and_goes_on_up():
    out = Terminal()
    with pytest.raises(KeyboardInterrupt), Progress("x", 10, out=out) as progress:
        progress.update(1)
        progress.update(2)
        raise KeyboardInterrupt
    assert out.getvalue().endswith("\n") and "2/10" in out.getvalue()


def test_a_reader_that_went_away_does_not_end_the_work():
    out = io.StringIO()
    with Progress("x", 10, out=out) as progress:
        out.close()
        progress.update(1)


def test_no_step_no_line():
    assert run(Terminal(), 0, 10, 1.0) == ""
