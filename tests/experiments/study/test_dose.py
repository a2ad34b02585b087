"""Doses and PPO's progress from files made by hand: slopes and gains that are known, what is a study of its own."""

import pathlib
import types

import numpy as np
import pytest

from experiments.configs import proof
from experiments.planning import consistency
from experiments.stages import arms
from experiments.stages.phase2 import Done, kept
from experiments.study import by_cycle, dose, plots, results, settings, tables
from experiments.study.central import METRICS
from experiments.study.measure import values_path
from experiments.study.results import save
from experiments.study.settings import RULES

CONTROL, ARM = "frozen_reference", "prowl"
GAIN = {1: -0.02, 2: -0.05, 4: -0.1}
"""Cycle -> the arm's regret over the control's; four is the last."""
CLIPS = 12


@pytest.fixture
def config():
    config = proof.get_config("tiny")
    config.phase2.update(cycles=4, keep_cycles=(1, 2))
    config.study.by_cycle, config.evaluation.resamples = (CONTROL, ARM), 50
    return config


@pytest.fixture
def runs(tmp_path):
    """Two seeds with critical clips after each cycle; of the second only the last policy has acted."""
    runs = {seed: types.SimpleNamespace(workdir=tmp_path / f"seed{seed}") for seed in (0, 1)}
    for seed, run in runs.items():
        base = np.random.default_rng(seed).lognormal(size=CLIPS)
        folder = values_path(run, "critical", "phase1").parent
        folder.mkdir(parents=True)
        np.savez(folder / "groups.npz", unseen=np.arange(CLIPS) < 5)
        scales = {"phase1": 2.0, CONTROL: 1.0, ARM: 1 + GAIN[4]}
        scales |= {f"{CONTROL}@{cycle}": 1.5 for cycle in (1, 2)} | {f"{ARM}@{c}": 1.5 * (1 + GAIN[c]) for c in (1, 2)}
        for name, scale in scales.items():
            np.savez(values_path(run, "critical", name), **dict.fromkeys(METRICS, scale * base))
        (run.workdir / "found").mkdir()
        for name, regret in {f"{CONTROL}@0": 2.0, f"{ARM}@1": 2.04, f"{ARM}@2": 2.08, f"{ARM}@4": 2.16}.items():
            if not seed or not name.endswith(("@1", "@2")):
                np.savez(run.workdir / "found" / f"{name}.npz", regret=np.full(3, regret))
    return runs


def test_gains_by_cycle_are_those_over_the_control_after_as_many(config, runs):
    rows = dose.rows(config, runs, pathlib.Path("nowhere"), {})["dose"]
    assert [(row["value"], row["subset"], row["metric"]) for row in rows[:4]] == [
        (1, subset, metric) for subset in ("all", "unseen") for metric in ("latent_regret", "afs_epe")
    ]
    assert len(rows) == 3 * 4
    assert {(row["arm"], row["against"], row["axis"]) for row in rows} == {(ARM, CONTROL, "cycles")}
    for row in rows:
        assert [row[k] for k in ("relative", "low", "high")] == pytest.approx([GAIN[row["value"]]] * 3, abs=1e-4)
        assert (row["seeds"], row["clips"]) == (2, 2 * (CLIPS if row["subset"] == "all" else 5))
    config.study.by_cycle = ()
    assert dose.rows(config, runs, pathlib.Path("nowhere"), {}) == {}


def test_slopes_of_what_is_found_are_exact(config, runs):
    """500 steps a cycle; the arm finds 3 % more with every cycle than the control, whose own regret falls."""
    control = [[1.0, 0.9, 0.8, 0.7], [2.0, 1.9, 1.8, 1.7]]
    arm = [[regret * (1 + 0.03 * i) for i, regret in enumerate(seed)] for seed in control]
    variance = {"reward_variance": [[1.0, 2.0, 3.0, 2.0]] * 2}
    cycles = {CONTROL: {"regret": control}, ARM: {"regret": arm, **variance}}
    budgets = dict.fromkeys(cycles, {"environment_steps": 2000})
    progress = by_cycle.ppo_progress(config, runs, cycles, budgets)["ppo_progress"]
    assert set(progress) == {ARM}, "who is not paid makes none"
    one = progress[ARM]
    assert one["environment_steps_a_cycle"] == 500 and one["reward_variance"] == [2.0, 2.0]
    assert one["in_the_loop"] == pytest.approx({"mean": 6.0, "low": 6.0, "high": 6.0, "seeds": 2})
    assert one["by_theta_0"]["curve"] == {"1": [2.0, None], "2": [4.0, None], "4": [8.0, 8.0]}
    assert one["by_theta_0"]["mean"] == pytest.approx(4.0) and one["by_theta_0"]["low"] is None, "of one seed"
    table = tables._progress({"ppo_progress": progress})
    assert table[2].splitlines()[2] == "| prowl | 500 | 2.000 | **+6 (+6, +6)** | +4 | 8.000 |"
    assert by_cycle.ppo_progress(config, runs, {ARM: {"regret": arm}}, budgets) == {} and tables._progress({}) == []


