"""The study's figures from files made by hand, its tables, its plots, and the document that holds them."""

import json
import pathlib
import re
import types
import xml.etree.ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.configs.study import get_config
from experiments.evaluation import votes
from experiments.evaluation.evaluate import METRICS
from experiments.planning import consistency
from experiments.run import provenance
from experiments.run.config_file import UsageError
from experiments.run.files import write_json
from experiments.stages import build
from experiments.stages.arms import ARMS
from experiments.study import __main__ as study
from experiments.study import grid, plots, tables
from experiments.study import results as results_file
from experiments.study.measure import thinned, values_path
from experiments.study.sets import episodes_of, read_sets
from experiments.study.settings import RULES
from prowl_jax.data.store import StoreWriter
from prowl_jax.metrics.intervals import hierarchical_bootstrap

ROOT = pathlib.Path(__file__).parents[3]
ARM_NAMES = ("frozen_reference", "prowl", "unanchored")
CLIPS, FRAMES = 20, 8
# By how much an arm's regret is off theta_0's, the same on every clip: then every interval is a point.
OFF = {"phase1": 0.0, "frozen_reference": 0.1, "prowl": -0.2, "unanchored": 0.05}
RISK = {"phase1": 1.0, "frozen_reference": 1.0, "prowl": 4.0, "unanchored": 9.0}


def study_config(folder, seeds=(3, 5)):
    config = get_config("tiny")
    config.arms, config.study.seeds, config.study.results = ARM_NAMES, seeds, str(folder / "results")
    config.evaluation.resamples = 200
    config.study.processes = 1
    return config


