"""One seed of a study: every arm measured on every set, into ``values/SET/ARM.npz``, a number a clip.

What ``frame_metrics`` has for a whole set stands there as a single number, and what real frames reach in
``values/SET/real_frames.npz``; the sets of groups, below, have neither, nor LPIPS. How much is done in each
clip is in ``values/SET/amounts.npz``, from which recorded episode it is in ``episodes.npy`` (clips of one episode are
not independent of each other, and seeds share recordings), and ``pictures/`` shows some of it (``study/pictures.py``).

Beside the sets of ``evaluate`` there are sets whose clips belong to groups (``GROUPED``), each a function
``f(found, sets, act_out, observe) -> (clips, group -> bool [clips], the episode of each clip or None)`` or None where
there is nothing of the kind:

  critical  what was wrong before anything was learned: the hardest decile of each held-out task by the regret
            of theta_0 (group ``held_out``), and all trajectories of cycle 0 (``first_cycle``). In cycle 0 the
            policy of every arm is still pi_ref and the environments start from the same seeds, so that these
            are the same trajectories for all arms, but those whose trajectories branch: they have others. With
            ``study.unseen_clips`` also some from seeds and places that no arm saw (``unseen``, and ``unseen_KIND`` of
            each kind of them: ``study/unseen.py``). Nothing of it depends on an arm: the set is fixed.
  events    where the world knows any: trajectories in whose scored part something of ``EVENTS`` happened, found by
            pi_ref and by the last policies of all arms that train one, under seeds that no arm has learned
            from. A group an event, each policy's finds in turn, at most ``study.event_clips`` of them.
  modes     trajectories of the buffers that hold a strictly novel composite action mode (``novel_modes``), a
            group a mode. Each stands in the buffer of an arm that learned from it.

What is measured once is not measured again, so that a stopped evaluation goes on and another arm adds its own.
"""

import contextlib
import dataclasses
import functools
import hashlib
import itertools
import json
import shutil
from typing import Any

import jax
import numpy as np

from experiments.evaluation.evaluate import (
    METRICS,
    action_amounts,
    batch_of,
    episodes_of_sets,
    make_measure,
    make_sets,
    measure_all,
    resting,
    subsets,
    thinned,
)
from experiments.evaluation.frame_metrics import FrameMetrics, make_frame_metrics
from experiments.evaluation.novel_modes import add_novel_sets
from experiments.run import processes
from experiments.run.directory import Run
from experiments.run.files import write_json, write_numpy, write_text
from experiments.run.progress import Progress
from experiments.stages import build, phase2
from experiments.stages.clip_stores import open_store
from experiments.stages.inverse_dynamics import with_judge
from experiments.stages.reference import load_reference
from experiments.study import apart, by_cycle, compared, pictures, unseen
from experiments.study.acted import measure_acting
from experiments.study.oracle import load_oracle
from prowl_jax.methods.acting import collect, make_act
from prowl_jax.metrics import modes
from prowl_jax.rewards.dream import make_observe

MEASURED = (*METRICS, "frame_regret", "repeat_last_frame")


@dataclasses.dataclass(frozen=True)
class Found:
    """What the arms of a seed left.

    Attributes:
      arms: arm -> ``phase2.Done``, ``phase1`` first. reference: pi_ref.
      run: the seed's. study: the study's settings.
    """

    arms: dict
    reference: dict
    run: Run
    study: Any

    @property
    def policies(self):
        """arm -> its last policy, where it trains one."""
        return {arm: done.policy for arm, done in self.arms.items() if done.policy is not None}

    @property
    def clips(self):
        """arm -> what its world model learned from beside the demonstrations, where there is anything."""
        return {arm: done.found for arm, done in self.arms.items() if done.found is not None}