def test_who_begins_as_pi_ref_goes_through_the_origin():
    steps = np.array([1.0, 2.0, 4.0])
    assert by_cycle._through_origin(steps, 3 * steps) == pytest.approx(3.0)
    assert by_cycle._slope([1.0], [1.0], 0.5) is None
    assert by_cycle._slope([1.1, 1.2], [1.0, 1.0], 0.5) == pytest.approx(20.0), "what it begins with is no progress"


def test_every_dose_but_the_study_s_own_is_a_study(config, tmp_path):
    config.base = "zoo"
    own = config.phase2.trajectories
    config.study.dose.update(trajectories=(own, 4 * own), bases=("old/a.safetensors", "zoo"))
    config.study.dose.update(seeds=(3,), arms=(CONTROL, ARM))
    made = dose.studies(config, tmp_path)
    named = [(axis, value, study.name, place.relative_to(tmp_path).as_posix()) for axis, value, study, place in made]
    assert named == [
        ("trajectories", 4 * own, f"proof_tiny_trajectories_{4 * own}", f"dose/trajectories_{4 * own}"),
        ("base", "old/a.safetensors", "proof_tiny_base_old_a_safetensors", "dose/base_old_a_safetensors"),
    ]
    for axis, value, study, _ in made:
        assert (study.phase2.trajectories, study.base) == ((value, "zoo") if axis == "trajectories" else (own, value))
        assert study.study.seeds == (3,) and study.arms == (CONTROL, ARM) and study.study.by_cycle == ()
        assert dose.studies(study, tmp_path) == [], "no doses of doses"
        assert study.study.oracles == () == study.phase2.watched and config.study.oracles == ("oracle",)
        assert [words for rule, words in (*consistency.RULES, *RULES) if not rule(study)] == []

    def of_study(gain, regret):
        row = {"set": "critical", "subset": "all", "metric": "latent_regret", "arm": ARM, "against": CONTROL}
        row |= {"relative": gain, "low": gain - 0.01, "high": gain + 0.01, "seeds": 1, "clips": 9}
        others = [row | {"against": "phase1"}, row | {"arm": "uniform"}, row | {"metric": "gradient_energy"}]
        means = {"phase1": {"latent_regret": {"all": [regret, regret]}}}
        return {"central": [row, *others], "sets": {"in_distribution": {"means": means}}}

    for (_, _, study, _), found in zip(made, (of_study(-0.2, 0.5), of_study(-0.01, 0.9)), strict=True):
        pathlib.Path(study.study.results).mkdir(parents=True, exist_ok=True)
        whole = dict.fromkeys(("study", "seeds", "arms", "machine", "settings", "budget", "novel_modes"), 0)
        whole |= dict.fromkeys(("inverse_dynamics", "differences", "cycles", "long_rollout", "events", "acted"), 0)
        save(pathlib.Path(study.study.results) / f"{study.name}.json", whole | found)
    config.study.by_cycle = ()
    rows = dose.rows(config, {}, tmp_path, of_study(-0.1, 0.5))["dose"]
    assert [(row["axis"], row["value"], row.get("base"), row["relative"]) for row in rows] == [
        ("base", 0.5, "zoo", -0.1), ("base", 0.9, "old/a.safetensors", -0.01),
        ("trajectories", own, None, -0.1), ("trajectories", 4 * own, None, -0.2),
    ]  # fmt: skip
    told = {"dose": rows, "arms": {CONTROL: {}, ARM: {}}}
    text = "\n".join(tables._dose(told))
    assert "| 0.5000 zoo | prowl | 1 | **\N{MINUS SIGN}10.00 (\N{MINUS SIGN}11.00, \N{MINUS SIGN}9.00)** |" in text
    assert "By trajectories a cycle:\n| trajectories a cycle | arm | seeds | latent regret, critical, all |" in text
    drawn = plots._drawn(plots.dose, told)
    assert "theta_0" in drawn and "prowl" in drawn


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"study.by_cycle": ("uniform",)}, "study.by_cycle"),
        ({"phase2.keep_cycles": ()}, "phase2.keep_cycles names no cycles"),
        ({"study.dose.trajectories": (8,), "study.dose.arms": (ARM,)}, "told against frozen_reference"),
        ({"study.dose.arms": ("uniform",)}, "study.dose.arms=('uniform',) are not all"),
        ({"study.dose.bases": ("a",)}, "needs base"),
        ({"phase2.keep_cycles": (1, 3), "phase2.program": "device", "phase2.cycles_per_call": 2}, "ends of calls"),
    ],
)
def test_what_cannot_be_asked_is_named(config, changes, said):
    config.update_from_flattened_dict(changes)
    broken = [words.format(config=config) for rule, words in (*consistency.RULES, *RULES) if not rule(config)]
    assert any(said in line for line in broken), broken


