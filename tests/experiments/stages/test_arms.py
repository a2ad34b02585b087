"""The table of arms: what each row changes, and that it changes nothing else."""

import json

import pytest

from experiments.configs.quickstart import get_config
from experiments.planning import config_rules
from experiments.stages import build
from experiments.stages.arms import ARMS, configured, learns_from_found


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
    "unanchored": {"adversary.kl_cost": 0.5},
    "broad": {"adversary.kl_cost": 1.0},  # lambda is 0.10 already
    "focused": {"adversary.kl_cost": 1.5, "phase2.lambda_afs": 0.25},
    "disagreement": {},
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
    rows = [(row.reward, flat(configured(config, arm))) for arm, row in ARMS.items()]
    assert len({json.dumps(r) for r in rows}) == len(rows)
    assert {arm for arm, row in ARMS.items() if row.reward is None} == {"frozen_reference", "passive"}
    assert [arm for arm in ARMS if not learns_from_found(config, arm)] == ["passive"]


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_keeps_to_the_rules_and_the_budget(arm):
    config = configured(get_config(), arm)
    assert all(condition(config) for condition, _ in config_rules.RULES)
    curriculum = build.make_curriculum(config)
    assert curriculum.pat_rows + curriculum.passive_rows == config.phase2.batch
