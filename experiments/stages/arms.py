"""The arms of phase 2: a method and settings of it, one row each.

All arms start from the same theta_0 and pi_ref and have the same budget (``methods.base.Budget``). What an arm is,
whether it trains a policy, what it found, what it spent, is asked of its method (``methods.make_method``), never of its
name.
"""

import copy
import dataclasses

from prowl_jax.settings import NOT_NEGATIVE, setting, some_of


@dataclasses.dataclass(frozen=True)
class Arm:
    """One arm.

    Attributes:
      says: what it is, for tables.
      method: a name in ``prowl_jax.methods.METHODS``.
      settings: configuration key -> value.
      same_as: configuration key -> key whose value it takes.
      own: fields of the method's ``Config`` for which the configuration has no key, and their values.
      compared: whether all arms after it are compared with it.
    """

    says: str
    method: str = "prowl"
    settings: dict = dataclasses.field(default_factory=dict)
    same_as: dict = dataclasses.field(default_factory=dict)
    own: dict = dataclasses.field(default_factory=dict)
    compared: bool = False


def _anchored(strength, says, **settings):
    """The paper's regimes: a c_kl of ``adversary.kl_costs``."""
    return Arm(says, settings=settings, same_as={"adversary.kl_cost": f"adversary.kl_costs.{strength}"})


def _scored(score, says, method="prowl"):
    """Another raw score in regret's place, alone and without its change."""
    changed = {"phase2.score": score, "phase2.lambda_afs": 0.0, "phase2.delta_scale": 0.0}
    return Arm(says, method, changed)


def _branched(baseline):
    """Four branches of a state; for the warm-ups that these save, more trajectories: the same environment steps."""
    return {"phase2.branches": 4, "phase2.branch_baseline": baseline, "phase2.equal_steps": True}


RESTS = {"reward": None}
"""The policy is paid nothing and stays pi_ref."""

ARMS = {
    "frozen_reference": Arm(
        "the same loop, the policy never updated: the paper's VPT-frozen", own=RESTS, compared=True
    ),
    "prowl": Arm("the whole method", compared=True),
    "passive": Arm("demonstrations alone", settings={"phase2.pat_share": 0.0}, own=RESTS, compared=True),
    "uniform": Arm("PAT drawn uniformly", settings={"phase2.priority": "uniform", "phase2.staleness": 0.0}),
    "no_progress": Arm("no Delta in the priorities", settings={"phase2.delta_scale": 0.0}),
    "no_afs": Arm("no AFS in the score", settings={"phase2.lambda_afs": 0.0}),
    "action_fidelity": _scored("afs", "AFS alone: not what is hard, but what does not follow its actions"),
    "unanchored": _anchored("weak", "weak anchor"),
    "broad": _anchored("middle", "lambda 0.10, middle anchor", **{"phase2.lambda_afs": 0.10}),
    "focused": _anchored("strong", "lambda 0.25, strong anchor", **{"phase2.lambda_afs": 0.25}),
    "disagreement": Arm("rewarded by an ensemble's disagreement (Plan2Explore)", own={"reward": "disagreement"}),
    "predicted_error": Arm("rewarded by the error that a head expects of the dream", own={"reward": "predicted_error"}),
    "spread_corrected": _scored("spread_corrected", "regret without what a calibrated model cannot help, of 4 dreams"),
    "energy": _scored("energy", "energy score of 4 dreams, which blur does not lower"),
    "learnability": _scored("learnability", "p(1-p), p the share of 4 dreams that beat a still picture"),
    "reducible": _scored("reducible", "regret above an oracle's (RHO-LOSS)"),
    "learning_progress": _scored("learning_progress", "regret a cycle ago less regret now, also of what is new (LPM)"),
    "keeps_progress": Arm("Delta with the other sign: what gets better is kept", settings={"phase2.delta_scale": -1.0}),
    "prowl_branched": Arm(
        "each four trajectories from one state, each paid for what it found more than the others",
        settings=_branched("siblings"),
    ),
    "prowl_against_reference": Arm(
        "each four from one state, the first by pi_ref: the others are paid for what they found more than it",
        settings=_branched("reference"),
    ),
    "fine_tuned": Arm("demonstrations alone, and nobody acts or dreams", method="fine_tune", compared=True),
    "best_of_n": Arm("the best of N dreams of each context, trained on as data", method="best_of_n"),
    "nft": Arm("branches of own rollouts, rewarded and contrasted (PersistWorld)", method="nft"),
    "grpo": Arm("the sampler's steps reinforced by group-relative rewards (RLIR)", method="grpo"),
    "prowl_nft": Arm("NFT, half of its branches in pasts that PROWL's adversary found", method="prowl_nft"),
    "prowl_grpo": Arm("GRPO, half of its groups in pasts that PROWL's adversary found", method="prowl_grpo"),
    "prowl_nft_learnable": _scored(
        "learnability", "the same NFT, found pasts by p(1-p), p the share of 4 dreams that are right", "prowl_nft"
    ),
    "prowl_grpo_learnable": _scored(
        "learnability", "the same GRPO, found pasts by p(1-p), p the share of 4 dreams that are right", "prowl_grpo"
    ),
}
"""Name -> arm. ``unanchored``, ``broad`` and ``focused`` are the paper's three regimes."""

OF_SINGLE_FRAMES = tuple(
    name for name, arm in ARMS.items() if arm.own.get("reward") in ("disagreement", "predicted_error")
)
"""The arms whose policy is paid by a network beside the world model, which takes a latent a frame."""

ORACLED = tuple(name for name, arm in ARMS.items() if arm.settings.get("phase2.score") == "reducible")
"""The arms that are paid by what an oracle could learn; any may keep it beside its own score (``asks_oracle``)."""


def asks_oracle(config, arm):
    """Whether an arm asks an oracle: to be paid by it, or to tell what of its buffer is beyond learning."""
    return arm in ORACLED or "reducible" in (config.phase2.score, *config.phase2.watched)


@dataclasses.dataclass(frozen=True)
class ArmSettings:
    """Which arms there are."""

    arms: tuple = setting(("frozen_reference", "prowl"), "rows of experiments/stages/arms.py", some_of(ARMS))


@dataclasses.dataclass(frozen=True)
class KLCosts:
    """The anchors of the arms that are the paper's regimes."""

    weak: float = setting(0.5, "c_kl of the arm unanchored", NOT_NEGATIVE, source="paper: 0.5")
    middle: float = setting(1.0, "c_kl of the arm broad", NOT_NEGATIVE, source="paper: 1.0")
    strong: float = setting(1.5, "c_kl of the arm focused", NOT_NEGATIVE, source="paper: 1.5")


CONTROL, WHOLE = "frozen_reference", "prowl"
"""The matched-compute control, whose policy is pi_ref itself, and the whole method: tables tell these two first."""


def configured(config, arm):
    """A copy of ``config`` as ``arm`` wants it; the run's own is left as it is.

    Raises:
      KeyError: a row names a key that the configuration has not.
    """
    config, row = copy.deepcopy(config), ARMS[arm]
    with config.unlocked():
        values = {key: _at(config, source) for key, source in row.same_as.items()}
        for key, value in {**row.settings, **values}.items():
            group, _, name = key.rpartition(".")
            parent = _at(config, group) if group else config
            if name not in parent:
                raise KeyError(f"the arm {arm} sets {key}, which the configuration has not")
            parent[name] = value
    return config


def _at(config, key):
    """The value of a dotted key of any depth."""
    for name in key.split("."):
        config = config[name]
    return config
