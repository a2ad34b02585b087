"""configs/voxel.py at its smallest: phase 2 as programs on the device, interrupted, and what the log says."""

import copy
import dataclasses
import json
import shutil
import threading
import types
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import learnability as learnability_command
from experiments.configs.voxel import get_config
from experiments.evaluation import evaluate
from experiments.run import lock
from experiments.run.directory import Run
from experiments.run.metrics_log import read_metrics
from experiments.stages import build, phase2
from experiments.stages.autoencoder import train_autoencoder
from experiments.stages.demonstrations import make_demonstrations
from experiments.stages.inverse_dynamics import train_inverse_dynamics
from experiments.stages.passive_batches import passive_fetch
from experiments.stages.phase2 import kept
from experiments.stages.reference import clone_reference, load_reference
from experiments.stages.world_model import train_world_model
from experiments.study import acted, by_cycle, learnability, measure, sets
from experiments.study.settings import StudySettings
from prowl_jax.envs.voxel import EVENTS
from prowl_jax.methods.acting import event_rates
from prowl_jax.train.checkpoint import Checkpoints


@pytest.fixture(scope="module")
def config():
    config = get_config("tiny")
    config.env.held_out_tasks = ()
    config.demonstrations.update(episodes=4, episode_frames=24)
    config.phase2.update(cycles=3, warm_up=1, horizon=4, keep_cycles=(1, 3))
    return config


def stop_after_a_cycle(run):
    """The arm prowl, interrupted once its first cycle is saved."""
    with pytest.MonkeyPatch.context() as patch:
        save = Checkpoints.save

        def save_once(self, *arguments, **options):
            save(self, *arguments, **options)
            raise KeyboardInterrupt

        patch.setattr(Checkpoints, "save", save_once)
        with pytest.raises(KeyboardInterrupt):
            phase2.run_arm(run, "prowl")


@pytest.fixture(scope="module")
def run(config, tmp_path_factory):
    """A run whose adversary has been stopped after a cycle and gone on."""
    run = Run(tmp_path_factory.mktemp("voxel") / "run", config)
    for stage in (make_demonstrations, train_autoencoder, train_world_model, clone_reference):
        stage(run)
    stop_after_a_cycle(run)
    run.figures = phase2.run_arm(run, "prowl")
    return run


def test_the_log_has_every_cycle_once_with_its_events(run):
    rows = [row for row in read_metrics(run.workdir) if row["stage"] == "phase2"]
    assert [row["step"] for row in rows] == [1, 2, 3]
    for row in rows:
        assert {f"event_{name}" for name in EVENTS} <= set(row)
        assert row["pat_filled"] > 0 and np.isfinite(row["regret"]) and np.isfinite(row["kl_to_reference"])
    assert run.figures["environment_steps"] == 3 * 4 * (1 + 6 - 1)
    assert len({row["regret"] for row in rows}) == 3


def test_what_it_leaves_is_what_every_arm_leaves(run):
    actions = np.load(phase2.actions_path(run, "prowl"))
    assert actions.shape == (4, 5, 9)
    done = phase2.load_arm(run, "prowl")
    assert len(done.found.clips.actions) == 8 and "dit" in done.params and done.cycles == 3
    assert (done.found.columns["found in cycle"] < 3).all() and done.policy is not None
    first, last = (kept.load(run, "prowl", cycle) for cycle in (1, 3))
    jax.tree.map(np.testing.assert_array_equal, (last.params, last.policy), (done.params, done.policy))
    for ours, theirs in ((first.params["dit"], last.params["dit"]), (first.policy, last.policy)):
        assert any((a != b).any() for a, b in zip(*map(jax.tree.leaves, (ours, theirs)), strict=True))
    assert not kept.path_of(run, "prowl", 2).exists()


