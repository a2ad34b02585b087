"""Two processes train together, stop, and one process goes on from what they saved."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import ml_collections
import numpy as np
import pytest

from experiments.configs.quickstart import get_config
from experiments.run import processes
from experiments.run.config_file import UsageError
from experiments.run.metrics_log import read_metrics
from experiments.stages import build

ROOT = pathlib.Path(__file__).parents[3]
SCRIPT = pathlib.Path(__file__).with_name("two_processes.py")


def start(workdir, stop_after, *changes, **environment):
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_collective_call_terminate_timeout_seconds=600"
    environment = {
        **os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT), "XLA_FLAGS": flags, **environment,
    }  # fmt: skip
    command = [sys.executable, SCRIPT, workdir, str(stop_after), *changes]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
    out, err = process.communicate(timeout=900)
    assert process.returncode == 0, err[-3000:]
    return out, err


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """``together``: two processes for two steps, then one for two. ``alone``: one process for all four."""
    together, alone = tmp_path_factory.mktemp("together"), tmp_path_factory.mktemp("alone")
    coordinator = f"127.0.0.1:{free_port()}"
    pair = [
        start(
            together, 2, "distributed=True", "fsdp=2",
            JAX_COORDINATOR_ADDRESS=coordinator, JAX_NUM_PROCESSES="2", JAX_PROCESS_ID=str(i),
        )
        for i in range(2)
    ]  # fmt: skip
    said = [finish(process) for process in pair]
    stopped_at = [row["step"] for row in read_metrics(together)]
    finish(start(together, -1))
    finish(start(alone, -1))
    return {"together": together, "alone": alone, "said": said, "stopped at": stopped_at}


def test_one_process_goes_on_from_what_two_saved_with_the_losses_of_one(runs):
    rows = {name: read_metrics(runs[name]) for name in ("together", "alone")}
    assert runs["stopped at"] == [1, 2]
    assert [row["step"] for row in rows["together"]] == [1, 2, 3, 4]
    losses = {name: [row["loss"] for row in of] for name, of in rows.items()}
    np.testing.assert_allclose(losses["together"], losses["alone"], rtol=1e-4)
    assert len(set(losses["alone"])) == 4


def test_each_held_a_part_and_the_first_alone_spoke(runs):
    (out_0, err_0), (out_1, err_1) = runs["said"]
    for i, err in enumerate((err_0, err_1)):
        (line,) = [line for line in err.splitlines() if "arrays split" in line]
        assert line.startswith(f"process {i} of 2") and int(line.split()[4]) > 50
    assert "demonstrations" in out_0 and "demonstrations" not in out_1
    assert "world_model  2/4" in err_0 and "world_model  2/4" not in err_1
    assert json.loads((runs["together"] / "config.json").read_text())["mesh"]["fsdp"] == 2


def test_the_last_parameters_are_those_of_one(runs):
    one, other = (np.load(runs[name] / "head_0_4.npy") for name in ("alone", "together"))
    assert np.abs(one).max() > 1e-4
    np.testing.assert_allclose(other, one, atol=1e-5)


def test_each_process_reads_the_whole_by_itself(runs):
    first, second = (np.load(runs["together"] / f"head_{i}_2.npy") for i in (0, 1))
    np.testing.assert_array_equal(first, second)
    assert np.abs(first).max() > 1e-4


def test_who_the_others_are_must_be_known(monkeypatch):
    config = ml_collections.ConfigDict({"mesh": {"distributed": True}})
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "127.0.0.1:1")
    monkeypatch.setenv("JAX_NUM_PROCESSES", "two")
    with pytest.raises(UsageError, match="JAX_NUM_PROCESSES=two is not a whole number"):
        processes.start(config)
    monkeypatch.setenv("JAX_NUM_PROCESSES", "2")
    monkeypatch.setenv("JAX_PROCESS_ID", "5")
    with pytest.raises(UsageError, match="mesh.distributed=True, but the processes do not find each other"):
        processes.start(config)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"mesh.data": 3}, "a mesh of data=3 x fsdp=1 does not use 1 devices exactly; set mesh.data and mesh.fsdp"),
        ({"mesh.fsdp": 2}, "a mesh of data=0 x fsdp=2 does not use 1 devices exactly"),
    ],
)
def test_a_mesh_that_does_not_fit_the_devices_is_refused(changes, words):
    config = get_config("scratch")
    config.update_from_flattened_dict(changes)
    with pytest.raises(UsageError, match=words):
        build.check_mesh(config)


def test_batches_that_do_not_divide_over_the_devices_are_refused():
    config = get_config("scratch")
    build.checks.check_division(config, 8)
    config.world_model.batch, config.phase2.capacity = 12, 100
    with pytest.raises(UsageError, match="world_model.batch=12, phase2.capacity=100 do not divide over 8 devices"):
        build.checks.check_division(config, 8)
    build.checks.check_division(config, 4)
    config.arms = ()
    with pytest.raises(UsageError, match="world_model.batch=12 does not divide over 8 devices"):
        build.checks.check_division(config, 8)


def test_the_devices_of_the_mesh_are_counted():
    """Eight pretended ones, of which the whole configuration uses all."""
    script = (
        "from experiments.configs.quickstart import get_config; from experiments.stages import build\n"
        "config = get_config('scratch'); config.mesh.data, config.world_model.batch = -1, 12\n"
        "try: build.check_mesh(config)\n"
        "except Exception as error: print(error)"
    )
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "world_model.batch=12 does not divide over 8 devices"
