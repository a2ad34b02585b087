"""The quick start from end to end at its smallest: one run, shared by all tests here.

It is also run in parts a second time, interrupted, and must come to the same bits.
"""

import collections
import contextlib
import dataclasses
import io
import json
import shutil

import jax
import numpy as np
import psutil
import pytest

pytest.importorskip("vizdoom")

from experiments import benchmark, compare, dream_quality, sampler_steps, uncertainty
from experiments.configs.quickstart import get_config
from experiments.evaluation import evaluate
from experiments.evaluation.reward_bench import make_bench
from experiments.evaluation.sampler_steps import measure_sampler_steps
from experiments.run import provenance, training_loop
from experiments.run.command_line import UsageError
from experiments.run.directory import Run
from experiments.run.metrics_log import read_metrics
from experiments.stages import build, error_heads, phase2, pipeline
from experiments.stages.clip_stores import open_store
from experiments.stages.inverse_dynamics import load_inverse_dynamics
from experiments.stages.passive_batches import passive_fetch
from experiments.stages.world_model import load_world_model, train_world_model
from prowl_jax.methods.prowl import Prowl
from prowl_jax.metrics.optical_flow import small_flow
from prowl_jax.rewards import OF_BRANCHES, REWARDS
from prowl_jax.train.checkpoint import Checkpoints
from prowl_jax.train.inverse_dynamics import make_recover

ARMS = ("phase1", "frozen_reference", "prowl")
STAGES = (
    "demonstrations", "autoencoder", "world_model", "reference", "inverse_dynamics", "dream_quality",
    "phase2/frozen_reference", "phase2/prowl", "evaluation", "report",
)  # fmt: skip


RECOVERED = ("accuracy", "action_precision", "action_recall", "action_f1", "camera_l1", "commonest_f1")


