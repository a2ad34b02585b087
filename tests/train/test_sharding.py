"""Parameters split by path and a buffer split by slot give what one device gives. Eight are pretended."""

import dataclasses
import json
import os
import pathlib
import socket
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from prowl_jax.train.mesh import make_mesh
from prowl_jax.train.sharding import (
    DIT_RULES,
    LOOP_RULES,
    WORLD_MODEL_RULES,
    compiled,
    on_mesh,
    program,
    shard_state,
    shardings,
)

ROOT = pathlib.Path(__file__).parents[2]
ABSOLUTE = {"return": 1e-4}
"""The mean of z-scores of order 1 is 0 but for rounding."""


def found_by(name, devices):
    """What a script beside this one prints in a process with so many pretended devices."""
    return finish(start(name, devices))


def start(name, devices, **environment):
    script = pathlib.Path(__file__).with_name(name)
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        # On a crowded machine pretended devices may wait long for each other.
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices} "
        "--xla_cpu_collective_call_terminate_timeout_seconds=600",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{script.parent}",
        **environment,
    }
    return subprocess.Popen(
        [sys.executable, script], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process):
    out, err = process.communicate(timeout=900)
    assert process.returncode == 0, err[-3000:]
    return json.loads(out.splitlines()[-1])


@pytest.fixture(scope="module")
def eight():
    return found_by("eight_devices.py", 8)


@pytest.fixture(scope="module")
def cycles():
    return found_by("cycle_on_devices.py", 4)


def test_every_mesh_learns_what_one_device_learns(eight):
    one = eight["losses"]["1"]
    assert len(set(one)) == len(one) == 4 and set(eight["losses"]) > {"4 data", "8 fsdp", "2 x 4"}
    for mesh, losses in eight["losses"].items():
        np.testing.assert_allclose(losses, one, rtol=1e-5, err_msg=mesh)
        assert eight["apart"][mesh] < 1e-5
    assert set(eight["programs"].values()) == {1}


def test_matrices_their_average_and_their_momentum_are_split_alike(eight):
    split = eight["split"]
    assert split["params/block_0/self_attention/to_q/kernel"] == [[24, 24], [24, 3]]
    assert split["params/block_0/ffn_out/kernel"] == [[32, 24], [4, 24]]
    of_params = {name.removeprefix("params/"): part for name, part in split.items() if name.startswith("params/")}
    assert len(of_params) == 17 and not any(name.endswith("bias") for name in of_params)
    for place in ("ema", "opt_state/0/trace"):
        assert {n.removeprefix(f"{place}/"): part for n, part in split.items() if n.startswith(place)} == of_params
    assert eight["split by data"] == {}


def test_a_buffer_split_by_slot_is_the_same_buffer(eight):
    assert eight["buffers are"] == eight["draws are"] == {"1": True, "8 data": True, "2 x 4": True}
    assert eight["items on each device"] == {"1": 16, "8 data": 2, "2 x 4": 2}


def test_no_device_ever_holds_all_items(eight):
    assert eight["gathered whole"] == {"1": [], "8 data": [], "2 x 4": []}


def test_a_table_that_does_not_fit_is_refused(eight):
    assert eight["no rule"].startswith("no sharding rule fits ema/")
    assert "has shape [10, 24], its sharding rule P(None, None, 'fsdp') more dimensions" in eight["too many dimensions"]
    assert "names axis 'model'; the mesh has ('data', 'fsdp')" in eight["no such axis"]


def test_two_cycles_on_four_devices_are_those_of_one(cycles):
    for one, four in zip(cycles["one"], cycles["four"], strict=True):
        assert one.keys() == four.keys() and {"regret", "kl_to_reference", "world_model_loss"} < one.keys()
        for name, value in one.items():
            np.testing.assert_allclose(four[name], value, rtol=1e-3, atol=ABSOLUTE.get(name, 1e-5), err_msg=name)
    assert cycles["one"][0]["regret"] != cycles["one"][1]["regret"]
    slots, slots_of_four = cycles["slots"]
    assert slots == slots_of_four and sum(slots) == 7


def test_two_cycles_of_two_processes_are_those_of_one(cycles):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{free.getsockname()[1]}"
    pair = [
        start("cycle_on_devices.py", 1, JAX_COORDINATOR_ADDRESS=coordinator, JAX_PROCESS_ID=str(i)) for i in range(2)
    ]
    first, second = map(finish, pair)
    assert first == second and first["slots of each"] == [4]
    for one, two in zip(cycles["one"], first["two"], strict=True):
        assert one.keys() == two.keys()
        for name, value in one.items():
            np.testing.assert_allclose(two[name], value, rtol=1e-3, atol=ABSOLUTE.get(name, 1e-5), err_msg=name)


def test_phase_2_leaves_everything_where_it_lies(cycles):
    assert cycles["moved from where they lay"] == []
    # theta's matrices with their average, and the four arrays of an item
    assert cycles["split"] == 2 * (4 + 2) + 4


