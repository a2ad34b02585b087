"""The studies from their first stage to their results, each at its smallest: what a file of results must be.

The whole commands are slow; ``sound`` is what any file of results is held to.
"""

import json
import math
import os
import pathlib
import subprocess
import sys

import pytest

from experiments.study.compared import CLAIMS
from experiments.study.results import KEYS

ROOT = pathlib.Path(__file__).parents[3]
ROW = {"set", "subset", "metric", "arm", "against", "relative", "low", "high", "seeds", "clips"}


def sound(path):
    """The results in a file, after the checks that hold of any study."""

    def refuse(word):
        raise AssertionError(f"{word} in {path}")

    results = json.loads(path.read_text(), parse_constant=refuse)
    assert set(KEYS) <= results.keys() and results["central"]
    for row in results["central"]:
        value = row["relative"] if row["relative"] is not None else row.get("difference")
        assert row.keys() >= ROW and row["seeds"] <= len(results["seeds"]) and row["clips"] > 0
        assert row["low"] is None or row["low"] <= value <= row["high"], row
    spent = list(results["budgets"].values())
    assert results["budgets"].keys() == results["arms"].keys()
    for name in ("world_model_updates", "world_model_tokens"):
        assert len({one[name] for one in spent}) == 1 and spent[0][name] > 0, f"arms of other {name}"
    steps = [one["environment_steps"] for one in spent if one["environment_steps"]]
    assert max(steps) <= 1.02 * min(steps), "who acts spends the same"
    assert all(math.isfinite(one["dreamt_latents"]) and len(one["minutes"]) == len(results["seeds"]) for one in spent)
    return results


def test_the_committed_results_are_sound():
    for path in sorted((ROOT / "results").glob("p*.json")):
        sound(path)


def study(folder, config):
    """The results of a study at its smallest."""
    command = [sys.executable, "-m", "experiments.study", f"--config=experiments/configs/{config}:tiny"]
    command += [f"--workdir={folder / 'run'}", f"--config.study.results={folder}", "--config.study.processes=1"]
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"})
    (path,) = folder.glob("*.json")
    return sound(path), path.with_suffix(".md").read_text()


@pytest.mark.slow
def test_the_comparison_of_methods(tmp_path):
    results, text = study(tmp_path, "post_training.py")
    compared = results["compared"]
    assert [claim["says"] for claim in compared["claims"]] == [claim.says for claim in CLAIMS]
    assert {len(parts) for parts in compared["drift"].values()} == {14}
    shares = [row["value"] for row in compared["rows"] if row["metric"] in ("frozen", "wins", "action_f1")]
    assert shares and all(0 <= share <= 1 for share in shares)
    acted = {arm: spent["environment_steps"] for arm, spent in results["budgets"].items()}
    assert acted.pop("prowl") > 0 == sum(acted.values())
    assert {row["against"] for row in results["central"]} == {"phase1", "fine_tuned"}
    assert "### What the papers claim" in text and "### What each method spent" in text


@pytest.mark.slow
def test_the_proof(tmp_path):
    results, text = study(tmp_path, "proof.py")
    assert results["oracles"].keys() == {"oracle"} <= results["mendable_share"].keys()
    assert set(results["events"]) >= {"demonstrations", "frozen_reference", "prowl"}
    assert set(results["found_apart"]) == {"frozen_reference", "prowl"}
    for parts in results["found_apart"].values():
        assert sum(parts[name][0] for name in ("mendable", "spread", "floor", "rest")) == pytest.approx(1, abs=1e-3)
    for arm in results["arms"]:
        assert all(0 <= x <= 1 for seed in results["cycles"][arm]["pat_unlearnable"] for x in seed)
    for row in results["dose"]:
        assert row.keys() >= ROW | {"axis", "value"} and row["axis"] == "cycles" and row["arm"] == "prowl"
    assert {row["value"] for row in results["dose"]} == {1, 2}
    assert results["ppo_progress"].keys() == {"prowl"}
    assert results["ppo_progress"]["prowl"]["by_theta_0"]["curve"].keys() == {"1", "2"}
    assert "### When does hunting pay" in text and "### PPO's progress" in text
    for seed in (0, 1):
        shown = json.loads((tmp_path / f"run/seed{seed}/pictures/critical.json").read_text())
        assert shown["arms"] == ["phase1", "frozen_reference", "prowl", "oracle"] and len(shown["clips"]) == 3
        acted = json.loads((tmp_path / f"run/seed{seed}/pictures/acted.json").read_text())
        assert acted["camera_speed"].keys() == {"frozen_reference", "prowl"}
    assert "### Share of the mendable in regret" in text and "### What of each buffer is beyond learning" in text