def measure_arms(run, arms, study):
    """All values of this seed that are not there yet; returns nothing to note."""
    found, counts = _load(run, arms, study)
    path = run.workdir / "counts.json"
    write_json(path, {**(json.loads(path.read_text()) if path.exists() else {}), **counts})
    if build.make_environment(run.config).events:
        path = run.workdir / "demonstrated_events.json"
        if not path.exists():
            write_json(path, demonstrated_events(run, study.event_episodes))
        measure_acting(run, found.policies, found.reference, study)
    pictures.acting(found)
    context = build.make_budget(run.config).context
    flow, batch = build.make_flow(run.config), batch_of(run.config)
    measure_fn = make_measure(build.make_used_world_model(run.config), context, flow)
    key = build.stage_key(run.config, "evaluation")
    sets, asked, episodes = make_sets(run, found.clips), make_frame_metrics(run), episodes_of_sets(run)
    if study.dreams:
        asked = FrameMetrics((*asked.parts, *compared.parts(run)))
    with Progress("evaluation", len(found.arms) * (len(sets) + len(GROUPED))) as progress:
        done = itertools.count(1)

        def on_every_arm(name, items, groups, of, frame_metrics):
            real = values_path(run, name, "real_frames")
            _begin(run, real.parent, items, groups, of)
            if not real.exists():
                write_numpy(real, np.savez, **frame_metrics.ceilings(items, batch))
            for arm, left in found.arms.items():
                path = values_path(run, name, arm)
                if not path.exists():
                    rows = measure_all(
                        measure_fn, left.params, items, key, frame_metrics=frame_metrics, batch=batch
                    )
                    write_numpy(path, np.savez, **_values(rows, items, frame_metrics))
                progress.update(next(done))

        for name, items in sets.items():
            if name.startswith("buffer/"):
                items = thinned(items, study.buffer_clips)
            on_every_arm(name, items, {}, episodes.get(name), asked)
        beside = run, found, sets, study, lambda name: values_path(run, name, "phase1").parent
        if study.dreams:
            compared.measure(*beside)
        apart.measure(*beside)
        act_out, env = actor(run, found.reference)
        observe = observer(run, found.arms["phase1"].params)
        with contextlib.closing(env):
            for name, make in GROUPED.items():
                made = make(found, sets, act_out, observe)
                if made is not None:
                    on_every_arm(name, *made, FrameMetrics(()))
                if name == by_cycle.SET:
                    regrets = functools.partial(_regrets, run, name)
                    pictures.dreams(found, *made[:2], measure_fn, key, regrets)
                    path_of = functools.partial(values_path, run, name)
                    by_cycle.measure(found, made[0], measure_fn, key, path_of, act_out, observe, MEASURED)
    return {}


def values_path(run, name, arm):
    """Where the values of an arm on a set lie."""
    return run.workdir / "values" / name.replace("/", ".") / f"{arm}.npz"


def _regrets(run, name, arm):
    return np.load(values_path(run, name, arm))["latent_regret"]


def _values(rows, items, frame_metrics):
    """What is kept of ``measure_all``'s rows: the numbers of clips, and those of the whole set for all the rest."""
    of_set = {name: value["all"] for name, value in frame_metrics.of_set(rows, items).items()}
    return {name: rows[name] for name in (*MEASURED, *frame_metrics.per_clip)} | of_set


def _begin(run, folder, items, groups, episodes):
    """Make the folder of a set; values of other clips, from before an arm was added, go."""
    clips = hashlib.sha256(np.ascontiguousarray(items.frames).data).hexdigest()
    path = folder / "clips.txt"
    if folder.exists() and not (path.exists() and path.read_text() == clips):
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_numpy(folder / "groups.npz", np.savez, **groups)
    if episodes is not None:
        write_numpy(folder / "episodes.npy", np.save, episodes)
    scored = items.flow.shape[1]
    write_numpy(
        folder / "amounts.npz",
        np.savez,
        **action_amounts(build.spec_of(run.config), items.actions[:, -scored - 1 : -1]),
    )
    write_text(path, clips)


def _load(run, arms, study):
    """(``Found``, arm -> what was really spent: updates of the world model and cycles)."""
    done = {arm: phase2.load_arm(run, arm) for arm in ("phase1", *arms)}
    done |= {name: load_oracle(run, name) for name in study.oracles}
    done = {arm: dataclasses.replace(one, params=with_judge(run, one.params)) for arm, one in done.items()}
    counts = {arm: {"updates": done[arm].updates, "cycles": done[arm].cycles} for arm in arms}
    return Found(done, load_reference(run), run, study), counts


def actor(run, reference):
    """(``act_out(policy_params, cycle) -> Trajectory``, the environment): what a policy does in a cycle, if valid.

    With pi_ref and cycle 0, the very trajectories that every arm began with; a cycle of
    ``phase2.cycles`` or more is one that no arm has learned from.
    """
    config, p = run.config, run.config.phase2
    policy, to_env = build.make_policy(config), build.action_maps(config)[0]
    act = make_act(policy)
    env = build.make_env(config, config.env.task, p.trajectories)

    def act_out(policy_params, cycle):
        key = jax.random.split(jax.random.fold_in(build.stage_key(config, "phase2"), cycle))[0]
        trajectory, _ = collect(
            env, act, policy, policy_params, processes.own_key(key),
            seeds=phase2.env_seeds(config, cycle), length=phase2.trajectory_length(config), warm_up=p.warm_up,
            warm_up_params=reference, to_env=to_env,
        )  # fmt: skip
        return jax.tree.map(lambda x: x[trajectory.valid], trajectory)

    return act_out, env


def observer(run, params):
    """``observe(trajectory) -> RealClip`` of numpy arrays, as many rows at a time as are measured."""
    config, batch = run.config, batch_of(run.config)
    context, flow = build.make_budget(config).context, build.make_flow(config)
    observe = make_observe(build.make_world_model(config), context, flow, build.action_maps(config)[0])

    def observe_all(trajectory):
        rows, parts = len(trajectory.actions), []
        for start in range(0, rows, batch):
            chosen = np.arange(start, start + batch) % rows  # one shape, one compilation
            items = observe(params, jax.tree.map(lambda x, i=chosen: x[i], trajectory))
            parts.append(jax.tree.map(lambda x, n=rows - start: np.asarray(x)[:n], items))
        return concatenated(parts)

    return observe_all


