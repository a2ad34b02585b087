"""The figures of a run as a file: rows come back, torn lines are dropped, a resumed stage writes its rows once."""

import json
import math

import numpy as np
import pytest

from experiments.run import metrics_log
from experiments.run.metrics_log import MetricsLog, read_metrics


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


def test_a_row_has_its_wall_time_and_keeps_it_when_others_go(tmp_path, monkeypatch):
    log = MetricsLog(tmp_path)
    for step in (1, 2):
        monkeypatch.setattr(metrics_log.time, "time", lambda step=step: 1000.0 + step)
        log.write(stage="a", step=step)
    log.truncate(stage="a", step=1)
    assert read_metrics(tmp_path, wall_time=True) == [{"stage": "a", "arm": None, "step": 1, "wall_time": 1001.0}]
    assert read_metrics(tmp_path) == [{"stage": "a", "arm": None, "step": 1}]