def run_all(workdir, config=None):
    """What the pipeline returned and what it printed."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        evaluation = pipeline.run_all(config or get_config("tiny"), workdir)
    return evaluation, out.getvalue()


@pytest.fixture(scope="module")
def profiled(tmp_path_factory):
    """The workdir of a whole run, what it printed, and its profile."""
    folder = tmp_path_factory.mktemp("quickstart")
    out, output = io.StringIO(), folder / "profile.json"
    with contextlib.redirect_stdout(out):
        flags = [f"--workdir={folder / 'tiny'}", f"--output={output}"]
        assert benchmark.main(["--profile=experiments/configs/quickstart.py:tiny", *flags]) == 0
    return folder / "tiny", out.getvalue(), read_json(output)


@pytest.fixture(scope="module")
def done(profiled):
    """The workdir of the run, and what it printed."""
    return profiled[:2]


def read_json(path):
    return json.loads(path.read_text())


def test_the_run_directory_holds_everything(done):
    workdir, out = done
    assert {p.name for p in workdir.iterdir()} == {
        "config.json", "metrics.jsonl", "stages.json", "data", "checkpoints", "actions", "evaluation.json", "report",
         "dream_quality.json", "dream_quality.webp", "provenance.json", ".lock",
    }  # fmt: skip
    assert read_json(workdir / "config.json") == json.loads(get_config("tiny").to_json())
    assert tuple(read_json(workdir / "stages.json")) == STAGES
    assert {p.name for p in (workdir / "checkpoints").iterdir()} == {
        "autoencoder",
        "world_model",
        "behaviour",
        "inverse_dynamics",
        "phase2",
    }
    page = (workdir / "report" / "index.html").read_text()
    assert page.startswith("<!doctype html>") and page.rstrip().endswith("</html>") and "PROWL" in page
    assert f"run directory: {workdir}" in out and f"report: {workdir / 'report' / 'index.html'}" in out


def test_the_evaluation_opens_with_its_checks(done):
    evaluation = read_json(done[0] / "evaluation.json")
    assert next(iter(evaluation)) == "checks"
    assert list(evaluation["checks"]) == [
        "autoencoder_psnr_db",
        "regret_over_repeat_last_frame",
        "regret_exchanged_actions_over_true",
        "minutes",
        "peak_memory_gb",
        *(f"inverse_dynamics_held_out_{name}" for name in RECOVERED),
    ]
    checks, steps = evaluation["checks"], read_json(done[0] / "stages.json")
    assert checks["autoencoder_psnr_db"] == steps["autoencoder"]["psnr_db"] > 3.0
    own = evaluation["arms"]["phase1"]["in_distribution"]["latent_regret"]["all"]
    ratio = own / evaluation["baselines"]["repeat_last_frame"]["in_distribution"]
    np.testing.assert_allclose(checks["regret_over_repeat_last_frame"], ratio, rtol=1e-5)
    assert 0.1 < checks["regret_exchanged_actions_over_true"] < 10.0
    assert checks["regret_exchanged_actions_over_true"] != 1.0, "the same actions were dreamt"
    seconds = sum(s["seconds"] for name, s in steps.items() if name != "report")
    np.testing.assert_allclose(60 * checks["minutes"], seconds, rtol=0.05)
    most = max(s["peak_memory_gb"] for name, s in steps.items() if name != "report")
    assert checks["peak_memory_gb"] >= most - 0.0005  # stages note three digits
    assert checks["peak_memory_gb"] < psutil.virtual_memory().total / 1e9
    last = rows_of(done[0], "phase2", "prowl")[-1]
    assert evaluation["arm_checks"]["frozen_reference"] == {}
    assert list(evaluation["arm_checks"]["prowl"]) == ["kl_to_reference", "camera_speed_over_reference"]
    for name, value in evaluation["arm_checks"]["prowl"].items():
        np.testing.assert_allclose(value, last[name], rtol=1e-6)
    assert evaluation["targets"] == get_config("tiny").evaluation.targets.to_dict() != {}
    for name in RECOVERED:
        assert checks[f"inverse_dynamics_held_out_{name}"] == steps["inverse_dynamics"][f"held_out_{name}"]


def test_figures_say_where_they_come_from(done):
    evaluation, stages = read_json(done[0] / "evaluation.json"), read_json(done[0] / "provenance.json")[0]["stages"]
    assert tuple(stages) == STAGES
    noted = evaluation["provenance"]
    assert noted["config"] == read_json(done[0] / "config.json")
    (start,) = noted["starts"]
    assert tuple(start.pop("stages")) == STAGES[:-1] and start == provenance.this_process()
    page = (done[0] / "report" / "index.html").read_text()
    assert start["machine"]["cpu"] in page[page.index("<footer") :]
    assert all(table["seconds"] > 0 for arm in evaluation["arms"].values() for table in arm.values())


def test_a_profile_says_where_its_time_went(profiled):
    """Of a run that compiles for longer than it computes."""
    workdir, out, profile = profiled
    stages, noted = profile["stages"], read_json(workdir / "stages.json")
    assert list(stages) == [*STAGES, "between"]
    for name, row in stages.items():
        parts = [row[part] for part in ("compiling", "computing", "waiting", "host", "counting")]
        assert min(parts) >= 0 and row["seconds"] == pytest.approx(sum(parts))
        assert name == "between" or row["seconds"] == pytest.approx(noted[name]["seconds"], abs=0.1, rel=0.02)
    trained = ("autoencoder", "world_model", "reference", "inverse_dynamics", "phase2/prowl", "evaluation")
    assert all(stages[name]["flops"] > 0 < stages[name]["compiling"] for name in trained)
    assert stages["demonstrations"]["waiting"] > stages["demonstrations"]["computing"], "it only records"
    assert stages["report"]["host"] > 0 and profile["host"].keys() >= {"checkpoints", "checksums", "pictures"}
    assert profile["provenance"]["config"]["name"] == "tiny" and profile["rate"] > 1e8
    table = out[out.index("stage, seconds") :].splitlines()
    assert [line.split()[0] for line in table[1 : len(stages) + 2]] == [*stages, "all"]
    assert max(map(len, table[:-1])) <= 80


def test_no_program_is_compiled_twice(profiled):
    """But for those of a cycle, of which every arm has its own: the second reads them from the cache."""
    again = collections.Counter(profiled[2]["programs"]["twice"])
    of_a_cycle = {"observe", "score_all", "insert", "fine_tune", "rescore"}
    assert set(again) <= of_a_cycle and max(again.values()) == 1, again


def scores_by_hand(spec, true, said):
    """(macro F1 over the keys, mean distance of camera bins), class by class."""
    f1, apart = [], []
    for i, factor in enumerate(spec.factors):
        t, s = true[..., i].ravel().tolist(), said[..., i].ravel().tolist()
        if factor.camera:
            apart += [abs(a - b) for a, b in zip(t, s, strict=True)]
            continue
        of_class = []
        for c in set(t) | set(s):
            hits = sum(a == b == c for a, b in zip(t, s, strict=True))
            of_class.append(2 * hits / (t.count(c) + s.count(c)))
        f1.append(sum(of_class) / len(of_class))
    return sum(f1) / len(f1), sum(apart) / len(apart)


def test_the_ceiling_of_action_recovery_is_what_the_judge_says_of_the_real_frames(done):
    """Counted by hand on the clips of the evaluation."""
    run = Run(done[0], get_config("tiny"))
    context, spec = build.make_budget(run.config).context, build.spec_of(run.config)
    items = evaluate.make_sets(run, {})["in_distribution"]
    recover = make_recover(build.make_inverse_dynamics(run.config))
    said = np.asarray(recover(load_inverse_dynamics(run), items.frames[:, context - 1 :]))
    f1, apart = scores_by_hand(spec, items.actions[:, context - 1 : -1], said)
    ceiling = read_json(done[0] / "evaluation.json")["baselines"]["real_frames"]["in_distribution"]
    np.testing.assert_allclose((ceiling["action_f1"], ceiling["camera_l1"]), (f1, apart), rtol=1e-6)


def test_every_clip_is_of_the_episode_that_is_told(done):
    """Intervals draw episodes: a clip that was put to another would pass for independent."""
    run = Run(done[0], get_config("tiny"))
    sets, episodes = evaluate.make_sets(run, {}), evaluate.episodes_of_sets(run)
    assert episodes.keys() == sets.keys()
    for name, items in sets.items():
        for frames, told in zip(items.frames, episodes[name], strict=True):
            task, _, number = told.partition("/")
            recorded = open_store(run, task).episode(int(number)).frames
            starts = [t for t in range(len(recorded) - len(frames) + 1) if np.array_equal(recorded[t], frames[0])]
            assert any(np.array_equal(recorded[t : t + len(frames)], frames) for t in starts), (name, told)


def test_the_report_opens_with_the_dreams_by_frame(done):
    """The command measures the same as the stage did, and renews the report."""
    workdir, config = done[0], get_config("tiny")
    figures, page = read_json(workdir / "dream_quality.json"), workdir / "report" / "index.html"
    assert figures["finished"] and figures["step"] == config.world_model.steps
    assert list(figures["frames"]) == ["1", "2", "4", "8", "16", "20"]
    for row in figures["frames"].values():
        assert row["psnr_db_low"] <= row["psnr_db"] <= row["psnr_db_high"]
        assert 0 <= row["action_f1"] <= 1 and row["exchanged_over_true"] > 0 and row["energy_score"] > 0
        assert row["psnr_db_of_decoded"] < 100  # there is an autoencoder
    before = page.read_text()
    assert before.index("How good the dreams are") < before.index("<h2>Checks")
    assert dream_quality.main([f"--workdir={workdir}", "--quick"]) == 0
    again = read_json(workdir / "dream_quality.json")
    assert again.pop("provenance")["flags"]["quick"] == "True"
    assert again == figures and page.read_text() == before


def test_rewards_can_be_asked_of_a_run_and_the_judge_is_among_them(done):
    """What the probe and the table of N are measured with; what they make of it is tested on toys."""
    run = Run(done[0], get_config("tiny"))
    bench = make_bench(run, 3, None, "probe")
    assert {*REWARDS, *OF_BRANCHES, "inverse_dynamics", "inverse_dynamics_whole"} == set(bench.rewards)
    assert bench.frames == bench.head["frames"] == run.config.phase2.horizon and len(bench.clips.actions) == 3
    assert jax.tree.structure(bench.params["inverse_dynamics"]) == jax.tree.structure(load_inverse_dynamics(run))
    assert make_bench(run, 2, 1, "probe").frames == bench.model.chunk
    with pytest.raises(UsageError, match="no held-out episode"):
        make_bench(run, 2, 999, "probe")


def test_every_arm_is_measured_on_every_set(done):
    evaluation, config = read_json(done[0] / "evaluation.json"), get_config("tiny")
    held_out = [f"held_out/{task}" for task in config.env.held_out_tasks]
    buffers = [f"buffer/{arm}" for arm in config.arms]
    sets = {"in_distribution", *held_out, *buffers, "long_rollout"}
    novel = evaluation["modes"]["prowl"]["strictly_novel"]
    sets |= {"novel_modes/prowl"} if novel else set()
    assert tuple(evaluation["arms"]) == ARMS
    for arm in ARMS:
        assert evaluation["arms"][arm].keys() == sets == evaluation["baselines"]["repeat_last_frame"].keys()
        for name, table in evaluation["arms"][arm].items():
            clips = {"long_rollout": config.evaluation.long_clips}.get(name, config.evaluation.clips)
            of_buffer = name in buffers or name.startswith("novel_modes/")
            assert 0 < table["clips"] <= config.phase2.capacity if of_buffer else table["clips"] == clips
            for metric in ("latent_regret", "afs_epe", "psnr", "ssim", "gradient_energy"):
                assert table[metric].keys() == {"all", "hardest_tertile", "hardest_decile"}
                assert np.isfinite(list(table[metric].values())).all()
            # The harmonic mean of two numbers is at most their mean, in each class and so on average.
            mean = (table["action_precision"]["all"] + table["action_recall"]["all"]) / 2
            assert 0 < table["action_f1"]["all"] <= mean + 1e-9
            bins = max(factor.size for factor in build.spec_of(config).factors if factor.camera)
            assert table["camera_l1"]["all"] <= bins - 1
            ceiling = evaluation["baselines"]["real_frames"][name]
            assert ceiling.keys() == {"action_precision", "action_recall", "action_f1", "camera_l1"}
        assert evaluation["arms"][arm]["in_distribution"]["frechet_inverse_dynamics"]["all"] > 0
    curves = evaluation["long_rollout_regret_by_frame"]
    assert tuple(curves) == ARMS and {len(c) for c in curves.values()} == {config.evaluation.long_horizon}
    assert np.isfinite(list(curves.values())).all()
    # The hardest clips are those on which phase 1 was most wrong.
    regret = evaluation["arms"]["phase1"]["in_distribution"]["latent_regret"]
    assert regret["hardest_decile"] >= regret["hardest_tertile"] >= regret["all"]
    pairs = {(c["arm"], c["against"]) for c in evaluation["comparisons"]}
    assert pairs == {("frozen_reference", "phase1"), ("prowl", "phase1"), ("prowl", "frozen_reference")}
    compared = {c["metric"] for c in evaluation["comparisons"]}
    assert compared == {"latent_regret", "afs_epe", "psnr", "ssim", "gradient_energy"}
    assert len(evaluation["comparisons"]) == len(pairs) * len(sets) * len(compared) * 3


def test_both_arms_had_the_same_budget_and_one_policy_rested(done):
    evaluation, config = read_json(done[0] / "evaluation.json"), get_config("tiny")
    frozen, prowl = (evaluation["budget"][arm] for arm in config.arms)
    for name in ("world_model_updates", "environment_steps"):
        assert frozen[name] == prowl[name] > 0
    rows = [r for r in read_metrics(done[0]) if r["stage"] == "phase2"]
    assert [(r["arm"], r["step"]) for r in rows] == [(a, c) for a in config.arms for c in (1, 2)]
    # Until the first update both do and measure the same.
    assert rows[0]["regret"] == rows[2]["regret"] and rows[0]["camera_speed"] == rows[2]["camera_speed"]
    assert "kl_to_reference" not in rows[0] and rows[3]["kl_to_reference"] > 0


def files_of(workdir):
    return {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in workdir.rglob("*") if p.is_file()}


def test_a_second_call_does_no_work(done):
    workdir, first_out = done
    before = files_of(workdir)
    evaluation, out = run_all(workdir)
    assert files_of(workdir) == before
    for stage in STAGES:
        assert f"{stage}: done before (" in out and f"{stage}: done before" not in first_out
    assert evaluation == read_json(workdir / "evaluation.json")


def test_another_configuration_in_the_same_place_is_refused(done):
    workdir, before = done[0], files_of(done[0])
    other = get_config("tiny")
    other.world_model.steps, other.phase2.cycles = 13, 3
    with pytest.raises(UsageError) as error:
        run_all(workdir, other)
    message = str(error.value)
    assert "\n" not in message and "choose another --workdir" in message
    assert "phase2.cycles=2, asked was 3 (and 1 more keys)" in message
    assert files_of(workdir) == before


def copy_without(workdir, target, *names):
    """A run directory as it stood before the stages ``names``."""
    shutil.copytree(workdir, target)
    left = {name: s for name, s in read_json(target / "stages.json").items() if name not in names}
    (target / "stages.json").write_text(json.dumps(left))
    for name in names:
        shutil.rmtree(target / "checkpoints" / name)
    rows = [r for r in read_metrics(target) if "/".join(filter(None, (r["stage"], r["arm"]))) not in names]
    (target / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return Run(target, get_config("tiny"))


def interrupt(monkeypatch, module, name, call):
    """Let ``module.name`` be interrupted when it is called for the ``call``-th time."""
    original, calls = getattr(module, name), []

    def interrupted(*arguments, **kwargs):
        calls.append(None)
        if len(calls) == call:
            raise KeyboardInterrupt
        return original(*arguments, **kwargs)

    monkeypatch.setattr(module, name, interrupted)


def rows_of(workdir, stage, arm=None):
    """What was logged, but for the time that was waited."""
    rows = [r for r in read_metrics(workdir) if (r["stage"], r["arm"]) == (stage, arm)]
    return [{name: value for name, value in r.items() if name != "collection_wait_s"} for r in rows]


def test_an_interrupted_training_goes_on_to_the_same_parameters(done, tmp_path, monkeypatch):
    """Checkpoints stand at steps 5, 10 and 12; the interrupt comes in step 8."""
    whole = Run(done[0], get_config("tiny"))
    run = copy_without(whole.workdir, tmp_path / "broken", "world_model")
    interrupt(monkeypatch, training_loop, "place_batch", 8)
    with pytest.raises(KeyboardInterrupt):
        run.run_stage("world_model", train_world_model)
    monkeypatch.undo()
    assert "world_model" not in run.stages()
    with Checkpoints(run.checkpoints("world_model")) as checkpoints:
        assert checkpoints.latest() == 5
    spent = float((run.workdir / ".spent_world_model").read_text())
    assert run.run_stage("world_model", train_world_model)["seconds"] > spent > 0
    assert not (run.workdir / ".spent_world_model").exists()
    ours, theirs = load_world_model(run), load_world_model(whole)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    assert rows_of(run.workdir, "world_model") == rows_of(whole.workdir, "world_model")


@pytest.mark.parametrize(
    "half, call, cycles, every",
    [("update_policy", 2, 1, 1), ("update_world_model", 1, 0, 1), ("update_policy", 2, 1, 2)],
)
def test_an_interrupted_loop_goes_on_to_the_same_state(done, tmp_path, monkeypatch, half, call, cycles, every):
    """Policy, buffer and world model. The second of two cycles is interrupted and done again; or the first, while the
    second is being collected; or both are done again, since the first was not saved."""
    whole = Run(done[0], get_config("tiny"))
    run = copy_without(whole.workdir, tmp_path / "broken", "phase2/prowl")
    run.config.phase2.checkpoint_every = every
    interrupt(monkeypatch, Prowl, half, call)
    with pytest.raises(KeyboardInterrupt):
        phase2.run_arm(run, "prowl")
    monkeypatch.undo()
    assert len(rows_of(run.workdir, "phase2", "prowl")) == cycles
    with Checkpoints(run.checkpoints("phase2/prowl")) as checkpoints:
        assert (checkpoints.latest() or 0) == cycles // every
    phase2.run_arm(run, "prowl")
    ours, theirs = phase2.load_arm(run, "prowl"), phase2.load_arm(whole, "prowl")
    jax.tree.map(np.testing.assert_array_equal, ours.params, theirs.params)
    jax.tree.map(np.testing.assert_array_equal, ours.policy, theirs.policy)
    jax.tree.map(np.testing.assert_array_equal, ours.found.clips, theirs.found.clips)
    jax.tree.map(np.testing.assert_array_equal, ours.found.columns, theirs.found.columns)
    assert rows_of(run.workdir, "phase2", "prowl") == rows_of(whole.workdir, "phase2", "prowl")


def test_a_cycle_with_bad_numbers_is_gone_around(done, tmp_path):
    """The demonstrations of the second draw are spoilt; the third takes its place."""
    run = copy_without(done[0], tmp_path / "broken", "phase2/prowl")
    run.config.on_nan = "rewind"
    updates = run.config.phase2.updates

    def spoilt(*arguments):
        fetch = passive_fetch(*arguments)

        def fetched(index):
            batch = fetch(index)
            bad = np.float32(np.nan if updates <= index < 2 * updates else 0.0)
            return dataclasses.replace(batch, latents=batch.latents + bad)

        return fetched

    figures = phase2.run_arm_on_host(run, "prowl", spoilt)
    assert np.isfinite(figures["world_model_loss"])
    rows, whole = rows_of(run.workdir, "phase2", "prowl"), rows_of(done[0], "phase2", "prowl")
    assert rows[0] == whole[0] and [row["step"] for row in rows] == [1, 2] and rows[1] != whole[1]
    with Checkpoints(run.checkpoints("phase2/prowl")) as checkpoints:
        assert checkpoints.read()[1]["skipped"] == [1]


def test_a_comparison_measures_dreams_with_the_flow_of_the_run(done, monkeypatch):
    """Twice the flow is twice the error: of the clips and of what is dreamt of them, never of one alone."""
    config = get_config("tiny")

    def measured():
        one = [{"cache": "window", "sampler_steps": 1}]
        result = measure_sampler_steps(Run(done[0], config), config.env.task, 4, 2, one)
        return result["rows"][0]

    once = measured()
    monkeypatch.setattr(build, "make_flow", lambda config: lambda params, a, b: 2 * small_flow(params, a, b))
    twice = measured()
    assert once["latent_regret"] == twice["latent_regret"]
    np.testing.assert_allclose(twice["afs_epe"], 2 * once["afs_epe"], rtol=1e-3)


def test_metrics_vote_on_the_arms_of_a_finished_run(done, tmp_path, capsys):
    workdir, before = done[0], files_of(done[0])
    votes = tmp_path / "votes.jsonl"
    who = ["--runs", f"{workdir}:prowl", f"{workdir}:frozen_reference", str(workdir)]
    assert compare.main([*who, "--judge=psnr,sharpness", f"--votes={votes}", "--clips=3", "--frames=4"]) == 0
    assert files_of(workdir) == before
    rows = [json.loads(line) for line in votes.read_text().splitlines()]
    assert len(rows) == 2 * 3 * 3 and {row["frames"] for row in rows} == {4} and not any(row["real"] for row in rows)
    sides = {(row["left"], row["steps"][0]) for row in rows} | {(row["right"], row["steps"][1]) for row in rows}
    updates = phase2.load_arm(Run(workdir, get_config("tiny"), owned=False), "prowl").updates
    steps = get_config("tiny").world_model.steps
    assert sides == {("tiny:prowl", updates), ("tiny:frozen_reference", updates), ("tiny:phase1", steps)}
    assert "Elo by the metric sharpness" in capsys.readouterr().out


def test_a_head_says_where_the_dreams_of_a_finished_run_are_wrong(done, tmp_path, capsys):
    workdir, before = done[0], files_of(done[0])
    output, head = tmp_path / "uncertainty.json", tmp_path / "head.npz"
    flags = ["--arms=prowl", "--dreams=32", "--updates=12", "--clips=6", f"--output={output}", f"--head={head}"]
    assert uncertainty.main([f"--workdir={workdir}", *flags]) == 0
    assert files_of(workdir) == before
    result, printed = read_json(output), capsys.readouterr().out
    tasks = [f"task/{task}" for task in get_config("tiny").env.held_out_tasks]
    assert list(result["sets"]) == ["held_out", *tasks, "found by prowl"]
    assert result["detection"].keys() == result["sets"].keys() - {"held_out"}
    for name, row in result["sets"].items():
        assert 0 < row["clips"] <= 6 and row["error"]["mean"] > 0 < row["said"]["mean"] and name in printed
        assert 0.2 < row["said"]["mean"] / row["error"]["mean"] < 5.0  # it begins at the typical error
        assert 0 <= row["coverage"]["0.5"] <= row["coverage"]["0.95"] <= 1 and len(row["by_latent"]["said"]) == 8
        assert sum(b["count"] for b in row["calibration"]) == row["clips"] * 8 * 6 * 8
    for row in result["detection"].values():
        assert all(0 <= by["low"] <= by["high"] <= 1 for by in row.values())
    model, params = error_heads.load(head, build.spec_of(get_config("tiny")).sizes)
    assert model.width == get_config("tiny").adversary.error_head.width and "typical" in params
    with pytest.raises(UsageError, match="for actions of sizes"):
        error_heads.load(head, (2, 2))
    with pytest.raises(UsageError, match="no head"):
        error_heads.load(output, (2, 2))


def test_numbers_of_sampler_steps_are_compared_on_a_finished_run(done, tmp_path, capsys):
    """The run's own row is the evaluation's figure, and a number of steps changes what is dreamt."""
    workdir, before = done[0], files_of(done[0])
    output = tmp_path / "steps.json"
    assert sampler_steps.main([f"--workdir={workdir}", "--steps=1,2", "--cache=window", f"--output={output}"]) == 0
    assert files_of(workdir) == before
    result, printed = read_json(output), capsys.readouterr().out
    one, own = result["rows"]
    noted = result["provenance"]
    assert noted["starts"] == provenance.starts_of(workdir) and noted["config"] == read_json(workdir / "config.json")
    assert noted["flags"]["steps"] == "(1, 2)"
    assert result["configured"] == {"cache": "window", "steps": 2} == {k: own[k] for k in ("cache", "steps")}
    evaluated = read_json(workdir / "evaluation.json")["arms"]["phase1"]["in_distribution"]
    np.testing.assert_allclose(own["latent_regret"]["mean"], evaluated["latent_regret"]["all"], rtol=1e-5)
    for metric in ("afs_epe", "psnr"):
        np.testing.assert_allclose(own[metric], evaluated[metric]["all"], rtol=1e-4)
    assert own["against_configured"]["relative"] == 0 != one["against_configured"]["relative"]
    for row in result["rows"]:
        regret = row["latent_regret"]
        assert regret["low"] <= regret["mean"] <= regret["high"] and row["sharpness"] > 0 < row["ms_per_chunk"]
        assert row["seconds"] > 0
        assert f"{row['cache']:<8} {row['steps']:>5}  {regret['mean']:.3f} (" in printed