def concatenated(parts):
    """Trees of numpy arrays, one after the other."""
    return jax.tree.map(lambda *x: np.concatenate(x), *parts)


def critical(found, sets, act_out, observe):
    """The fixed set of critical trajectories, see above."""
    first = observe(act_out(found.reference, 0))
    parts, own = [first], f"first_cycle_of_{found.run.config.seed}"
    episodes, recorded = [np.array([f"{own}/{i}" for i in range(len(first.actions))])], episodes_of_sets(found.run)
    for name, items in sets.items():
        if name.startswith("held_out/"):
            regret = np.load(values_path(found.run, name, "phase1"))["latent_regret"]
            hardest = subsets(regret)["hardest_decile"]
            parts.append(jax.tree.map(lambda x, i=hardest: x[i], items))
            episodes.append(recorded[name][hardest])
    of = np.repeat(np.arange(len(parts)), [len(part.actions) for part in parts])
    groups = {"first_cycle": of == 0, "held_out": of > 0}
    if found.study.unseen_clips:
        more, kinds, numbers = unseen.choose(found, observe)
        parts.append(more)
        episodes.append(numbers)
        absent, there = np.zeros(len(of), bool), np.ones(len(more.actions), bool)
        groups = {name: np.concatenate([rows, ~there]) for name, rows in groups.items()}
        groups["unseen"] = np.concatenate([absent, there])
        groups |= {f"unseen_{kind}": np.concatenate([absent, rows]) for kind, rows in kinds.items()}
    return concatenated(parts), groups, np.concatenate(episodes)


def events(found, sets, act_out, observe):
    """Trajectories with a ground-truth event in their scored part, see above; None where no world knows any."""
    config, study = found.run.config, found.study
    if not build.make_environment(config).events:
        return None
    seen = build.make_world_model(config).frames_of(build.make_budget(config).context)
    cycles = range(config.phase2.cycles, config.phase2.cycles + study.event_rounds)
    policies = (found.reference, *found.policies.values())
    acted = [concatenated([act_out(params, cycle) for cycle in cycles]) for params in policies]
    chosen, groups = {}, {}
    for name in acted[0].events:
        happened = [np.flatnonzero(t.events[name][:, seen - 1 :].any(1)) for t in acted]
        in_turn = [
            (who, int(rows[place]))
            for place in range(max(map(len, happened), default=0))
            for who, rows in enumerate(happened)
            if place < len(rows)
        ]
        for one in in_turn[: study.event_clips]:
            chosen.setdefault(one, len(chosen))
            groups.setdefault(name.removeprefix("event_"), []).append(one)
    if not chosen:
        return None
    parts = [jax.tree.map(lambda x, i=row: x[i : i + 1], acted[who]) for who, row in chosen]
    items = observe(concatenated(parts))
    masks = {name: np.isin(np.arange(len(chosen)), [chosen[one] for one in rows]) for name, rows in groups.items()}
    return items, masks, None


def strictly_novel_modes(found, sets, act_out, observe):
    """Trajectories with a mode that neither demonstrations nor the frozen reference's buffer have; None without any."""
    parts, held = [], []
    for arm, (of_clips, novel) in add_novel_sets(found.run, dict(sets), {}, resting(found.arms)).items():
        rows = np.flatnonzero(modes.clips_with(of_clips, novel))
        parts.append(jax.tree.map(lambda x, i=rows: x[i], sets[f"buffer/{arm}"]))
        held += [set(novel) & set(of_clips[row].tolist()) for row in rows]
    groups = {modes.names(mode): np.array([mode in of_clip for of_clip in held]) for mode in sorted(set().union(*held))}
    return (concatenated(parts), groups, None) if groups else None


GROUPED = {"critical": critical, "events": events, "modes": strictly_novel_modes}
"""Sets whose clips belong to groups: each group is reported as a subset."""


def demonstrated_events(run, episodes):
    """How often each event happens in 1,000 steps of the demonstrations: their first ``episodes``, recorded anew."""
    config = run.config
    environment, task, n = build.make_environment(config), config.env.task, config.env.num_envs
    counts, steps = {}, 0
    for round_ in range(-(-min(episodes, config.demonstrations.episodes) // n)):
        seeds = np.random.SeedSequence([1000 * build.data_seed(config), round_]).generate_state(n)
        length = config.demonstrations.episode_frames
        info = environment.demonstrated_info(task, length, seeds, build.gaps_of(config, task))
        for name, happened in info.items():
            if name.startswith("event_"):
                counts[name] = counts.get(name, 0) + int(np.asarray(happened).sum())
        steps += n * config.demonstrations.episode_frames
    done = phase2.planted(config, build.spec_of(config), open_store(run, task).actions)
    return {name: 1000.0 * count / steps for name, count in counts.items()} | {f"event_{k}": v for k, v in done.items()}
