"""The share of the mendable against values made by hand; early stopping; how critical clips are chosen."""

import dataclasses
import types

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.configs import proof
from experiments.planning import consistency
from experiments.study import apart, grid, mending, oracle, tables, unseen
from experiments.study.central import METRICS, central, mendable_share, share
from experiments.study.recorded import Recorded, drawn, mixed, spread_over
from experiments.study.sets import SeedSet, pooled
from experiments.study.settings import Mending
from prowl_jax.metrics.intervals import hierarchical_bootstrap, nested_interval_of_means
from prowl_jax.types import Clip

CONFIG = types.SimpleNamespace(seed=0, evaluation=types.SimpleNamespace(resamples=200))


def seed_set(seed, clips=30):
    base = np.random.default_rng(seed).lognormal(size=(clips, 8))
    off = {"phase1": 1.0, "prowl": 0.95, "oracle": 0.8, "worse": 1.1}
    values = {arm: {"latent_regret": (base * x).mean(1), "frame_regret": base * x} for arm, x in off.items()}
    return SeedSet({"all": np.arange(clips), "fell": np.arange(5)}, values, {}, {}, {})


def test_the_share_of_the_mendable_is_exact_where_every_clip_gains_alike():
    sets = {"critical": [seed_set(0), seed_set(1, 12), None]}
    shares = mendable_share(CONFIG, sets, ("prowl", "worse", "oracle"), "oracle")
    for subset in ("all", "fell", "frame_1", "frame_4", "frame_8"):
        assert shares["prowl"]["critical"][subset] == pytest.approx([0.25] * 3, abs=1e-4)
        assert shares["worse"]["critical"][subset] == pytest.approx([-0.5] * 3, abs=1e-4)
        assert shares["oracle"]["critical"][subset] == pytest.approx([1.0] * 3, abs=1e-4)


def test_held_out_tasks_together_have_a_share_by_frame_too():
    """The pooled set is made of the tasks' own, whose values of each frame it once left behind."""
    parts = [dataclasses.replace(seed_set(seed, 12), rows={"all": np.arange(12)}) for seed in (0, 1)]
    for part in parts:
        for values in part.values.values():
            values.update(dict.fromkeys(METRICS, values["latent_regret"]))
    sets = {"held_out": [pooled([dataclasses.replace(part, of_set=dict.fromkeys(part.values, {})) for part in parts])]}
    shares = mendable_share(CONFIG, sets, ("prowl",), "oracle")["prowl"]["held_out"]
    assert shares["all"] == shares["frame_8"] == pytest.approx([0.25] * 3, abs=1e-4)


def test_nothing_is_said_where_nothing_is_surely_mendable():
    rng = np.random.default_rng(0)
    theta_0 = [rng.normal(size=40)]
    assert share(theta_0, theta_0, [theta_0[0] + rng.normal(size=40)], CONFIG) is None
    assert share([np.ones(1)], [np.ones(1)], [np.zeros(1)], CONFIG) is None


def test_the_nested_interval_is_that_of_relative_differences():
    rng = np.random.default_rng(3)
    a, b = ([rng.lognormal(size=n) for n in (9, 5, 7)] for _ in range(2))
    expected = hierarchical_bootstrap(a, b, resamples=300)
    found = nested_interval_of_means(lambda x, y: (x - y) / y, a, b, resamples=300)
    assert [found[k] for k in ("value", "low", "high")] == pytest.approx(
        [expected[k] for k in ("relative", "low", "high")]
    )
    with pytest.raises(ValueError, match="same clips of each seed"):
        nested_interval_of_means(lambda x, y: x, a, b[:2])


def test_an_arm_that_asks_an_oracle_is_told_of_the_study_s_own(tmp_path):
    config = proof.get_config("tiny")
    config.arms, config.phase2.watched = ("reducible", "prowl"), ()
    assert not [text for rule, text in consistency.RULES if "phase2.oracle" in str(text) and not rule(config)]
    asked = []

    def arm(run, arm):
        asked.append((arm, run.config.phase2.oracle))

    steps = grid.plan(config, grid.open_runs(config, tmp_path), {**grid.STAGES, "arm": arm})
    steps = [step for step in steps if step.kind == "phase2"][:2]
    for step in steps:
        step.do(*step.runs)
    run = steps[0].runs[0]
    assert asked == [("reducible", str(oracle.path_of(run, "oracle"))), ("prowl", "")]
    assert run.config.phase2.oracle == ""
    run.config.phase2.oracle = "theirs"
    steps[0].do(run)
    assert asked[-1] == ("reducible", "theirs") and run.config.phase2.oracle == "theirs"
    run.config.phase2.oracle, run.config.phase2.watched = "", ("reducible",)
    steps[1].do(run)
    assert asked[-1] == ("prowl", str(oracle.path_of(run, "oracle"))), "what is beyond learning is told of any arm"


