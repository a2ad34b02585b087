"""Phase 2: PROWL and the arms it is compared with (``experiments/stages/arms.py``), from the same theta_0 with the same budget.

``parts`` is what every arm is made of; ``host`` runs cycles against environments in processes, ``device`` whole
cycles as one program where the environment lives on the device.
"""

from experiments.stages.phase2 import device, host
from experiments.stages.phase2.device import run_arms
from experiments.stages.phase2.parts import (
    actions_path,
    budget,
    env_seeds,
    example_item,
    initial_state,
    load_arm,
    load_state,
    make_programs,
    starting_point,
    teach_ensemble,
    trajectory_length,
    tuner,
)

__all__ = [
    "actions_path",
    "budget",
    "env_seeds",
    "example_item",
    "initial_state",
    "load_arm",
    "load_state",
    "make_programs",
    "run_arm",
    "run_arms",
    "starting_point",
    "teach_ensemble",
    "trajectory_length",
    "tuner",
]


def run_arm(run, arm):
    """All cycles of one arm, as ``phase2.program`` says; returns the figures of the last."""
    return {"host": host, "device": device}[run.config.phase2.program].run_arm(run, arm)
