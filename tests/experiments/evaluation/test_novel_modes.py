"""Which modes only the adversary found, by hand: a demonstrated one, one of the frozen reference's, a new one."""

import types

import numpy as np
import pytest

from experiments.configs.quickstart import get_config
from experiments.evaluation import novel_modes
from experiments.live import gallery
from experiments.stages import build, phase2
from experiments.stages.clip_stores import tasks
from experiments.study import measure
from prowl_jax.actions import ActionSpec, choice
from prowl_jax.data.store import StoreWriter
from prowl_jax.envs.vizdoom import action_spec
from prowl_jax.methods import base
from prowl_jax.types import RealClip

SPEC = action_spec(8.0)
CONTEXT, HORIZON = 2, 8
FORWARD, BACK = (SPEC.index("move"), 1), (SPEC.index("move"), 2)
LEFT, USE = (SPEC.index("strafe"), 1), (SPEC.index("use"), 1)


def acting(steps, *factors):
    """``steps`` actions of the same movements."""
    rows = np.tile(SPEC.null, (steps, 1))
    for i, value in factors:
        rows[:, i] = value
    return rows


def clips(*kinds):
    """A buffer whose clips do one thing in every scored step, and something else in context and at the end."""
    before, after = acting(CONTEXT - 1, USE), acting(1, BACK, USE)
    actions = [np.concatenate([before, acting(HORIZON, *kind), after]) for kind in kinds]
    rows = np.arange(len(kinds))
    return RealClip(rows, np.stack(actions), rows, np.zeros((len(kinds), HORIZON, 1, 1, 2), np.float16))


@pytest.fixture
def run(tmp_path):
    """Demonstrators that go forward and strafe for eight steps, across two windows that begin at 0 and 8."""
    config = get_config("tiny")
    config.evaluation.modes.update(window=HORIZON, share=0.9)
    episode, shape = np.concatenate([acting(5), acting(8, FORWARD, LEFT), acting(11)]), build.frame_shape(config)
    for task in tasks(config):
        with StoreWriter(tmp_path / task, build.spec_of(config), shape) as store:
            for length in (24, 3):
                store.add_episode(np.zeros((length, *shape), np.uint8), episode[:length])
    return types.SimpleNamespace(config=config, data=lambda task: tmp_path / task)


RESTING = ["frozen_reference"]
SETS = {
    "in_distribution": clips([FORWARD]),
    "buffer/frozen_reference": clips([FORWARD, USE], [FORWARD]),
    "buffer/prowl": clips([FORWARD, LEFT], [BACK, LEFT], [FORWARD, USE], [BACK], [BACK, LEFT]),
}


def measured(sets):
    sizes = {name: len(items.actions) for name, items in sets.items()}
    return {
        (model, name): {"latent_regret": scale * np.arange(1.0, 1 + n), "rows": np.zeros((n, 3))}
        for model, scale in (("phase1", 1), ("prowl", 2))
        for name, n in sizes.items()
    }


def test_what_was_shown_at_any_step_is_not_novel(run):
    sets, values = dict(SETS), measured(SETS)
    found = novel_modes.add_novel_sets(run, sets, values, RESTING)
    assert sets.keys() - SETS.keys() == {"novel_modes/prowl"}
    np.testing.assert_array_equal(sets["novel_modes/prowl"].latents, [1, 4])
    np.testing.assert_array_equal(values["prowl", "novel_modes/prowl"]["latent_regret"], [4.0, 10.0])
    assert values["phase1", "novel_modes/prowl"]["rows"].shape == (2, 3)
    table = novel_modes.mode_tables(found, values, ["latent_regret"])["prowl"]
    assert table["windows"] == 5
    assert table["composite"] == {"back+strafe": 2, "forward+strafe": 1, "forward+use": 1}
    assert table["strictly_novel"] == {"back+strafe": 2}
    assert table["metrics"]["prowl"]["back+strafe"] == {"clips": 2, "latent_regret": 7.0}
    assert table["metrics"]["phase1"].keys() == table["composite"].keys()


def test_a_horizon_shorter_than_the_window_is_one_window(run):
    run.config.evaluation.modes.window = 1000
    sets, values = dict(SETS), measured(SETS)
    assert novel_modes.add_novel_sets(run, sets, values, RESTING)["prowl"][0].shape == (5, 1)
    np.testing.assert_array_equal(sets["novel_modes/prowl"].latents, [1, 4])


def test_nothing_is_novel_without_a_reference_or_without_a_find(run):
    sets = {name: items for name, items in SETS.items() if name != "buffer/frozen_reference"}
    assert novel_modes.add_novel_sets(run, dict(sets), measured(sets), []) == {}
    sets = SETS | {"buffer/prowl": clips([FORWARD, USE])}
    there = dict(sets)
    found = novel_modes.add_novel_sets(run, there, values := measured(sets), RESTING)
    assert there.keys() == sets.keys()
    assert novel_modes.mode_tables(found, values, ["latent_regret"])["prowl"]["strictly_novel"] == {}


def test_where_actions_have_no_such_movements_no_modes_are_told(run, monkeypatch):
    """As in most of Gymnasium: the evaluation of a run of theirs ended here."""
    walker = ActionSpec((choice("axis_0", "-1.00", "+0.00", "+1.00"),))
    monkeypatch.setattr(build, "spec_of", lambda config: walker)
    sets = dict(SETS)
    assert novel_modes.add_novel_sets(run, sets, measured(SETS), RESTING) == {} and sets.keys() == SETS.keys()
    found = types.SimpleNamespace(run=run, arms={"frozen_reference": phase2.Done({}, found=base.Found(None, {}))})
    assert measure.strictly_novel_modes(found, SETS, None, None) is None
    assert gallery._mode(build.make_mode_rule(run.config), run.config, np.zeros((30, 1), int)) == "any"


def test_a_study_has_the_clips_with_novel_modes_as_a_set_of_groups(run):
    resting = phase2.Done({}, found=base.Found(None, {}))
    found = types.SimpleNamespace(run=run, arms={"frozen_reference": resting})
    items, groups, _ = measure.strictly_novel_modes(found, SETS, None, None)
    np.testing.assert_array_equal(items.latents, [1, 4])
    (mask,) = groups.values()
    assert mask.tolist() == [True, True]
    other = {**SETS, "buffer/broad": clips([FORWARD], [FORWARD, LEFT, USE], [BACK, LEFT])}
    items, groups, _ = measure.strictly_novel_modes(found, other, None, None)
    assert len(items.actions) == 4 and sorted(m.sum() for m in groups.values()) == [1, 3]
    assert measure.strictly_novel_modes(found, {k: v for k, v in SETS.items() if "prowl" not in k}, None, None) is None