def test_a_cycle_with_bad_numbers_is_gone_around(run, config, tmp_path):
    """The second draw is spoilt; the third takes its place, its keys too: as if its plan had been there all along."""
    shutil.copytree(run.workdir, tmp_path / "run", ignore=shutil.ignore_patterns("phase2", "metrics.jsonl", ".lock"))
    shutil.copytree(tmp_path / "run", tmp_path / "expected", ignore=shutil.ignore_patterns(".lock"))
    free = copy.deepcopy(config)
    free.on_nan = "rewind"

    def spoilt(runs, arm):
        whole = phase2.device.make_arm_program(runs, arm)

        def program(env, demonstrations, state, start, plan, key):
            bad = jnp.float32(jnp.nan if int(plan.draws[0]) == 1 else 0.0)
            demonstrations = dataclasses.replace(demonstrations, latents=demonstrations.latents + bad)
            return whole.program(env, demonstrations, state, start, plan, key)

        return dataclasses.replace(whole, program=program)

    def without_the_second_draw(runs, arm):
        whole = phase2.device.make_arm_program(runs, arm)

        def planner(run):
            plan_of = whole.planner(run)
            return lambda draws: plan_of([draw + (draw > 0) for draw in draws])

        return dataclasses.replace(whole, planner=planner)

    broken, expected = Run(tmp_path / "run", free), Run(tmp_path / "expected", free)
    phase2.device.run_arm_on_device(broken, "prowl", spoilt)
    phase2.device.run_arm_on_device(expected, "prowl", without_the_second_draw)
    rows, others = (read_metrics(r.workdir) for r in (broken, expected))
    assert rows == others and [row["step"] for row in rows] == [1, 2, 3]
    with Checkpoints(broken.checkpoints("phase2/prowl")) as a, Checkpoints(expected.checkpoints("phase2/prowl")) as b:
        (ours, notes), (theirs, _) = a.read(), b.read()
    assert notes["skipped"] == [1]
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_an_ensemble_knows_the_demonstrations_and_is_part_of_the_checkpoint(run, config):
    start, method = phase2.starting_point(run), build.make_method(config, "disagreement")
    untaught = phase2.initial_state(config, method, start)
    before = jax.tree.map(np.array, untaught.ensemble)
    state = phase2.parts.prepare(run, config, method, untaught, start)
    assert int(state.ensemble.step) == config.adversary.ensemble.steps
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), before.params, state.ensemble.params)
    assert min(jax.tree.leaves(moved)) > 0
    with Checkpoints(run.checkpoints("phase2/disagreement")) as checkpoints:
        checkpoints.save(1, state)
    _, back, _ = phase2.load_state(run, "disagreement")
    jax.tree.map(np.testing.assert_array_equal, back.ensemble, state.ensemble)
    assert phase2.initial_state(config, build.make_method(config, "prowl"), start).ensemble is None


