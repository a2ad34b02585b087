"""The table of arms: what each row changes, and that it changes nothing else."""

import json
import math

import numpy as np
import pytest

from experiments.configs import proof
from experiments.configs.quickstart import get_config
from experiments.planning import consistency
from experiments.stages import build
from experiments.stages.arms import ARMS, Arm, asks_oracle, configured
from experiments.stages.phase2 import env_seeds


def flat(config):
    def walk(tree, prefix=""):
        for key, value in tree.items():
            yield from walk(value, f"{prefix}{key}.") if isinstance(value, dict) else [(prefix + key, value)]

    return dict(walk(json.loads(config.to_json())))


CHANGED = {
    "frozen_reference": {},
    "prowl": {},
    "passive": {"phase2.pat_share": 0.0},
    "uniform": {"phase2.priority": "uniform", "phase2.staleness": 0.0},
    "no_progress": {"phase2.delta_scale": 0.0},
    "no_afs": {"phase2.lambda_afs": 0.0},
    "action_fidelity": {"phase2.score": "afs", "phase2.lambda_afs": 0.0, "phase2.delta_scale": 0.0},
    "unanchored": {"adversary.kl_cost": 0.5},
    "broad": {"adversary.kl_cost": 1.0},  # lambda is 0.10 already
    "focused": {"adversary.kl_cost": 1.5, "phase2.lambda_afs": 0.25},
    "disagreement": {},
    "predicted_error": {},
    **{
        score: {"phase2.score": score, "phase2.lambda_afs": 0.0, "phase2.delta_scale": 0.0}
        for score in ("spread_corrected", "energy", "learnability", "reducible", "learning_progress")
    },
    "keeps_progress": {"phase2.delta_scale": -1.0},
    **{
        arm: {"phase2.branches": 4, "phase2.branch_baseline": baseline, "phase2.equal_steps": True}
        for arm, baseline in (("prowl_branched", "siblings"), ("prowl_against_reference", "reference"))
    },
    "fine_tuned": {},
    "best_of_n": {},
    "nft": {},
    "grpo": {},
    "prowl_nft": {},
    "prowl_grpo": {},
    "prowl_nft_learnable": {"phase2.score": "learnability", "phase2.lambda_afs": 0.0, "phase2.delta_scale": 0.0},
    "prowl_grpo_learnable": {"phase2.score": "learnability", "phase2.lambda_afs": 0.0, "phase2.delta_scale": 0.0},
}


@pytest.mark.parametrize("arm", ARMS)
def test_an_arm_changes_what_its_row_says_and_no_more(arm):
    config = get_config()
    config.adversary.kl_costs.update(weak=0.5, middle=1.0, strong=1.5)
    before = flat(config)
    after = flat(configured(config.lock(), arm))
    assert {k: v for k, v in after.items() if before[k] != v} == CHANGED[arm]
    assert flat(config) == before, "the run's own configuration was changed"


def test_arms_are_told_apart():
    config = get_config()
    config.adversary.kl_costs.middle = 2 * config.adversary.kl_cost  # else "broad" is "prowl", the paper's best
    rows = [(row.method, row.own, flat(configured(config, arm))) for arm, row in ARMS.items()]
    assert len({json.dumps(r) for r in rows}) == len(rows)


def test_what_an_arm_is_is_asked_of_its_method():
    methods = {arm: build.make_method(get_config(), arm) for arm in ARMS}
    assert {arm for arm, method in methods.items() if not method.trains_policy} == {
        "frozen_reference", "passive", "fine_tuned", "best_of_n", "nft", "grpo",
    }  # fmt: skip
    idle = {"fine_tuned", "best_of_n", "nft", "grpo"}
    assert {arm for arm, method in methods.items() if not method.needs().acts} == idle
    assert methods["passive"].needs().rows == get_config().phase2.batch
    assert methods["disagreement"].programs.fit_ensemble is not None and methods["prowl"].programs.fit_ensemble is None
    assert methods["predicted_error"].programs.fit_error_head is not None
    assert methods["prowl"].programs.fit_error_head is None


def test_branches_begin_from_the_same_seeds_and_are_rows_of_their_budget():
    config = get_config()
    budget = build.make_budget(configured(config, "prowl_branched"))
    seeds, branched = env_seeds(config, 3), env_seeds(config, 3, budget)
    assert seeds.shape == (config.phase2.trajectories,) and branched.shape == (budget.trajectories,)
    starts = budget.trajectories // 4
    assert (branched.reshape(-1, 4) == branched[::4, None]).all() and len(np.unique(branched)) == starts
    both = min(starts, len(seeds))
    assert (branched[::4][:both] == seeds[:both]).all()


@pytest.mark.parametrize("variant", ["voxel", "vizdoom"])
def test_who_branches_spends_the_environment_steps_of_who_does_not(variant):
    """The promise of a study, to 2 %; what the saved warm-ups buy is more trajectories."""
    config = proof.get_config(variant)
    config.base = ""  # costs are no matter of weights
    names = ("prowl", "prowl_branched", "prowl_against_reference")
    plain, *branched = (build.make_method(config, arm) for arm in names)
    for method in branched:
        ours, theirs = method.spent(), plain.spent()
        assert ours["environment_steps"] == pytest.approx(theirs["environment_steps"], rel=0.02)
        assert ours["world_model_tokens"] == theirs["world_model_tokens"]
        assert method.shared.budget.trajectories > 2 * plain.shared.budget.trajectories
        assert method.shared.budget.trajectories % math.lcm(4, config.adversary.minibatches) == 0


def test_settings_of_a_method_are_the_group_of_its_name():
    config = get_config()
    assert build.make_method(config, "best_of_n").config.dreams == 8
    config.best_of_n.update(dreams=3, best_by="afs")
    method = build.make_method(config, "best_of_n")
    assert (method.config.dreams, method.config.best_by) == (3, "afs")


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_keeps_to_the_rules_and_the_budget(arm):
    config = configured(get_config(), arm)
    if asks_oracle(config, arm):
        assert not all(condition(config) for condition, _ in consistency.RULES)  # of an oracle that nobody named
        config.phase2.oracle = "an_oracle.npz"
    assert all(condition(config) for condition, _ in consistency.RULES)
    spent, plan = build.make_method(get_config(), arm).spent(), build.make_method(get_config(), "prowl").spent()
    for name in ("world_model_updates", "world_model_tokens"):
        assert spent[name] == plan[name]


def test_a_key_may_have_any_depth_and_must_be_there(monkeypatch):
    monkeypatch.setitem(ARMS, "deep", Arm("three parts", settings={"adversary.ensemble.members": 9}))
    config = get_config()
    assert configured(config, "deep").adversary.ensemble.members == 9 != config.adversary.ensemble.members
    monkeypatch.setitem(ARMS, "wrong", Arm("no such key", settings={"adversary.ensemble.member": 9}))
    with pytest.raises(KeyError, match="the arm wrong sets adversary.ensemble.member"):
        configured(config, "wrong")