def test_an_error_on_what_was_found_is_taken_apart_and_adds_up(tmp_path):
    """Every clip alike: then every share is a point; what one seed alone has is of that seed."""
    config = proof.get_config("tiny")
    config.arms, config.evaluation.resamples = ("prowl", "passive", "nobody"), 50
    runs = {seed: types.SimpleNamespace(workdir=tmp_path / str(seed)) for seed in (0, 1)}
    for seed, run in runs.items():
        for arm in ("prowl", "gone") + ("passive",) * seed:
            folder = run.workdir / "values" / f"buffer.{arm}"
            folder.mkdir(parents=True)
            error = np.random.default_rng(seed).lognormal(size=9 + seed)
            parts = {"before": 1.0, "after": 0.75, "spread": 0.25, "floor": 0.125, "own_spread": 0.5}
            np.savez(folder / apart.FILE, **{name: share * error for name, share in parts.items()})
    found = apart.found_apart(config, runs)["found_apart"]
    assert set(found) == {"prowl", "passive"}, "neither who is no longer asked for, nor who found nothing"
    for arm in found:
        shares = {name: found[arm][name] for name in ("mendable", "spread", "floor", "rest", "spread_of_theta_0")}
        wanted = {"mendable": 0.25, "spread": 0.25, "floor": 0.125, "rest": 0.375, "spread_of_theta_0": 0.5}
        assert shares == {name: pytest.approx([share] * 3, abs=1e-4) for name, share in wanted.items()}
        assert found[arm]["error"][1] < found[arm]["error"][0] < found[arm]["error"][2]
    table = tables._found_apart({"found_apart": found})[1]
    assert "| prowl | " in table and " | 25 (25 to 25) | 25 (25 to 25) | 12 (12 to 12) | 38 (38 to 38) | 50" in table
    config.study.oracles = ()
    assert apart.found_apart(config, runs) == {} and tables._found_apart({}) == []


def test_central_rows_count_seeds_and_clips():
    cell = {"prowl": [-0.05, -0.06, -0.04, -0.08, -0.02]}
    metrics = {m: {"all": cell} for m in ("latent_regret", "afs_epe", "gradient_energy")}
    rows = central({"phase1": {"critical": metrics, "cross_buffer": metrics}}, {"critical": {"all": [10, 0, 12]}})
    assert len(rows) == 3 and rows[0] == {
        "set": "critical", "subset": "all", "metric": "latent_regret", "arm": "prowl", "against": "phase1",
        "relative": -0.05, "low": -0.08, "high": -0.02, "seeds": 2, "clips": 22,
    }  # fmt: skip


def test_critical_are_those_asked_for_and_of_them_the_hardest():
    regret, asked = np.array([5.0, 1.0, 2.0, 9.0, 3.0]), np.array([False, True, True, False, True])
    assert unseen.critical_rows(regret, asked, 2).tolist() == [2, 4]
    assert unseen.critical_rows(regret, asked, 4).tolist() == [1, 2, 3, 4]
    assert unseen.critical_rows(regret, None, 2).tolist() == [0, 3]


@pytest.mark.parametrize("errors, best, updates", [((9, 5, 4, 6, 7, 8), 4, 8), ((1, 2, 3), 0, 4), ((9, 8, 7, 6), 6, 6)])
def test_fine_tuning_stops_where_development_clips_no_longer_improve(monkeypatch, errors, best, updates):
    def step(state, frozen, rest, clip, key):
        return state.__class__(**{**vars(state), "ema": {"w": state.ema["w"] + 1}}), {"loss": 0.0}

    monkeypatch.setattr(mending, "make_step", lambda *_: step)
    monkeypatch.setattr(mending.build, "stage_key", lambda *_: None)
    answers = iter(errors)
    how = Mending(trainable="all", updates=2 * (len(errors) - 1), look_every=2, patience=2)
    mended = mending.mend(None, {"dit": {"w": jnp.zeros(())}}, lambda step: None, how, lambda params: next(answers))
    assert (mended.best, mended.updates) == (best, updates) and float(mended.params["dit"]["w"]) == best


def test_a_batch_is_windows_of_every_source_in_their_shares():
    frames = np.arange(2 * 9).reshape(2, 9, 1, 1, 1).astype(np.uint8)
    recorded = Recorded(Clip(frames, frames[..., 0, 0]), {"fell": frames[..., 0, 0, 0] == 12})
    fetch = mixed(drawn(recorded, 3, 0), [drawn(recorded, 3, 1)], (4, 3))
    clip = fetch(5)
    assert clip.frames.shape == (7, 3, 1, 1, 1) and (np.diff(clip.frames[..., 0, 0, 0], axis=1) == 1).all()
    np.testing.assert_array_equal(clip.frames, fetch(5).frames)
    assert not np.array_equal(clip.frames, fetch(6).frames)
    clips, happened = recorded.spread(4, 3)
    np.testing.assert_array_equal(happened["fell"], clips.frames[..., 0, 0, 0] == 12)
    assert spread_over(5, ("a", "b", "c")) == {"a": 2, "b": 2, "c": 1}