EIGHT = jax.sharding.AbstractMesh((2, 4), ("data", "fsdp"))
"""Enough of a mesh to ask the tables, without its devices."""


@pytest.mark.parametrize(
    "rules, path, size, part",
    [
        (DIT_RULES, "params/block_3/ffn_in/kernel", (8, 12), (None, "fsdp")),
        (DIT_RULES, "opt_state/1/0/nu/block_3/ffn_out/kernel", (12, 8), ("fsdp",)),
        (DIT_RULES, "params/block_3/ffn_in/kernel", (8, 13), ()),  # 13 does not divide by 4
        (DIT_RULES, "params/block_3/ffn_in/bias", (12,), ()),
        (DIT_RULES, "params/block_3/self_attention/to_q/lora_in", (8, 4), ()),
        (DIT_RULES, "params/block_3/self_attention/to_q/lora_out", (4, 8), (None, "fsdp")),
        (DIT_RULES, "opt_state/1/0/mu/block_3/cross_attention/to_out/lora_in", (8, 4), ("fsdp",)),
        (LOOP_RULES, "theta/ema/block_3/cross_attention/to_out/lora_out", (4, 8), ()),
        (LOOP_RULES, "theta/params/block_3/cross_attention/to_v/lora_out", (4, 8), (None, "fsdp")),
        (DIT_RULES, "step", (), ()),
        (WORLD_MODEL_RULES, "dit/block_0/self_attention/to_v/kernel", (8, 8), (None, "fsdp")),
        (WORLD_MODEL_RULES, "oracle/block_0/self_attention/to_v/kernel", (8, 8), (None, "fsdp")),
        (WORLD_MODEL_RULES, "autoencoder/head/kernel", (8, 8), ()),
        (LOOP_RULES, "theta/ema/block_0/cross_attention/to_out/kernel", (8, 8), ("fsdp",)),
        (LOOP_RULES, "before/block_0/cross_attention/to_out/kernel", (8, 8), ("fsdp",)),
        (LOOP_RULES, "old/block_0/cross_attention/to_out/kernel", (8, 8), ("fsdp",)),
        (LOOP_RULES, "phi/params/head/kernel", (8, 8), ()),
        (LOOP_RULES, "buffer/items/latents", (16, 3, 2), (("data", "fsdp"),)),
        (LOOP_RULES, "buffer/items/latents", (12, 3, 2), ()),
        (LOOP_RULES, "buffer/raw/regret", (16,), ()),
    ],
)
def test_the_tables_place(rules, path, size, part):
    tree = leaf = {}
    *names, last = path.split("/")
    for name in names:
        leaf = leaf.setdefault(name, {})
    leaf[last] = jax.ShapeDtypeStruct(size, "float32")
    (placed,) = jax.tree.leaves(shardings(EIGHT, tree, rules))
    spec = placed.spec
    assert placed.mesh == EIGHT
    assert tuple(p for p in spec if p) == tuple(p for p in part if p)
    assert spec == PartitionSpec(*part, *(None,) * (len(spec) - len(part)))


def test_on_one_device_everything_lies_there():
    state = {"params": {"ffn_in": {"kernel": np.ones((2, 4), np.float32)}}}
    placed = shard_state(make_mesh(devices=jax.devices()[:1]), state, DIT_RULES)
    np.testing.assert_array_equal(placed["params"]["ffn_in"]["kernel"], state["params"]["ffn_in"]["kernel"])


@dataclasses.dataclass(frozen=True)
class Programs:
    learn: Any = program(("theta", "whole"), donates=(0,))
    look: Any = program("rows")
    rest: Any = program("whole")


@dataclasses.dataclass(frozen=True)
class State:
    theta: Any


jax.tree_util.register_dataclass(State)


def test_every_program_says_where_its_results_lie():
    mesh = make_mesh(devices=jax.devices()[:1])
    state = shard_state(mesh, State(jnp.zeros(2)), LOOP_RULES)
    placed = on_mesh(mesh, Programs(lambda theta: (theta + 1, theta.sum()), lambda x: 2 * x, None), state)
    theta, total = placed.learn(state.theta)
    assert state.theta.is_deleted() and theta.tolist() == [1, 1] and total == 0
    assert placed.look(jnp.ones(2)).tolist() == [2, 2] and placed.rest is None


def test_a_new_program_does_not_silently_stay_unsharded():
    @dataclasses.dataclass(frozen=True)
    class Grown(Programs):
        forgotten: Any = None

    mesh = make_mesh(devices=jax.devices()[:1])
    state = shard_state(mesh, State(jnp.zeros(2)), LOOP_RULES)
    for compile_all in (compiled, lambda programs: on_mesh(mesh, programs, state)):
        with pytest.raises(ValueError, match="Grown.forgotten: declare with sharding.program what it gives"):
            compile_all(Grown(None, None, None, lambda x: x))
