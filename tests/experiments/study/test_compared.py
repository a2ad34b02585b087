"""What methods are compared by, from values that are known; what papers claim, from intervals; and their tables."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.configs.post_training import COMBINED, get_config
from experiments.planning import consistency
from experiments.stages import build
from experiments.stages.arms import ARMS
from experiments.study import compared, compared_tables
from experiments.study.central import METRICS
from experiments.study.compared import CLAIMS, OTHERS, REAL, Claim, verdict
from experiments.study.settings import RULES
from experiments.study.tables import markdown_table

NAMES = ("phase1", "fine_tuned", "nft", "grpo")
CLIPS, FRAMES, LONG = 12, 4, 28
BETTER = {"phase1": 0.0, "fine_tuned": 0.5, "nft": 1.5, "grpo": 0.0}
"""dB above theta_0, on every clip: then every interval is a point."""
READ = {"phase1": 0.5, "fine_tuned": 0.5, "nft": 0.5, "grpo": 1.0}
"""Share of the steps whose actions are read as they were."""


def fill(run, spec, seed):
    rng = np.random.default_rng(seed)
    for name, frames in (("in_distribution", FRAMES), ("held_out/control", FRAMES), ("long_rollout", LONG)):
        folder = run.workdir / "values" / name.replace("/", ".")
        folder.mkdir(parents=True)
        given = np.stack([rng.integers(0, n, (CLIPS, frames)) for n in spec.sizes], -1)
        other = np.stack([rng.integers(0, n, (CLIPS, frames)) for n in spec.sizes], -1)
        psnr, regret = rng.normal(20, 1, (CLIPS, frames)), rng.lognormal(size=CLIPS)
        for arm in NAMES:
            right = np.arange(frames)[None, :, None] < READ[arm] * frames
            values = {
                "latent_regret": regret * 0.9 ** BETTER[arm], "afs_epe": regret, "ssim": regret / 10,
                "psnr": psnr.mean(1) + BETTER[arm], "psnr_by_frame": psnr + BETTER[arm],
                "gradient_energy": regret, "real_energy": 2 * regret, "given_actions": given,
                "motion": np.where(np.arange(CLIPS) < 3, 0.1, 1.0), "recovered_actions": np.where(right, given, other),
            }  # fmt: skip
            np.savez(folder / f"{arm}.npz", **values, action_f1=0.5)
            np.savez(folder / f"several.{arm}.npz", energy_score=2 * regret)
        np.savez(folder / "several.real_frames.npz", recovered_actions=given)


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What is compared of two seeds."""
    config = get_config("tiny")
    config.evaluation.resamples = 50
    runs = {seed: types.SimpleNamespace(workdir=tmp_path_factory.mktemp(f"seed{seed}")) for seed in (0, 1)}
    for seed, run in runs.items():
        fill(run, build.spec_of(config), seed)
    return compared.compare(config, runs, NAMES)["compared"]


def row(told, name, metric, arm):
    (found,) = [r for r in told["rows"] if (r["set"], r["metric"], r["arm"]) == (name, metric, arm)]
    return found


def test_changes_are_against_theta_0_with_intervals_over_seeds_and_clips(told):
    regret = row(told, "held_out", "latent_regret", "nft")
    assert [regret[k] for k in ("change", "low", "high")] == pytest.approx([0.9**1.5 - 1] * 3, rel=1e-3)
    assert (regret["seeds"], regret["clips"]) == (2, 2 * CLIPS)
    assert regret["value_low"] < regret["value"] < regret["value_high"]
    sharp = row(told, "held_out", "sharpness", "nft")
    assert (sharp["value"], sharp["change"]) == pytest.approx((0.5, 0.0))
    assert row(told, "in_distribution", "psnr", "nft")["change"] == pytest.approx(1.5)
    assert row(told, "long_rollout", "frozen", "grpo")["value"] == pytest.approx(0.25)
    assert row(told, "long_rollout", "wins", "nft")["value"] == 1.0
    assert row(told, "long_rollout", "wins", "grpo")["value"] == 0.5, "the same dreams: half of what nobody wins"
    assert row(told, "held_out", "energy_score", "grpo")["change"] == 0.0
    assert row(told, "held_out", "latent_regret", "phase1")["change"] is None


def test_changes_are_against_as_many_tokens_of_demonstrations_too(told):
    rows = {(r["set"], r["metric"], r["arm"]): r for r in told["control"]}
    assert {arm for _, _, arm in rows} == {"phase1", "nft", "grpo"}
    assert rows["held_out", "psnr", "nft"]["change"] == pytest.approx(1.0)
    assert rows["held_out", "latent_regret", "grpo"]["change"] == pytest.approx(0.9**-0.5 - 1, rel=1e-3)
    assert rows["held_out", "action_f1", "grpo"]["low"] > 0 == rows["held_out", "action_f1", "nft"]["change"]
    central = {(r["against"], r["metric"], r["arm"]) for r in compared.central_rows(told) if r["set"] == "held_out"}
    assert {("phase1", "psnr", "nft"), ("fine_tuned", "psnr", "nft"), ("fine_tuned", "psnr", "phase1")} <= central