def fill(config, run, seed):
    """What a measured seed leaves, with values that are known."""
    rng = np.random.default_rng(seed)
    names = ["in_distribution", "held_out/linger", "held_out/mine", "long_rollout", "critical", "events"]
    names += [f"buffer/{arm}" for arm in ARM_NAMES] + ["modes"] * (seed == 3)
    for name in names:
        base = rng.lognormal(size=(CLIPS, FRAMES))
        folder = values_path(run, name, "phase1").parent
        folder.mkdir(parents=True, exist_ok=True)
        half = np.arange(CLIPS) < CLIPS // 2
        modes = {f"mode{i:02}": np.arange(CLIPS) <= i for i in range(15)}
        happened = {"fell": half} | ({"flooded": np.arange(CLIPS) == 0} if seed == 3 else {})
        groups = {"critical": {"first_cycle": half, "held_out": ~half}, "events": happened, "modes": modes}.get(
            name, {}
        )
        np.savez(folder / "groups.npz", **groups)
        if name in ("in_distribution", "held_out/linger", "held_out/mine"):
            np.save(folder / "episodes.npy", np.array([f"{name}/{i // 4}" for i in range(CLIPS)]))
        if not groups and not name.startswith("buffer"):
            np.savez(folder / "amounts.npz", keys=np.arange(CLIPS), camera=np.arange(CLIPS) // 2)
        for arm, off in OFF.items():
            by_frame = base * (1 + off)
            values = {metric: by_frame.mean(1) for metric in METRICS} | judged(name, seed, off)
            np.savez(values_path(run, name, arm), **values, frame_regret=by_frame)
        if judged(name, seed, 0.0):
            np.savez(values_path(run, name, "real_frames"), action_f1=0.75)
    p = config.phase2
    counts = {arm: {"updates": p.cycles * p.updates, "cycles": p.cycles} for arm in ARM_NAMES}
    write_json(run.workdir / "counts.json", counts)
    write_json(run.workdir / "demonstrated_events.json", {"event_fell": 0.5})
    acted = {
        arm: {"steps": 64, "kl_to_reference": 0.1 * risk, "camera_speed": 2 * risk, "event_fell": risk + seed}
        for arm, risk in RISK.items()
        if arm in ("frozen_reference", "prowl")
    }
    write_json(run.workdir / "acted.json", acted)
    for arm in ARM_NAMES:
        for cycle in range(p.cycles):
            kl = {} if "reward" in ARMS[arm].own else {"kl_to_reference": 0.1 * cycle + seed}
            run.log.write(
                stage="phase2", arm=arm, step=cycle + 1, event_fell=RISK[arm] * cycle, regret=1 + 0.2 * cycle,
                camera_speed_over_reference=RISK[arm], pat_mean_regret=1.0 + cycle, pat_mean_progress=-0.25, **kl,
            )  # fmt: skip


def judged(name, seed, off):
    """What was read off the frames: in the second seed, an older one, of one held-out task alone."""
    if name == "held_out/mine" or (seed == 3 and name in ("in_distribution", "held_out/linger")):
        f1 = 0.5 if name == "held_out/mine" else 0.3
        return {"action_f1": f1 - off, "lpips_alexnet": np.full(CLIPS, 2.0 + off)}
    return {}


def note_times(run):
    """What its stages took, by the run's own notes."""
    times = {
        "world_model": 60.0,
        **{f"phase2/{arm}": 30.0 for arm in ARM_NAMES},
        "evaluation/" + "+".join(ARM_NAMES): 10.0,
    }
    write_json(run.workdir / "stages.json", {k: {"seconds": v, "tokens": 7} for k, v in times.items()})


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """(config, runs, results as read from their file) of two seeds with known values."""
    folder = tmp_path_factory.mktemp("study")
    config = study_config(folder)
    runs = grid.open_runs(config, folder / "runs")
    for seed, run in runs[1].items():
        fill(config, run, seed)
        note_times(run)
    figures = {"seconds": 1.0, "held_out_accuracy": 0.4, "held_out_action_f1": 0.6, "held_out_commonest_f1": 0.25}
    write_json(runs[0].workdir / "stages.json", {"inverse_dynamics": figures})
    grid.write(config, runs)
    return config, runs, results_file.load_results(folder / "results" / "study_tiny.json")


def test_a_constant_factor_is_found_with_an_interval_of_a_point(done):
    there = done[2]["differences"]
    for against, arm in (("phase1", "prowl"), ("frozen_reference", "prowl"), ("frozen_reference", "phase1")):
        expected = (1 + OFF[arm]) / (1 + OFF[against]) - 1
        for name in ("held_out", "held_out/mine", "in_distribution", "critical", "cross_buffer", "long_rollout"):
            for subset, rows in there[against][name]["latent_regret"].items():
                np.testing.assert_allclose(rows[arm], [expected] * 5, atol=1e-4, err_msg=f"{name} {subset}")
    assert "passive" not in there


def test_clips_of_one_episode_are_drawn_together(done, monkeypatch):
    """Where episodes are noted of all of a set; of the others each clip stands for itself."""
    config, runs, results = done
    asked = {}

    def bootstrap(a, b, *, episodes=None, **more):
        asked.setdefault(tuple(map(len, a)), []).append(episodes)
        return hierarchical_bootstrap(a, b, episodes=episodes, **more)

    monkeypatch.setattr(results_file, "hierarchical_bootstrap", bootstrap)
    found = read_sets(runs[1], ("phase1", *ARM_NAMES))
    results_file._differences(config, found["held_out"], dict.fromkeys(ARM_NAMES, found["held_out"]), "phase1")
    whole = asked[2 * CLIPS, 2 * CLIPS][0]
    assert [len(set(one)) for one in whole] == [2 * CLIPS // 4] * 2 and set(whole[0]) == set(whole[1])
    hardest = [len(subset) for subset in (found["held_out"][0].rows["hardest_decile"],)] * 2
    assert all(len(one) == hardest[0] for one in asked[tuple(hardest)][0])
    assert episodes_of(found["events"]) is None and episodes_of(found["held_out"], "action_dense") is not None


def test_the_means_are_those_of_the_values(done):
    _, runs, results = done
    for i, run in enumerate(runs[1].values()):
        values = np.load(values_path(run, "held_out/mine", "prowl"))
        regret = np.load(values_path(run, "held_out/mine", "phase1"))["latent_regret"]
        means = results["sets"]["held_out/mine"]["means"]["prowl"]["afs_epe"]
        assert means["all"][i] == pytest.approx(values["afs_epe"].mean(), rel=1e-4)
        hardest = np.argsort(-regret)[:2]
        assert means["hardest_decile"][i] == pytest.approx(values["afs_epe"][hardest].mean(), rel=1e-4)
        curve = results["long_rollout"]["means"]["prowl"][i]
        np.testing.assert_allclose(
            curve, np.load(values_path(run, "long_rollout", "prowl"))["frame_regret"].mean(0), rtol=1e-4
        )
    assert results["sets"]["critical"]["clips"] == {"all": [20, 20], "first_cycle": [10, 10], "held_out": [10, 10]}
    assert results["sets"]["held_out"]["clips"]["hardest_decile"] == [4, 4]
    assert results["sets"]["held_out"]["clips"]["action_dense"] == [14, 14], "a third of both tasks together"
    values = np.load(values_path(runs[1][3], "held_out/mine", "prowl"))["ssim"]
    dense = results["sets"]["held_out/mine"]["means"]["prowl"]["ssim"]["action_dense"]
    assert dense[0] == pytest.approx(values[-7:].mean(), rel=1e-4), "the clips in which most is done"
    assert "action_dense" not in results["sets"]["critical"]["clips"]
    assert "action_dense" not in results["sets"]["buffer/prowl"]["clips"], "not noted there"


def test_the_modes_that_most_clips_hold_are_told_one_by_one(done):
    results = done[2]
    kept = [f"mode{i:02}" for i in range(14, 2, -1)]
    assert results["novel_modes"] == [15, 0], "all are counted, in each seed"
    assert set(results["sets"]["modes"]["clips"]) == {"all", *kept}
    assert results["sets"]["modes"]["clips"]["mode14"] == [15, 0] and results["sets"]["modes"]["clips"]["all"] == [
        20,
        0,
    ]
    text = tables.markdown(results).split("### Clips with a strictly novel action mode")[1].split("###")[0]
    rows = [line for line in text.splitlines() if line.startswith(("| all", "| mode"))]
    assert [row.split(" | ")[0][2:] for row in rows] == ["mode", "all", *kept] * 2
    assert (
        rows[2].startswith("| mode14 | 15 | **\N{MINUS SIGN}27.27 (")
        and rows[0] == "| mode | clips | prowl | unanchored |"
    )


def test_what_is_read_off_the_frames_belongs_to_sets_and_older_seeds_have_none(done):
    results = done[2]
    mine, together, own = (results["sets"][name] for name in ("held_out/mine", "held_out", "in_distribution"))
    assert mine["of_set"]["prowl"] == {"action_f1": [0.7, 0.7]} and mine["real_frames"] == {"action_f1": [0.75, 0.75]}
    assert together["of_set"]["prowl"] == {"action_f1": [0.6, None]}, "the mean of the tasks, where all have it"
    assert own["of_set"]["phase1"] == {"action_f1": [0.3, None]}
    assert results["sets"]["critical"]["of_set"]["prowl"] == {} == results["sets"]["critical"]["real_frames"]
    assert results["inverse_dynamics"] == {"accuracy": 0.4, "action_f1": 0.6, "commonest_f1": 0.25}
    assert mine["means"]["unanchored"]["lpips_alexnet"]["all"] == [2.05, 2.05]
    assert results["differences"]["phase1"]["held_out/mine"]["lpips_alexnet"]["all"]["prowl"] == [-0.1] * 5
    assert "lpips_alexnet" not in own["means"]["prowl"], "one seed has it and the other has not"
    assert set(METRICS) == set(together["means"]["prowl"]) == set(own["means"]["prowl"])


def test_the_loop_the_events_and_the_budget(done):
    config, _, results = done
    assert results["seeds"] == [3, 5]
    assert results["cycles"]["frozen_reference"]["kl_to_reference"] == [[0.0, 0.0]] * 2
    assert results["cycles"]["prowl"]["kl_to_reference"] == [[3.0, 3.1], [5.0, 5.1]]
    assert results["events"]["demonstrations"] == {"fell": [0.5, 0.5]}
    assert results["events"]["prowl"] == {"fell": [7.0, 9.0]}
    assert "unanchored" not in results["events"], "it has not acted"
    assert results["acted"]["prowl"] == {
        "steps": [64, 64],
        "kl_to_reference": [0.4, 0.4],
        "camera_speed_over_reference": [4.0, 4.0],
    }
    assert results["arms"]["unanchored"]["kl_cost"] == config.adversary.kl_costs.weak
    assert results["arms"]["frozen_reference"]["kl_cost"] is None
    p = config.phase2
    assert results["budget"]["each_arm"]["world_model_updates"] == p.cycles * p.updates
    assert results["budget"]["arm_minutes"] == {arm: [0.5, 0.5] for arm in ARM_NAMES}


def test_who_never_acts_has_no_kl_and_what_some_have_is_told_of_them_alone():
    """NFT's anchor is the world model's, under the same name."""
    row = {"stage": "phase2", "arm": "x", "kl_to_reference": 0.3, "reward": 2.0, "pat_unlearnable": None}
    logs = [[{**row, "step": step} for step in (1, 2)]] * 2

    def told(trains_policy, acts):
        method = types.SimpleNamespace(trains_policy=trains_policy, needs=lambda: types.SimpleNamespace(acts=acts))
        return results_file._cycles(logs, "x", method)

    assert [told(*of)["kl_to_reference"][1] for of in ((True, True), (False, True), (False, False))] == [
        [0.3, 0.3], [0.0, 0.0], [None, None],
    ]  # fmt: skip
    found = told(False, False)
    assert found["reward"] == [[2.0, 2.0]] * 2 and "pat_unlearnable" not in found
    assert set(results_file.CYCLE_METRICS) <= found.keys()
    described = {"says": "what it is", "kl_cost": None}
    results = {"arms": {"x": described}, "cycles": {"x": found}, "budget": {"arm_minutes": {"x": [1.0]}}}
    assert "| x | what it is | \N{EN DASH} | \N{EN DASH} | \N{EN DASH} | 1.000 |" in tables._arms(results)


def test_what_is_beyond_learning_and_what_a_start_decides_have_tables():
    cycles = {"pat_unlearnable": [[0.1, 0.2, 0.3]] * 2, "pat_hard": [[0.5, 0.5, 0.6]] * 2}
    cycles |= {"pat_reducible_share": [[0.0, 0.0, 0.25]] * 2}
    starts = {f"reward_{name}": [[0.25, 0.75]] for name in ("of_start", "between_starts", "within_starts")}
    results = {"arms": {"prowl": {}, "prowl_branched": {}}, "cycles": {"prowl": cycles, "prowl_branched": starts}}
    assert tables._beyond_learning(results)[1].splitlines()[2:] == [
        "| prowl | 0.1000 | 0.2000 | 0.3000 | 0.6000 | 0.2500 |"
    ]
    assert tables._starts(results)[1].splitlines()[2:] == ["| prowl branched | 0.5000 | 0.5000 | 0.5000 |"]
    none = {"arms": {"nft": {}}, "cycles": {"nft": {}}}
    assert tables._beyond_learning(none) == [] == tables._starts(none)


def test_arms_that_spent_differently_are_refused(tmp_path):
    config = study_config(tmp_path, seeds=(0,))
    runs = grid.open_runs(config, tmp_path / "runs")
    fill(config, runs[1][0], 0)
    note_times(runs[1][0])
    counts = json.loads((runs[1][0].workdir / "counts.json").read_text())
    counts["prowl"]["updates"] += 1
    write_json(runs[1][0].workdir / "counts.json", counts)
    with pytest.raises(RuntimeError, match="arm prowl spent"):
        grid.write(config, runs)


def test_the_file_is_small_and_reads_back(done, tmp_path):
    results = done[2]
    results_file.save(tmp_path / "again.json", results)
    assert json.loads((tmp_path / "again.json").read_text()) == results
    assert set(results) == {*results_file.KEYS, "budgets", "central", "provenance"}
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(ValueError, match="no file of results: it has no 'study'"):
        results_file.load_results(tmp_path / "other.json")


def test_every_seed_says_where_its_figures_come_from_and_an_older_study_that_it_is_not_known(tmp_path):
    config = study_config(tmp_path, seeds=(3,))
    runs = grid.open_runs(config, tmp_path / "runs")
    fill(config, runs[1][3], 3)
    note_times(runs[1][3])
    provenance.note_stage(runs[1][3].workdir, "world_model")
    results = grid.write(config, runs)
    here = provenance.this_process()
    seed, put_together = results["provenance"]["starts"]
    assert seed == {"run": "seed3", **here, "stages": ["world_model"]} and put_together == {"run": "results", **here}
    assert results["provenance"]["config"] == json.loads(config.to_json())
    others = [f"seed3's {stage}" for stage in runs[1][3].stages() if stage != "world_model"]
    assert results["provenance"]["not_noted"] == others
    assert f"{' '.join(provenance.in_words(results['provenance']))}\n" in tables.markdown(results)
    del results["provenance"]
    assert f"{provenance.NOT_NOTED}\n" in tables.markdown(results)


def test_the_cameras_alarm_is_the_configurations(done):
    results = json.loads(json.dumps(done[2]))
    known = plots.draw(results)["camera"]
    results["settings"]["camera_alarm"] = 6.5
    other = plots.draw(results)["camera"]
    del results["settings"]["camera_alarm"]  # as in older studies
    none = plots.draw(results)["camera"]
    assert len({known, other, none}) == 3 and known.count(plots._ALARM) == none.count(plots._ALARM) + 1


def test_the_tables_say_what_the_file_says(done, capsys):
    config, _, _ = done
    file = pathlib.Path(config.study.results) / "study_tiny.json"
    assert tables.main([str(file)]) == 0
    text = capsys.readouterr().out
    assert text == file.with_suffix(".md").read_text()
    row = next(line for line in text.splitlines() if line.startswith("| prowl | **\N{MINUS SIGN}27"))
    off = "\N{MINUS SIGN}27.27"
    for metric in ("PSNR", "SSIM"):
        assert f"### {metric} against the frozen reference, higher is better" in text
        assert f"### {metric} against theta_0" not in text
    for baseline in ("the frozen reference", "theta_0"):
        assert f"### Sharpness against {baseline}, higher is sharper" in text
    dense = text.split("### Appearance against AFS-EPE")[1].split("###")[0].splitlines()
    assert dense[2] == "Held-out tasks, 28 clips: the tertile with the most action."
    assert dense[4] == "| arm | latent regret | AFS-EPE | PSNR, higher is better | SSIM, higher is better | sharpness |"
    assert [line.split(" | ")[0] for line in dense[6:8]] == ["| prowl", "| unanchored"]
    assert dense[6].count("**\N{MINUS SIGN}27.27 (") == 5
    assert row == "| prowl | " + " | ".join([f"**{off} ({off}, {off}) {{{off}, {off}}}**"] * 6) + " |"
    assert tables._interval([-0.01, -0.02, 0.0, -0.03, 0.01]) == (
        "-1.00 (-3.00, +1.00) {-2.00, +0.00}".replace("-", "\N{MINUS SIGN}")
    )
    assert tables._interval([0.011, None, None, None, None]) == "+1.10"
    events = text.split("### Regret on clips with an event")[1].split("###")[0].splitlines()
    assert events[2].endswith("| flooded, 1 clips |")
    assert events[5].startswith("| prowl | **") and events[5].endswith("** | \N{MINUS SIGN}20.00 |"), (
        "one clip: no interval"
    )
    for title in ("critical trajectories", "Events in 1,000 steps", "clips with an event", "by predicted frame"):
        assert title in text
    assert "| demonstrations | \N{EN DASH} | \N{EN DASH} | \N{EN DASH} | 0.5000 |" in text
    assert "| real frames | 0.7500 |" in text and "| prowl | 0.6000 |" in text
    assert "on held-out real frames: whole actions right 0.4000, F1 0.6000, F1 of always" in text
    assert "| prowl | 64 | 0.4000 | 4.000 | 8.000 (7.000 to 9.000) |" in text
    assert "| arm | all, 40 clips | first cycle, 20 clips | held out, 20 clips |" in text
    assert f"| prowl | 1.000 | 1.200 | 1.200 | 0.1000 | 1.000 | 2.000 | {tables.number(-0.25)} |" in text
    assert "| hardest decile, 8 clips | others' buffers | in distribution, 40 clips |" in text


def test_the_document_is_what_the_committed_files_give(capsys):
    """docs/results.md between its markers; what else lies beside the studies is none."""
    committed = sorted((ROOT / "results").glob("*.json"))
    files = [file for file in committed if "study" in json.loads(file.read_text())]
    assert {file.stem for file in files} >= {"study_vizdoom", "study_voxel"}
    tables.main([str(file) for file in files])
    document = (ROOT / "docs" / "results.md").read_text()
    assert document.split("<!-- results -->\n")[1].split("<!-- /results -->")[0] == capsys.readouterr().out
    for file in files:
        assert file.stat().st_size < 2**20
        assert file.with_suffix(".md").read_text() == tables.markdown(results_file.load_results(file))


def test_the_intervals_that_the_text_quotes_stand_in_the_tables():
    text, tables = (ROOT / "docs" / "results.md").read_text().split("<!-- results -->")
    told = text[text.index("## What came out") :].split("## What is compared")[0]
    number = "[+\N{MINUS SIGN}][0-9.]+"
    quoted = re.findall(rf"{number} \({number}, {number}\)", told)
    assert len(quoted) > 20 and all(interval in tables for interval in quoted), set(quoted) - {
        q for q in quoted if q in tables
    }


def test_at_a_glance_stands_what_the_central_rows_and_the_shares_say():
    """Of a committed study with oracles."""
    results = results_file.load_results(ROOT / "results/development/proof_seed100_16x120.json")
    lines = tables.markdown(results).split("### At a glance")[1].split("\n\n")[2].splitlines()
    head, rows = lines[0].split(" | "), {line.split(" | ")[0].strip("| "): line.split(" | ") for line in lines[2:]}
    assert list(rows) == ["theta_0", "frozen reference", "prowl", "action fidelity", "oracle", "oracle all"]
    central = {
        row["arm"]: row
        for row in results["central"]
        if (row["set"], row["subset"], row["metric"], row["against"])
        == ("critical", "unseen", "afs_epe", "frozen_reference")
    }
    for title, arm in (("prowl", "prowl"), ("action fidelity", "action_fidelity"), ("theta_0", "phase1")):
        told = [f"{100 * central[arm][k]:+.1f}".replace("-", "\N{MINUS SIGN}") for k in ("relative", "low", "high")]
        assert rows[title][head.index("AFS-EPE")].strip("*") == f"{told[0]} ({told[1]}, {told[2]})"
    share = 100 * results["mendable_share"]["prowl"]["critical"]["unseen"][0]
    assert rows["prowl"][head.index("share of the mendable, %")].startswith(f"{share:.0f} (")
    assert rows["frozen reference"][1] == tables.MISSING


def test_votes_on_the_seeds_arms_are_told_together(done, tmp_path):
    said = {
        "time": "2026-01-01T00:00:00+00:00", "seed": 0, "steps": [1, 1], "voter": "v", "judge": None, "real": True,
        "frames": 3,
    }  # fmt: skip
    sides = [("seed3:prowl", "seed3:frozen_reference"), ("seed5:frozen_reference", "seed5:prowl"), ("seed3:prowl", "x")]
    sides += [("seed3:prowl", "seed5:prowl")]  # not a pair of arms
    rows = [
        {**said, "clip": str(clip), "left": left, "right": right, "vote": "left"}
        for clip, (left, right) in enumerate(sides)
    ]
    assert results_file.voted(tmp_path / "votes.jsonl", ARM_NAMES) == {}
    votes.append(tmp_path / "votes.jsonl", [*rows, rows[0] | {"clip": "9"}])
    text = tables.markdown({**done[2], **results_file.voted(tmp_path / "votes.jsonl", ARM_NAMES)})
    assert "### Blind comparison of dreams\n\nPeople, 3 votes of 1 voter:\n\n| dreams of |" in text
    assert "| prowl against frozen_reference | 2 : 1 | 0 | 67 % (21, 94) |" in text
    assert "| frozen_reference | 0 |\n| prowl | +89 (" in text
    assert "Blind" not in tables.markdown(done[2])


def test_the_plots_are_pictures_of_these_figures(done, tmp_path, capsys):
    config, _, results = done
    file = pathlib.Path(config.study.results) / "study_tiny.json"
    assert plots.main([str(file), f"--folder={tmp_path}"]) == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {f"study_tiny_{plot}.svg" for plot in ("critical", "kl", "camera", "long", "dense", "events")}
    for path in tmp_path.iterdir():
        xml.etree.ElementTree.parse(path)
        assert "prowl" in path.read_text()
    assert plots.draw(results) == {p.stem.rsplit("_")[-1]: p.read_text() for p in tmp_path.iterdir()}
    (file.parent / "study_tiny_acted.webp").write_bytes(b"moving")
    assert plots.main([str(file), f"--folder={tmp_path}"]) == 0
    assert (tmp_path / "study_tiny_acted.webp").read_bytes() == b"moving"


@pytest.fixture
def noted(tmp_path):
    """(config, what was done as (directory, step), stages that only note it)."""
    config, calls = study_config(tmp_path), []

    def step(name):
        def do(run, arm=None, **_):
            calls.append((run.workdir.name, name if arm is None else arm))
            if name == "evaluation":
                fill(config, run, run.config.seed)
                (run.workdir / "pictures").mkdir(exist_ok=True)
                (run.workdir / "pictures/critical.webp").write_bytes(run.workdir.name.encode())
            return {"tokens": 7}

        return do

    return config, calls, {name: step(name) for name in grid.STAGES}


def test_a_study_goes_on_where_it_was_stopped(noted, tmp_path):
    config, calls, stages = noted

    def stopped(run, arm):
        if (run.config.seed, arm) == (5, "prowl"):
            raise KeyboardInterrupt
        return stages["arm"](run, arm)

    with pytest.raises(KeyboardInterrupt):
        grid.run_study(config, tmp_path / "runs", stages | {"arm": stopped})
    file = tmp_path / "results" / "study_tiny.json"
    assert results_file.load_results(file)["seeds"] == [3], "the seed that is done has its results"
    assert len(calls) == 3 + 6 + 3
    assert calls[:3] == [("shared", name) for name in ("demonstrations", "autoencoder", "inverse_dynamics")]
    assert grid.run_study(config, tmp_path / "runs", stages)["seeds"] == [3, 5]
    assert len(calls) == len(set(calls)) == 3 + 2 * 6
    grid.run_study(config, tmp_path / "runs", stages)
    assert len(calls) == 15, "nothing is done twice"
    assert (file.parent / "study_tiny_critical.webp").read_bytes() == b"seed3", "pictures are the first seed's"


def test_arms_and_seeds_can_be_added(noted, tmp_path):
    config, calls, stages = noted
    config.study.seeds, config.arms = (3,), ("frozen_reference", "prowl")
    grid.run_study(config, tmp_path / "runs", stages)
    done = len(calls)
    config.study.seeds, config.arms = (3, 5), ARM_NAMES
    assert grid.run_study(config, tmp_path / "runs", stages)["seeds"] == [3, 5]
    assert calls[done:][:2] == [("seed3", "unanchored"), ("seed3", "evaluation")]
    assert len(calls) == done + 2 + 6


def test_doses_are_studies_of_their_own_and_go_on_too(noted, tmp_path):
    config, calls, stages = noted
    config.study.seeds, own = (3,), config.phase2.trajectories
    config.study.dose.update(trajectories=(own, 2 * own), seeds=(5,), arms=("frozen_reference", "prowl"))

    def stopped(run, arm):
        if run.config.phase2.trajectories != own and arm == "prowl":
            raise KeyboardInterrupt
        return stages["arm"](run, arm)

    with pytest.raises(KeyboardInterrupt):
        grid.run_study(config, tmp_path / "runs", stages | {"arm": stopped})
    file = tmp_path / "results" / "study_tiny.json"
    assert {row["value"] for row in results_file.load_results(file)["dose"]} == {own}, "its own rows are a dose"
    done = len(calls)
    results = grid.run_study(config, tmp_path / "runs", stages)
    assert calls[done:] == [("seed5", "prowl"), ("seed5", "evaluation")]
    gain = (1 + OFF["prowl"]) / (1 + OFF["frozen_reference"]) - 1
    rows = [row for row in results["dose"] if row["metric"] == "latent_regret" and row["set"] == "critical"]
    assert [(row["value"], row["arm"], row["seeds"]) for row in rows] == [(n, "prowl", 1) for n in (own, 2 * own)]
    assert [row["relative"] for row in rows] == pytest.approx([gain] * 2, abs=1e-4)
    assert "### When does hunting pay: against the control" in file.with_suffix(".md").read_text()
    assert "dose" in plots.draw(results)


def test_seeds_side_by_side_are_the_same_steps_in_groups(noted, tmp_path):
    config, calls, stages = noted

    def run_arms(runs, arm):
        calls.append(("+".join(run.workdir.name for run in runs), arm))
        return [{"tokens": 7} for _ in runs]

    stages["arms_side_by_side"] = run_arms
    config.study.update(seeds=(3, 5, 8), side_by_side=2)
    assert grid.run_study(config, tmp_path / "runs", stages)["seeds"] == [3, 5, 8]
    own = ["world_model", "reference"]
    expected = [(f"seed{seed}", stage) for seed in (3, 5) for stage in own]
    expected += [("seed3+seed5", arm) for arm in ARM_NAMES] + [("seed3", "evaluation"), ("seed5", "evaluation")]
    expected += [("seed8", stage) for stage in (*own, *ARM_NAMES, "evaluation")]
    assert calls[3:] == expected
    noted_by = grid.open_runs(config, tmp_path / "runs")[1][3].stages()["phase2/prowl"]
    assert noted_by["side_by_side"] == 2 and results_file.seconds_of(noted_by) == noted_by["seconds"] / 2
    grid.run_study(config, tmp_path / "runs", stages)
    assert len(calls) == 3 + len(expected), "nothing is done twice"


def test_a_process_does_the_steps_of_its_own_seed_and_leaves_the_others_alone(noted, tmp_path):
    config, calls, stages = noted
    folder = tmp_path / "runs"
    grid.do_steps(config, grid.open_runs(config, folder, own=("shared",)), stages=stages)
    assert [name for name, _ in calls] == ["shared"] * 3
    assert not (folder / "seed3").exists() and not (folder / "seed5").exists()
    grid.do_steps(config, grid.open_runs(config, folder, own=(5,)), 2, stages)
    assert [name for name, _ in calls[3:]] == ["seed5"] * 6
    assert not (folder / "seed3").exists()
    assert results_file.load_results(tmp_path / "results" / "study_tiny.json")["seeds"] == [5]
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    runs = grid.open_runs(config, folder, own=())
    runs[1][5].log.write(stage="phase2", step=1)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before, "who only reads writes nothing"


def test_seeds_are_handed_to_processes_after_what_they_share(noted, tmp_path, monkeypatch):
    config, calls, stages = noted
    config.study.processes, started, folder = 2, [], tmp_path / "runs"
    monkeypatch.setattr(grid.parallel, "cores", lambda: [0, 1, 2, 3])

    def run(work, pieces, number):
        started.append((list(pieces), number))
        return {name: code for name, piece in pieces.items() if (code := work(piece))}

    monkeypatch.setattr(grid.parallel, "run", run)
    assert grid.run_study(config, folder, stages)["seeds"] == [3, 5]
    assert started == [(["shared"], 1), (["seed3", "seed5"], 2)]
    assert len(calls) == len(set(calls)) == 3 + 2 * 6
    (folder / "seed5" / "stages.json").unlink()
    grid.run_study(config, folder, stages)
    grid.run_study(config, folder, stages)
    assert started[2:] == [(["shared"], 1), (["seed5"], 1), (["shared"], 1)], "only seeds that are not done"
    monkeypatch.setattr(grid.parallel, "run", lambda *_: {"seed3": 1, "seed5": 2})
    with pytest.raises(SystemExit) as stopped:
        grid.run_study(config, folder, stages)
    assert stopped.value.code == 2


@given(st.integers(1, 700), st.integers(1, 200))
def test_thinned_buffers_are_spread_over_the_whole(rows, most):
    kept = thinned({"row": np.arange(rows), "twice": 2 * np.arange(rows)}, most)
    assert len(kept["row"]) == min(rows, most) and (kept["twice"] == 2 * kept["row"]).all()
    steps = np.diff(kept["row"])
    assert kept["row"][0] == 0 and (most == 1 or kept["row"][-1] == rows - 1)
    assert not len(steps) or (steps.min() >= 1 and steps.max() - steps.min() <= 1)


def test_demonstrations_that_have_changed_are_refused_before_anything_is_done(noted, tmp_path):
    config, calls, stages = noted
    spec, shape = build.spec_of(config), build.frame_shape(config)
    folder = tmp_path / "runs" / "shared" / "data" / config.env.held_out_tasks[0]
    folder.parent.mkdir(parents=True)
    with StoreWriter(folder, spec, shape) as writer:
        writer.add_episode(np.zeros((3, *shape), np.uint8), np.tile(spec.null, (3, 1)))
    content = bytearray((folder / "frames.bin").read_bytes())
    content[7] ^= 1
    (folder / "frames.bin").write_bytes(content)
    with pytest.raises(UsageError, match="frames.bin has changed since it was written"):
        grid.run_study(config, tmp_path / "runs", stages)
    assert not calls
    config.demonstrations.verify = False
    grid.run_study(config, tmp_path / "runs", stages)
    assert calls


def test_seeds_share_the_demonstrations_and_nothing_else(noted, tmp_path):
    config, *_ = noted
    shared, seeds = grid.open_runs(config, tmp_path / "runs")
    one, other = seeds.values()
    assert one.data("wander") == other.data("wander") == shared.data("wander")
    for stage in ("autoencoder", "inverse_dynamics"):
        assert one.checkpoints(stage) == other.checkpoints(stage) == shared.checkpoints(stage)
    assert one.checkpoints("world_model") != other.checkpoints("world_model")
    assert (shared.config.seed, one.config.seed, other.config.seed) == (0, 3, 5)
    assert {build.data_seed(run.config) for run in (shared, one, other)} == {0}


def test_what_is_left_and_how_long():
    class Fake:
        def __init__(self, stages):
            self._stages = stages

        def stages(self):
            return {name: {"seconds": s} for name, s in self._stages.items()}

    one, other = Fake({"world_model": 100.0, "phase2/prowl": 60.0, "phase2/passive": 120.0}), Fake({})
    steps = [grid.Step((run,), stage, None) for run in (one, other) for stage in (*one._stages, "evaluation/x")]
    assert grid.left(steps) == "5 of 8 steps left, about 5 min, 2 of them not timed yet"
    assert grid.left(steps[:3]) == "all done"
    assert grid.left(steps[3:4]) == "1 of 1 steps left, 1 of them not timed yet"


@pytest.mark.parametrize("arg", ["vizdoom", "voxel", "tiny"])
def test_the_shipped_studies_keep_to_the_rules(arg):
    config = get_config(arg)
    assert [words for condition, words in (*consistency.RULES, *RULES) if not condition(config)] == []
    assert set(config.arms) <= set(ARMS) and {"frozen_reference", "prowl"} <= set(config.arms)


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--config=experiments/configs/quickstart.py"], "no group 'study'"),
        (["--config=experiments/configs/study.py:tiny", "--config.study.seeds=(1,1)"], "study.seeds=(1, 1)"),
        (["--config=experiments/configs/study.py:tiny", "--config.arms=('nobody',)"], "arms=('nobody',) holds"),
        (["--config=experiments/configs/study.py:tiny", "--config.demonstrations.seed=-1"], "share the demonstrations"),
        (["--config=experiments/configs/study.py:tiny", "--config.study.event_clips=0"], "study.event_clips=0"),
        (["--config=experiments/configs/study.py:tiny", "--config.study.side_by_side=0"], "study.side_by_side=0"),
        (["--config=experiments/configs/study.py:tiny", "--config.study.results=a.json"], "study.results=a.json names"),
        (
            ["--config=experiments/configs/study.py:vizdoom", "--config.study.side_by_side=2"],
            "needs phase2.program=device",
        ),
        (["--config=experiments/configs/study.py:tiny", "--config.evaluation.horizon=5"], "phase2.horizon=4"),
    ],
)
def test_mistakes_are_answered_in_a_line(arguments, said, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as stop:
        study.main(arguments)
    lines = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2 and len(lines) == 1 and said in lines[0], lines
