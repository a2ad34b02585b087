"""Several cycles in one call: which of them went wrong, what is left out, and what a resumed run knows of it."""

import ml_collections
import numpy as np
import pytest

from experiments.run import divergence
from experiments.run.directory import Run
from experiments.run.metrics_log import read_metrics
from experiments.stages.phase2 import device
from prowl_jax.methods.one_program import Cycle
from prowl_jax.train.checkpoint import Checkpoints

CYCLES, A_CALL = 5, 2


class Free:
    """A method that spends nothing."""

    def spent(self):
        return {}


@pytest.fixture
def arm():
    """``run_arm_on_device`` of a program that adds up its draws and spoils the loss or the state in some of them."""
    bad = {}

    def program(env, demonstrations, state, start, draws, key):
        total, losses, finite = state["total"], [], []
        for draw in draws:
            total = total * 10 + draw if bad.get(draw) != "state" else total * np.nan
            losses.append(np.nan if bad.get(draw) == "loss" else 1.0 + draw)
            finite.append(bool(np.isfinite(total)))
        filled = np.ones(len(draws))
        metrics = {"world_model_loss": np.asarray(losses), "pat_filled": filled}
        return {"total": total}, Cycle(metrics, None, np.asarray(finite))

    counted = device.ArmProgram(
        method=Free(), program=program, env=None, demonstrations=None, planner=lambda run: list,
        begin=lambda run: (None, {"total": np.float64(0)}), prepare=lambda run, state, start: state,
    )  # fmt: skip

    def run_arm(workdir, broken, on_nan="rewind"):
        bad.clear()
        bad.update(broken)
        config = ml_collections.ConfigDict({
            "seed": 3, "env": {"task": ""}, "phase2": {"cycles": CYCLES, "cycles_per_call": A_CALL, "keep_cycles": ()},
            "checkpoint_keep": 2, "checkpoint_best": False, "loss_limit": 1e4, "on_nan": on_nan, "rewinds": 2,
        })  # fmt: skip
        run = Run(workdir, config)
        device.run_arm_on_device(run, "prowl", lambda runs, arm: counted)
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
