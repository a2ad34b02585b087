"""The arms of phase 2: one row each, what it changes of the configuration and what rewards its policy.

All arms start from the same theta_0 and pi_ref and spend the same updates, tokens and environment
steps. This module knows no JAX, so that a mistyped arm is answered at once.
"""

import copy
import dataclasses


@dataclasses.dataclass(frozen=True)
class Arm:
    """One arm.

    Attributes:
      says: what it is, for tables.
      reward: what its policy is paid: "score", the composite score; "disagreement", of an ensemble
        (Plan2Explore); None where the policy rests and stays pi_ref.
      changes: configuration key -> value.
      anchor: which of ``adversary.kl_costs`` is its c_kl; None keeps ``adversary.kl_cost``.
    """

    says: str
    reward: str | None = "score"
    changes: dict = dataclasses.field(default_factory=dict)
    anchor: str | None = None


ARMS = {
    "frozen_reference": Arm("the same loop, the policy never updated: the paper's VPT-frozen", reward=None),
    "prowl": Arm("the whole method"),
    "passive": Arm("demonstrations alone", reward=None, changes={"phase2.pat_share": 0.0}),
    "uniform": Arm("PAT drawn uniformly", changes={"phase2.priority": "uniform", "phase2.staleness": 0.0}),
    "no_progress": Arm("no Delta in the priorities", changes={"phase2.delta_scale": 0.0}),
    "no_afs": Arm("no AFS in the score", changes={"phase2.lambda_afs": 0.0}),
    "unanchored": Arm("weak anchor", anchor="weak"),
    "broad": Arm("lambda 0.10, middle anchor", changes={"phase2.lambda_afs": 0.10}, anchor="middle"),
    "focused": Arm("lambda 0.25, strong anchor", changes={"phase2.lambda_afs": 0.25}, anchor="strong"),
    "disagreement": Arm("rewarded by an ensemble's disagreement (Plan2Explore)", reward="disagreement"),
}
"""Name -> arm. ``unanchored``, ``broad`` and ``focused`` are the paper's three regimes."""


def configured(config, arm):
    """A copy of ``config`` as ``arm`` wants it; the run's own is left as it is."""
    config, row = copy.deepcopy(config), ARMS[arm]
    with config.unlocked():
        for key, value in row.changes.items():
            group, name = key.split(".")
            config[group][name] = value
        if row.anchor is not None:
            config.adversary.kl_cost = config.adversary.kl_costs[row.anchor]
    return config


def learns_from_found(config, arm):
    """Whether the arm's world model is trained on what its policy found."""
    return configured(config, arm).phase2.pat_share > 0
