"""Two devices compute what one computes. Two are pretended in one process of its own."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from prowl_jax.train.mesh import make_mesh, place_batch, replicate

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """What ``two_devices.py`` found."""
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2",
        "PYTHONPATH": str(ROOT),
    }
    script = pathlib.Path(__file__).with_name("two_devices.py")
    directory = tmp_path_factory.mktemp("two_devices")
    done = subprocess.run(
        [sys.executable, script, directory],
        env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_two_devices_learn_what_one_learns(two):
    assert two["devices"] == 2 and two["mesh"] == {"data": 2, "fsdp": 1}
    one, both = two["losses"]
    np.testing.assert_allclose(both, one, rtol=1e-5)
    assert one[0] != one[1] and two["moved"] > 1e-2, "nothing was learned"
    assert two["apart"] < 1e-5


def test_a_batch_is_split_and_the_state_is_whole(two):
    assert two["rows on each device"] == [2, 2] and two["rows are in order"]
    assert two["state is whole everywhere"]


def test_one_program_for_each_placement(two):
    assert two["programs"] == 2  # one device, two devices; three steps each


def test_a_checkpoint_of_one_device_is_restored_on_two(two):
    assert two["restored on"] == [2] and two["restored is"]


def test_what_does_not_divide_is_refused(two):
    assert two["three rows"] == "3 rows of a batch do not divide over 2 devices"
    assert two["too many"] == "a mesh of data=2 x fsdp=2 does not use 2 devices exactly"
    assert two["fsdp mesh"] == {"data": 1, "fsdp": 2}


def test_on_one_device_all_of_it_is_a_no_op():
    mesh = make_mesh(devices=jax.devices()[:1])
    rows = np.arange(6).reshape(3, 2)
    np.testing.assert_array_equal(place_batch(mesh, {"x": rows})["x"], rows)
    np.testing.assert_array_equal(replicate(mesh, rows), rows)
    with pytest.raises(ValueError, match="data=2 x fsdp=1 does not use 1 devices"):
        make_mesh(data=2, devices=jax.devices()[:1])
