"""Memory per device from shapes: what lies on a device is counted by hand, and splitting shrinks it."""

import subprocess
import sys

import jax
import pytest

from experiments.planning.memory_per_device import memory_of_step
from prowl_jax.models.dit.dit import DiT
from prowl_jax.train.state import count

TINY = {"width": 24, "depth": 1, "heads": 2, "ffn": 32}


def test_one_device_holds_everything():
    figures = memory_of_step(TINY, 1, 1, 1, (3, 2, 2))
    shapes = jax.eval_shape(
        lambda: DiT(channels=16, action_sizes=(3, 3, 2, 11, 11), **TINY).init(
            jax.random.key(0), jax.numpy.zeros((1, 3, 2, 2, 16)), jax.numpy.zeros((1, 1)),
            jax.numpy.zeros((1, 3, 1, 5), int),
        )
    )  # fmt: skip
    assert figures["parameters"] == figures["trained"] == count(shapes)
    # Parameters, average and two moments in float32; three counters of the optimiser and the step.
    assert figures["state"] == pytest.approx(16 * count(shapes), abs=16)
    assert figures["inputs"] == 4 * (3 * 2 * 2 * 16 + 3 * 5)
    assert figures["temporary"] > 4 * figures["trained"]  # at least the gradients


def test_phase_2_keeps_less_and_is_given_the_rest():
    whole, part = (memory_of_step(TINY, phase, 1, 1, (3, 2, 2), compiled=False) for phase in (1, 2))
    assert part["parameters"] == whole["parameters"] and 0 < part["trained"] < whole["trained"]
    assert part["state"] == pytest.approx(16 * part["trained"], abs=16)
    assert part["inputs"] - whole["inputs"] == 4 * (part["parameters"] - part["trained"])


def test_the_command_splits_over_eight():
    command = "experiments.memory_per_device --sizes S --phases 1 --meshes 1x1 8x1 1x8 --placement-only"
    done = subprocess.run([sys.executable, "-m", *command.split()], capture_output=True, text=True, check=True)
    one, data, fsdp = (float(row.split("|")[6].replace(",", "")) for row in done.stdout.splitlines()[2:])
    assert one == data and one / 8 <= fsdp < one / 6