def test_arms_are_measured_after_the_kept_cycles_once(config, tmp_path, monkeypatch):
    """World models by their cycle, on the critical clips; policies by theta_0, on what they find from new starts."""
    config.study.by_cycle = (CONTROL, ARM)
    run, asked = types.SimpleNamespace(workdir=tmp_path, config=config), []
    policies = {ARM: "policy 4"}
    arms = {"phase1": Done("theta_0"), CONTROL: Done("control"), ARM: Done("last", policies[ARM])}
    found = types.SimpleNamespace(run=run, study=config.study, arms=arms, reference="pi_ref", policies=policies)

    def measured(_, params, items, key, batch):
        asked.append((params, items))
        return {"latent_regret": np.ones(2), "afs_epe": np.zeros(2), "psnr": np.zeros(2)}

    monkeypatch.setattr(by_cycle, "measure_all", measured)
    monkeypatch.setattr(by_cycle, "with_judge", lambda run, params: params)
    monkeypatch.setattr(by_cycle.kept, "load", lambda run, arm, cycle: Done(f"{arm} {cycle}", f"policy {cycle}"))

    def measure():
        by_cycle.measure(
            found, "critical", None, None, lambda name: tmp_path / f"{name}.npz",
            lambda policy, cycle: (policy, cycle), lambda acted: acted, ("latent_regret", "afs_epe"),
        )  # fmt: skip

    measure()
    mended = [(f"{arm} {cycle}", "critical") for arm in (CONTROL, ARM) for cycle in (1, 2)]
    hunted = [("theta_0", (policy, 4)) for policy in ("pi_ref", "policy 1", "policy 2", "policy 4")]
    assert sorted(asked, key=str) == sorted(mended + hunted, key=str)
    assert set(np.load(tmp_path / f"{ARM}@1.npz").files) == {"latent_regret", "afs_epe"}
    (tmp_path / "found" / f"{ARM}@2.npz").unlink()
    del asked[:]
    measure()
    assert asked == [("theta_0", ("policy 2", 4))], "nothing is measured twice"


def test_what_is_kept_of_a_cycle_comes_back_whole(config, tmp_path, monkeypatch):
    kernel, low, out = np.ones((3, 3, 2, 4)), np.full((18, 1), 2.0), np.full((1, 4), 3.0)
    fixed = {"dit": {"net": {"kernel": kernel}}, "latent_mean": np.zeros(2)}
    monkeypatch.setattr(kept.parts, "starting_point", lambda run: types.SimpleNamespace(fixed=fixed))
    run = types.SimpleNamespace(workdir=tmp_path, config=config)
    state = types.SimpleNamespace(theta=types.SimpleNamespace(ema={"net": {"lora_in": low, "lora_out": out}}))
    for method, arm in ((lambda _: {"head": {"bias": out}}, ARM), (lambda _: None, CONTROL)):
        for cycle in (1, 3):
            kept.keep(run, arm, types.SimpleNamespace(policy=method), state, cycle)
    assert sorted(path.name for path in tmp_path.rglob("*.npz")) == ["0001.npz"] * 2, "of no other cycle"
    done, resting = (kept.load(run, arm, 1) for arm in (ARM, CONTROL))
    np.testing.assert_array_equal(done.params["dit"]["net"]["kernel"], kernel + 6.0)
    np.testing.assert_array_equal(done.policy["head"]["bias"], out)
    assert done.params["latent_mean"] is fixed["latent_mean"] and resting.policy is None and done.cycles == 1


def test_steps_that_differ_and_warm_ups_that_are_repeated_are_told():
    fewest, most = map(tables.number, (29952, 30096))
    said = f", {fewest} to {most} environment steps (0.48 % apart)"
    assert tables._steps_apart({"environment_steps": [29952, 30096]}) == said
    assert tables._steps_apart({"environment_steps": [48, 48]}) == "" == tables._steps_apart({})
    budget = types.SimpleNamespace(cycles=12, warm_up=30, trajectories=152, branches=4)
    needs = types.SimpleNamespace(acts=True)
    method = types.SimpleNamespace(shared=types.SimpleNamespace(budget=budget), needs=lambda: needs)
    programs = {name: types.SimpleNamespace(phase2=types.SimpleNamespace(program=name)) for name in ("host", "device")}
    assert [results._repeated(programs[name], method) for name in ("host", "device")] == [12 * 30 * (152 - 38), 0]
    budget.branches = 1
    assert results._repeated(programs["host"], method) == 0


def test_settings_know_the_control_by_the_name_that_arms_give_it():
    assert settings.CONTROL == arms.CONTROL
