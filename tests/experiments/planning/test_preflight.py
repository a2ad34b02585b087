"""The memory line before training: what grows with a key grows as that key, and what does not fit is said."""

import re

import jax
import psutil
import pytest

from experiments.configs import minerl_wan, quickstart
from experiments.planning import preflight


def sizes(**changes):
    config = quickstart.get_config("scratch")
    for key, value in changes.items():
        group, name = key.split("__")
        config[group][name] = value
    return {part.lower: part.bytes for part in preflight.parts(config)}


@pytest.mark.parametrize(
    ("key", "part"),
    [("phase2__capacity", "phase2.capacity or phase2.horizon"), ("phase2__trajectories", "phase2.trajectories")],
)
def test_twice_the_entries_are_twice_the_bytes(key, part):
    group, name = key.split("__")
    twice = 2 * quickstart.get_config("scratch")[group][name]
    assert sizes(**{key: twice})[part] == pytest.approx(2 * sizes()[part], rel=1e-3)


def test_the_parameters_are_counted_with_average_moments_and_gradient():
    assert sizes()["the size of the network"] == 4 * 5 * 1_254_816  # as phase 1 prints them


def test_wan_s_autoencoder_is_not_trained_but_encodes_what_a_cycle_collects():
    """At least the frames in float32 and, of one group, an input and an output of the first layers."""
    config = minerl_wan.get_config("reduced")
    parts = {part.name: part for part in preflight.parts(config)}
    assert "a step of the autoencoder" not in parts
    encoding = parts["encoding with Wan's autoencoder"]
    clip = 33 * 3 * 32 * 48 * 4
    assert encoding.lower == "phase2.trajectories" and encoding.bytes > config.phase2.trajectories * clip
    config.phase2.trajectories *= 2
    twice = next(part for part in preflight.parts(config) if part.name == encoding.name)
    assert twice.bytes == pytest.approx(2 * encoding.bytes, rel=0.01)


def test_remat_keeps_one_block():
    step = "world_model.batch or world_model.window, or set world_model.remat=True"
    assert sizes()[step] == 4 * sizes(world_model__remat=True)[step]


@pytest.mark.parametrize(
    ("there", "said"), [(1e6, "likely too little, lower autoencoder.batch"), (1e12, "free on the host")]
)
def test_what_does_not_fit_is_said(there, said, capsys):
    preflight.say(quickstart.get_config("scratch"), there, "free on the host")
    assert capsys.readouterr().out.rstrip().endswith(said)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="of a host")
def test_what_there_is_is_asked_of_the_machine(capsys):
    ours, where = preflight.available()
    assert where == "free on the host"
    assert ours == pytest.approx(psutil.virtual_memory().available, rel=0.3) and ours < psutil.virtual_memory().total
    preflight.say(quickstart.get_config("scratch"))
    said = float(re.search(r"; ([\d.e+]+) GB free on the host", capsys.readouterr().out)[1])
    assert said == pytest.approx(ours / 1e9, rel=0.3)
