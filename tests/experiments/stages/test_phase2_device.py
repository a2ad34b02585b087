"""Several cycles in one call: which of them went wrong, what is left out, and what a resumed run knows of it."""

import ml_collections
import numpy as np
import pytest

from experiments.run import divergence
from experiments.run.directory import Run
from experiments.run.metrics_log import read_metrics
from experiments.stages import build
from experiments.stages.phase2 import device, parts
from prowl_jax.methods.one_program import Cycle
from prowl_jax.train.checkpoint import Checkpoints

CYCLES, A_CALL = 5, 2


@pytest.fixture
def arm(monkeypatch):
    """``run_arm`` around a program that adds up its draws and spoils the loss or the state in some of them."""
    bad = {}

    def program(env, demonstrations, state, start, draws, key):
        total, losses, finite = state["total"], [], []
        for draw in draws:
            total = total * 10 + draw if bad.get(draw) != "state" else total * np.nan
            losses.append(np.nan if bad.get(draw) == "loss" else 1.0 + draw)
            finite.append(bool(np.isfinite(total)))
        filled = np.ones(len(draws))
        metrics = {"world_model_loss": np.asarray(losses), "pat_filled": filled}
        actions = np.zeros((len(draws), 1, 2, 1), np.int32)
        return {"total": total}, Cycle(metrics, actions, np.asarray(finite))

    for name, value in {
        "build_program": lambda *_: program, "planner": lambda *_: list, "on_device": lambda *_: None,
    }.items():  # fmt: skip
        monkeypatch.setattr(device, name, value)
    for name, value in {
        "starting_point": lambda *_: None, "initial_state": lambda *_: {"total": np.float64(0)},
        "prepare": lambda run, config, method, state: state, "camera": lambda *_: {}, "spent": lambda *_: {},
    }.items():  # fmt: skip
        monkeypatch.setattr(parts, name, value)
    for name in ("spec_of", "make_device_env", "make_method", "stage_key"):
        monkeypatch.setattr(build, name, lambda *_: None)

    def run_arm(workdir, broken, on_nan="rewind"):
        bad.clear()
        bad.update(broken)
        config = ml_collections.ConfigDict({
            "seed": 3, "env": {"task": ""}, "phase2": {"cycles": CYCLES, "cycles_per_call": A_CALL},
            "checkpoint_keep": 2, "checkpoint_best": False, "loss_limit": 1e4, "on_nan": on_nan, "rewinds": 2,
        })  # fmt: skip
        run = Run(workdir, config)
        device.run_arm(run, "prowl")
        with Checkpoints(run.checkpoints("phase2/prowl")) as checkpoints:
            arrays, notes = checkpoints.read()
        return float(next(iter(arrays.values()))), notes.get("skipped"), read_metrics(workdir)

    return run_arm


def test_the_bad_cycle_of_a_call_is_left_out_and_no_other(arm, tmp_path):
    """Draws 1 and 4 are the second cycle of their calls: the first stays."""
    assert arm(tmp_path / "good", {})[:2] == (1234.0, None)
    total, skipped, rows = arm(tmp_path / "bad", {1: "loss", 4: "state"})
    assert (total, skipped) == (2356.0, [1, 4])
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5]
    assert [row["world_model_loss"] for row in rows] == [1.0, 3.0, 4.0, 6.0, 7.0]


def test_it_is_named_not_saved_and_remembered_by_the_next_call(arm, tmp_path):
    with pytest.raises(divergence.BadNumbers, match=r"state is not finite .* in cycle 4; .*\(seed 3, index 3\)"):
        arm(tmp_path, {3: "state"}, on_nan="stop")
    with Checkpoints(tmp_path / "checkpoints" / "phase2" / "prowl") as checkpoints:
        assert checkpoints.steps() == [2]
    assert arm(tmp_path, {3: "state"})[:2] == (1245.0, [3])


def test_it_ends_after_so_many_times(arm, tmp_path):
    with pytest.raises(divergence.BadNumbers, match="index 4.*rewinds=2"):
        arm(tmp_path, {2: "loss", 3: "loss", 4: "loss"})