@pytest.mark.slow
def test_a_measures_what_the_arms_left(run, config, monkeypatch):
    """The fixed critical set, the clips with events, and that nothing is measured twice."""
    monkeypatch.setattr(evaluate, "BATCH", 4)
    study = StudySettings(
        buffer_clips=3, event_rounds=3, event_steps=8, event_clips=2, event_episodes=2, by_cycle=("prowl",)
    )
    train_inverse_dynamics(run)
    measure.measure_arms(run, ("prowl",), study)
    rows = [row for row in read_metrics(run.workdir) if row["arm"] == "prowl"]
    critical = {arm: np.load(measure.values_path(run, "critical", arm)) for arm in ("phase1", "prowl")}
    groups = np.load(run.workdir / "values" / "critical" / "groups.npz")
    # No task is held out here, so the set is cycle 0 as it was: theta_0 is as wrong as it was then, but for the noise.
    assert groups["first_cycle"].all() and len(groups["first_cycle"]) == config.phase2.trajectories
    first = critical["phase1"]["latent_regret"].mean()
    np.testing.assert_allclose(first, rows[0]["regret"], rtol=0.05)
    assert (critical["prowl"]["latent_regret"] != critical["phase1"]["latent_regret"]).all()
    np.testing.assert_allclose(
        np.square(critical["prowl"]["frame_regret"]).mean(1), np.square(critical["prowl"]["latent_regret"]), rtol=1e-4
    )

    act_out, env = measure.actor(run, load_reference(run))
    recollected = act_out(load_reference(run), 0)
    env.close()
    np.testing.assert_allclose(event_rates(recollected)["event_jumped"], rows[0]["event_jumped"], rtol=1e-5)
    events = dict(np.load(run.workdir / "values" / "events" / "groups.npz"))
    assert set(events) <= set(EVENTS) and all(0 < mask.sum() <= 2 for mask in events.values())

    rates = json.loads((run.workdir / "demonstrated_events.json").read_text())
    assert rates.keys() == {f"event_{name}" for name in EVENTS} and max(rates.values()) > 0
    own, grouped = (np.load(measure.values_path(run, name, "prowl")) for name in ("in_distribution", "critical"))
    real = np.load(measure.values_path(run, "in_distribution", "real_frames"))
    assert own["action_f1"].shape == () == real["action_f1"].shape and own["ssim"].shape == (config.evaluation.clips,)
    of_set = {"action_precision", "action_recall", "action_f1", "camera_l1", "frechet_inverse_dynamics"}
    assert set(own.files) == {*measure.MEASURED, *of_set}
    assert set(grouped.files) == {*measure.MEASURED}
    (held,) = sets.read_sets({0: run}, ("phase1", "prowl"))["in_distribution"]
    assert len(held.rows["action_dense"]) == -(-config.evaluation.clips // 3)
    assert {name: float(real[name]) for name in real.files} == held.real_frames

    figures = json.loads((run.workdir / "acted.json").read_text())
    assert {one["steps"] for one in figures.values()} == {8 * 3 * config.phase2.trajectories}
    assert figures.keys() == {"frozen_reference", "prowl"} and figures["frozen_reference"]["kl_to_reference"] == 0
    assert figures["prowl"]["kl_to_reference"] > 0 and set(figures["prowl"]) >= rates.keys()
    before = {p: p.stat().st_mtime_ns for p in (run.workdir / "values").rglob("prowl.npz")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(acted, "act_freely", lambda *_, **__: pytest.fail("acted again"))
        for module in (measure, by_cycle):
            patch.setattr(module, "measure_all", lambda *_, **__: pytest.fail("measured again"))
        measure.measure_arms(run, ("prowl",), study)
    assert before == {p: p.stat().st_mtime_ns for p in before} and len(before) == 5
    between = np.load(measure.values_path(run, "critical", "prowl@1"))["latent_regret"]
    assert (between != critical["prowl"]["latent_regret"]).all() and len(between) == config.phase2.trajectories
    found = sorted(path.stem for path in (run.workdir / "found").iterdir())
    assert found == ["frozen_reference@0", "prowl@1", "prowl@3"]


def test_the_plan_is_the_chance_of_the_host_path(run, config):
    plan = phase2.device.planner(run, build.make_method(config, "prowl"))(range(1, 3))
    fetch = passive_fetch(run, plan.passive_starts.shape[2], config.world_model.window)
    data = phase2.device.on_device(run)
    for i in range(config.phase2.updates):
        expected = fetch(1 * config.phase2.updates + i)
        clips = data.clips(plan.passive_starts[0, i], config.world_model.window)
        np.testing.assert_array_equal(clips.latents, expected.latents)
        np.testing.assert_array_equal(clips.actions, expected.actions)
    assert plan.env_keys.shape == (2, config.phase2.trajectories)


def test_a_program_serves_every_seed_and_no_other_arm_or_setting(config):
    program = phase2.device.build_program(config, "prowl")
    other_seed, other_rate = copy.deepcopy(config), copy.deepcopy(config)
    other_seed.seed, other_rate.phase2.learning_rate = 7, 1e-5
    assert phase2.device.build_program(other_seed, "prowl") is program
    other_oracle = copy.deepcopy(config)
    other_oracle.phase2.oracle = "seed1/oracles/oracle.npz"
    assert phase2.device.build_program(other_oracle, "prowl") is program, "a study's seeds have oracles of their own"
    assert phase2.device.build_program(other_rate, "prowl") is not program
    assert phase2.device.build_program(config, "passive") is not program


@pytest.mark.slow
def test_seeds_side_by_side_are_what_they_are_alone(run, config, tmp_path):
    """And one that was stopped a cycle later than the other waits until that has caught up."""
    other = copy.deepcopy(config)
    other.seed, other.demonstrations.seed = 7, config.seed
    runs = [Run(tmp_path / "own", config), Run(tmp_path / "other", other)]
    for one in runs:
        for name in ("data", "checkpoints"):
            shutil.copytree(run.workdir / name, one.workdir / name)
        shutil.rmtree(one.workdir / "checkpoints/phase2")
    stop_after_a_cycle(runs[0])
    figures = phase2.run_arms_side_by_side(runs, "prowl")
    alone = Run(tmp_path / "alone", other)
    for name in ("data", "checkpoints"):
        shutil.copytree(run.workdir / name, alone.workdir / name)
    shutil.rmtree(alone.workdir / "checkpoints/phase2")
    expected = [run.figures, phase2.run_arm(alone, "prowl")]
    for (one, of_one), (at_once, of_alone) in zip(
        zip(runs, figures, strict=True), zip((run, alone), expected, strict=True), strict=True
    ):
        assert of_one.keys() == of_alone.keys()
        assert [row["step"] for row in read_metrics(one.workdir) if row["stage"] == "phase2"] == [1, 2, 3]
        actions = [np.load(phase2.actions_path(r, "prowl")) for r in (one, at_once)]
        np.testing.assert_array_equal(*actions)
        states = [phase2.load_state(r, "prowl")[1] for r in (one, at_once)]
        np.testing.assert_allclose(*(s.buffer.raw["regret"] for s in states), rtol=1e-3, atol=1e-5)
        assert {int(s.cycle) for s in states} == {3}
    assert figures[0]["regret"] != figures[1]["regret"]


@pytest.mark.slow
def test_what_can_be_learned_of_what_was_found(run):
    options = types.SimpleNamespace(
        policies=("prowl", "frozen_reference"),
        trajectories=(2,),
        trainable=("phase2", "all"),
        priority="uniform",
        updates=60,
    )
    rate, run.config.phase2.learning_rate = run.config.phase2.learning_rate, 3e-3
    try:
        result = learnability.measure_learnability(run, options)
    finally:
        run.config.phase2.learning_rate = rate
    by_part = {(row["policy"], row["trainable"]): row for row in result["rows"]}
    assert len(by_part) == 4
    for (policy, part), row in by_part.items():
        assert (row["share_trained"] == 1.0) == (part == "all")
        assert {"own", "found by prowl", "found by frozen_reference", "in_distribution"} <= row[
            "against_theta_0"
        ].keys()
        relative, low, high = row["against_theta_0"]["own"]["all"]
        assert low <= relative <= high and relative != 0.0, (policy, part)
    for policy in options.policies:  # all parameters learn two trajectories by heart
        assert by_part[policy, "all"]["against_theta_0"]["own"]["all"][0] < -0.02
    lines = learnability_command.table(result).splitlines()
    assert max(map(len, lines)) <= 80 and sum("trained on" in line for line in lines) == 4


def test_the_whole_configuration_stands(config):
    full = json.loads(get_config().to_json())
    assert full["phase2"]["program"] == "device" and full["env"]["name"] == "voxel"
    with pytest.raises(ValueError, match="full.*tiny"):
        get_config("huge")


def test_a_run_that_is_browsed_while_it_trains_is_the_same_to_the_bit(run, config, tmp_path):
    """Who explores takes no lock, writes nothing, and sees cycles as they come."""
    pytest.importorskip("aiohttp", reason="the live pages need the extra play")
    from experiments.live import pages_of_explore as pages
    from experiments.live.gallery import Gallery

    shutil.copytree(run.workdir, tmp_path / "run", ignore=shutil.ignore_patterns("phase2", "metrics.jsonl", ".lock"))
    own, save, cycles = Run(tmp_path / "run", config), Checkpoints.save, []
    begins, ends = threading.Event(), threading.Event()

    def look_at_all(gallery):
        for arm in pages.about(gallery)["arms"]:
            (card,) = pages.cards(gallery, {"arm": arm["name"], "limit": "1"})["cards"]
            assert pages.clip(gallery, {"arm": arm["name"], "name": card["name"]})
            cycles.append(arm["cycle"])
        return pages.about(gallery), gallery.curves()

    def look():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(lock, "take", lambda folder: pytest.fail("took the lock"))
            gallery = Gallery(Run(own.workdir, config, owned=False))
            while not ends.is_set():
                begins.set()
                look_at_all(gallery)
        return gallery

    def save_and_be_looked_at(self, *arguments, **options):
        save(self, *arguments, **options)
        begins.clear()
        assert begins.wait(120), looking.exception(0)  # training goes on beside this look

    with ThreadPoolExecutor(1) as others, pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, "save", save_and_be_looked_at)
        looking = others.submit(look)
        try:
            phase2.run_arm(own, "prowl")
        finally:
            ends.set()
        gallery = looking.result(120)

    def files():
        return {path: path.stat().st_mtime_ns for path in own.workdir.rglob("*")}

    before, (about, curves) = files(), look_at_all(gallery)
    assert files() == before and about["arms"][0]["clips"] == 8 and len(curves["phase2/prowl"]["regret"]) == 3
    assert cycles == sorted(cycles) and cycles[0] < cycles[-1] == 3
    assert read_metrics(own.workdir) == [row for row in read_metrics(run.workdir) if row["stage"] == "phase2"]
    with Checkpoints(own.checkpoints("phase2/prowl")) as a, Checkpoints(run.checkpoints("phase2/prowl")) as b:
        jax.tree.map(np.testing.assert_array_equal, a.read()[0], b.read()[0])


def test_clips_are_acted_again_from_where_they_began(run, config):
    """All of them, for their events; one frame by frame, as somebody would who plays on from it."""
    pytest.importorskip("aiohttp", reason="the live pages need the extra play")
    from experiments.live import restore

    found = phase2.load_arm(run, "prowl").found
    cycles = found.columns["found in cycle"]
    events = restore.events_of(run, found.clips, cycles)
    clip = jax.tree.map(lambda x: x[0], found.clips)
    env, state = build.make_device_env(config, "wander"), restore.place_of(run, clip, int(cycles[0])).state
    step, by_hand = jax.jit(lambda env, state, action: env.step(state, action)), set()
    for t in range(len(clip.actions) - 1):
        state, after = step(env, state, clip.actions[t])
        np.testing.assert_array_equal(after.frame, clip.frames[t + 1])
        by_hand |= {name for name in EVENTS if after.info[f"event_{name}"]}
    assert None not in events and set(events[0]) == by_hand and any(events)
    assert restore.place_of(run, clip, int(cycles[0]) + 1) is None


def test_a_leader_board_has_pi_ref_and_the_adversary(run, config, monkeypatch):
    """Each acts its seconds in the world that is played, by its own policy; who stops hunting meanwhile stops them."""
    pytest.importorskip("aiohttp", reason="the live pages need the extra play")
    from experiments.live import hunt, played, yardstick

    monkeypatch.setattr(yardstick, "SECONDS", 4)
    monkeypatch.setattr(yardstick, "AWAY", 2)
    ready, seen = played.of_run(run.workdir, ("prowl",)), []
    assert list(ready.policies) == [yardstick.PI_REF, yardstick.ADVERSARY]
    own, reference = ready.policies[yardstick.ADVERSARY][1], ready.policies[yardstick.PI_REF][1]
    jax.tree.map(np.testing.assert_array_equal, reference, load_reference(run))
    assert any((a != b).any() for a, b in zip(*map(jax.tree.leaves, (own, reference)), strict=True))

    def scorer(frames, actions):
        seen.append((frames, actions))
        return {name: np.array([float(len(seen))]) for name in ("regret", "afs")}

    rivals = yardstick.Rivals(ready, scorer)
    rivals.meet(lambda: len(seen) < 6)
    assert list(rivals.raw) == [yardstick.PI_REF] and len(seen) == 6
    rivals.meet()
    rivals.meet()
    assert rivals.raw[yardstick.ADVERSARY]["regret"].tolist() == [7.0, 8.0, 9.0, 10.0]
    for frames, actions in seen:
        assert frames.shape[1:] == (hunt.length(ready), 64, 64, 3) and frames.shape[:2] == actions.shape[:2]
    alike = [np.array_equal(seen[i][1], seen[i + 6][1]) for i in range(4)]
    assert not all(alike)
    board = hunt.Hunt(ready, scorer, rivals).look(*(x[0] for x in seen[0]))["board"]
    assert {row["who"] for row in board} == {yardstick.PI_REF, yardstick.ADVERSARY, "the adversary's buffer", "you"}
