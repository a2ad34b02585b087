"""Phase 2: the arms that are compared (``experiments/stages/arms.py``), from the same theta_0 with the same budget.

``parts`` is what every arm is made of; ``host`` runs cycles from Python, around environments in processes; ``device``
whole cycles as one program where the environment lives on the device. Both call ``Method.cycle``.
"""

from experiments.stages.phase2.device import run_arm_on_device, run_arms_side_by_side
from experiments.stages.phase2.host import run_arm_on_host
from experiments.stages.phase2.parts import (
    Done,
    actions_path,
    env_seeds,
    finders,
    initial_state,
    load_arm,
    load_state,
    planted,
    saved_arms,
    spent,
    starting_point,
    trajectory_length,
)

__all__ = [
    "Done",
    "actions_path",
    "env_seeds",
    "finders",
    "initial_state",
    "load_arm",
    "load_state",
    "planted",
    "run_arm",
    "run_arm_on_device",
    "run_arm_on_host",
    "run_arms_side_by_side",
    "saved_arms",
    "spent",
    "starting_point",
    "trajectory_length",
]


def run_arm(run, arm):
    """All cycles of one arm, as ``phase2.program`` says; returns the figures of the last."""
    return {"host": run_arm_on_host, "device": run_arm_on_device}[run.config.phase2.program](run, arm)