def test_actions_stand_between_their_floor_and_their_ceiling(told):
    f1 = {arm: row(told, "held_out", "action_f1", arm)["value"] for arm in (*NAMES, REAL, OTHERS)}
    assert f1[OTHERS] < f1["phase1"] == f1["fine_tuned"] == f1["nft"] < f1["grpo"] == f1[REAL] == 1.0
    off = {arm: row(told, "held_out", "camera_l1", arm)["value"] for arm in (REAL, OTHERS)}
    assert off[REAL] == 0.0 < off[OTHERS]
    assert row(told, "held_out", "action_f1", "grpo")["low"] > 0


def test_drift_has_fourteen_steps(told):
    assert [len(parts) for parts in told["drift"].values()] == [14] * 4
    assert told["drift"]["nft"][3][1:] == pytest.approx([1.5] * 3) and told["drift"]["phase1"][3][1] is None


def test_claims_are_held_against_what_came_out(told):
    said = {(claim["arm"], claim["says"][:4]): claim["verdict"] for claim in told["claims"]}
    assert said == {
        ("nft", "PSNR"): "reproduced", ("nft", "LPIP"): "unknown", ("nft", "wins"): "reproduced",
        ("grpo", "acti"): "reproduced", ("grpo", "visu"): "reproduced",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("interval", "says"),
    [
        *[((0.2, 1.6), "reproduced"), ((-0.1, 1.6), "unknown"), ((0.2, 1.3), "not"), ((-2, -1), "not")],
        ((None, None), "unknown"),
    ],
)
def test_a_claim_is_reproduced_or_not_or_nobody_knows(interval, says):
    claim = CLAIMS[0]
    assert verdict(claim, *interval) == says
    lower = Claim("", "", "nft", claim.of, -claim.value)
    assert verdict(lower, *(x if x is None else -x for x in reversed(interval))) == says


@pytest.mark.parametrize(
    ("interval", "says"), [((-0.05, 0.2), "reproduced"), ((-0.3, 0.2), "unknown"), ((-2, -1), "not")]
)
def test_not_worse_has_a_margin(interval, says):
    assert verdict(Claim("", "", "grpo", ("held_out", "psnr"), 0.0, margin=0.1), *interval) == says


def test_the_central_rows_say_what_is_a_share_and_what_a_difference(told):
    central = compared.central_rows(told, METRICS)
    rows = {(r["set"], r["metric"], r["arm"]): r for r in central if r["against"] == "phase1"}
    assert rows["held_out", "action_f1", "grpo"]["relative"] > 0 == rows["held_out", "sharpness", "grpo"]["relative"]
    assert not [key for key in rows if key[1] in ("latent_regret", "afs_epe")], "told twice"
    assert rows["held_out", "psnr", "nft"]["relative"] is None
    assert rows["held_out", "psnr", "nft"]["difference"] == pytest.approx(1.5)
    assert {r["against"] for r in central} == {"phase1", "fine_tuned"}
    assert not [row for row in central if row["arm"] in (REAL, OTHERS)]
    assert compared.central_rows(None) == []


def test_the_tables_hide_no_budget_and_no_verdict(told):
    spent = {"world_model_updates": 7, "world_model_tokens": 70, "environment_steps": 5, "dreamt_latents": 123}
    budgets = {"nft": {**spent, "minutes": [1.0, 3.0], "tokens_per_second": [0.5, 0.1]}}
    text = "\n".join(compared_tables.sections({"budgets": budgets, "compared": told}, markdown_table))
    assert "| nft | 70 | 123 | 5 | 0 | 7 | 2.000 | 0.3000 |" in text
    assert "PSNR +1.40 dB over 14 steps of self-rollout | nft | 1.500 (1.500, 1.500) | reproduced |" in text
    assert "| step 14 |" in text and "real frames against others' actions" in text
    assert "100 % (100, 100)" in text
    assert "### Their change against fine tuned" in text
    (won,) = [line for line in text.splitlines() if line.startswith("| theta_0 |") and "25 %" in line]
    assert won.endswith("| \N{EN DASH} |"), "nobody wins against oneself"
    assert compared_tables.sections({}, markdown_table) == []


def test_what_is_kept_of_a_clip():
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (2, 8, 16, 16, 3)).astype(np.uint8)
    dreamt = np.stack([frames[0, 3:], np.repeat(frames[1, 2:3], 5, 0)])
    items = types.SimpleNamespace(frames=frames, actions=rng.integers(0, 3, (2, 8, 2)))
    kept = jax.tree.map(np.asarray, compared._of_clips(jnp.asarray(dreamt), items))
    assert kept["motion"] == pytest.approx([1.0, 0.0]) and kept["psnr_by_frame"].shape == (2, 5)
    assert kept["psnr_by_frame"][0].min() > 50 > kept["psnr_by_frame"][1].max()
    np.testing.assert_array_equal(kept["given_actions"], items.actions[:, 2:-1])


@pytest.mark.parametrize("arg", ["voxel", "vizdoom", "tiny", "voxel_combined", "vizdoom_combined", "tiny_combined"])
def test_the_comparison_keeps_to_the_rules(arg):
    config = get_config(arg)
    assert [words for condition, words in (*consistency.RULES, *RULES) if not condition(config)] == []
    assert set(config.arms) <= set(ARMS) and (set(COMBINED) <= set(config.arms)) == arg.endswith("_combined")
    assert config.name == f"post_training_{arg.removesuffix('_combined')}" and config.study.dreams


@pytest.mark.parametrize("arg", ["", "combined", "voxel_combined_more", "minecraft"])
def test_other_variants_are_refused(arg):
    with pytest.raises(ValueError, match="each also as _combined"):
        get_config(arg)
