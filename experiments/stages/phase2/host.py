"""Phase 2 where the environment lives in processes: a cycle collects, explores and mends, in turn or overlapping."""

import functools

import jax
import numpy as np

from experiments.run import divergence, processes
from experiments.run.progress import Progress
from experiments.stages import build
from experiments.stages.arms import configured
from experiments.stages.passive_batches import passive_fetch
from experiments.stages.phase2.parts import (
    budget,
    camera,
    check_cycle,
    env_seeds,
    initial_state,
    make_programs,
    open_checkpoints,
    resume,
    save_actions,
    shown,
    starting_point,
    teach_ensemble,
    trajectory_length,
)
from prowl_jax.train import adversary as adversary_training
from prowl_jax.train import curriculum as loop
from prowl_jax.train.ahead import Ahead
from prowl_jax.train.mesh import local_copy, place_batch, replicate
from prowl_jax.train.sharding import LOOP_RULES, WORLD_MODEL_RULES, on_mesh, shard_state


def run_arm(run, arm):
    """All cycles of one arm; returns the figures of the last."""
    return divergence.rewinding(run.config, functools.partial(_attempt, run, arm))


def _attempt(run, arm, skipped):
    config = configured(run.config, arm)
    p = config.phase2
    stage, spec = f"phase2/{arm}", build.spec_of(config)
    mesh = build.make_config_mesh(config)
    trainable, fixed, reference = starting_point(run)
    fixed = shard_state(mesh, fixed, WORLD_MODEL_RULES)
    policy, curriculum = build.make_policy(config), build.make_curriculum(config)
    to_env, _ = build.action_maps(config)
    programs = make_programs(config, arm)
    act = adversary_training.make_act(policy)
    passive_rows = passive_fetch(run, curriculum.passive_rows, curriculum.window)
    key = build.stage_key(config, "phase2")  # the same for every arm
    state = shard_state(mesh, initial_state(config, trainable, reference, arm), LOOP_RULES)
    programs = on_mesh(mesh, programs, state)
    anchor = replicate(mesh, reference)
    mine = processes.own_rows(p.trajectories)
    metrics = {}
    env = build.make_env(config, config.env.task, mine.stop - mine.start)

    def keys_of(draw):
        """Two keys: the steps of an episode fold into one, the loop splits the other."""
        collect_key, cycle_key = jax.random.split(jax.random.fold_in(key, draw))
        return processes.own_key(collect_key), replicate(mesh, cycle_key)

    def collect(cycle, params, check):
        draw = divergence.draw_of(cycle, skipped)
        trajectory, _ = adversary_training.collect(
            env, act, policy, params, keys_of(draw)[0], seeds=env_seeds(config, draw)[mine],
            length=trajectory_length(config), warm_up=p.warm_up, warm_up_params=reference, to_env=to_env,
            check=check,
        )  # fmt: skip
        return trajectory

    try:
        with (
            open_checkpoints(run, arm) as checkpoints,
            Progress(stage, p.cycles) as progress,
            Ahead(collect, p.cycles, p.overlap) as collection,
        ):
            first, state, notes, skipped = resume(checkpoints, state, skipped)
            if not first:
                state = teach_ensemble(run, config, state)
            run.log.truncate(stage="phase2", arm=arm, step=first)
            for cycle in range(first, p.cycles):
                draw = divergence.draw_of(cycle, skipped)
                batches = [passive_rows(draw * p.updates + i) for i in range(p.updates)]
                passive = place_batch(mesh, jax.tree.map(lambda *rows: np.stack(rows), *batches), axis=1)
                cycle_key = keys_of(draw)[1]
                trajectory = collection.take(cycle, local_copy(state.phi.params))
                placed = place_batch(mesh, trajectory)
                state, explored = loop.explore(programs, curriculum, state, fixed, anchor, placed, cycle_key)
                collection.start(cycle + 1, local_copy(state.phi.params))
                state, mended = loop.mend(programs, state, fixed, passive, cycle_key)
                metrics = {name: float(value) for name, value in {**explored, **mended}.items()}
                check_cycle(config, stage, cycle, metrics, state, skipped)
                actions, broken = processes.all_rows((trajectory.actions, trajectory.broken))
                actions = np.asarray(to_env(actions) if to_env else actions)
                metrics.update(camera(config, spec, actions, notes))
                metrics["broken_trajectories"] = float(broken.sum())
                metrics["collection_wait_s"] = collection.waited
                run.log.write(stage="phase2", arm=arm, step=cycle + 1, **metrics)
                progress.update(cycle + 1, **shown(metrics))
                if processes.is_main():
                    save_actions(run, arm, actions[:, :-1])
                checkpoints.save(cycle + 1, state, {**notes, **metrics}, loss=metrics["world_model_loss"])
    finally:
        env.close()
    return {**budget(config), **(metrics or notes)}
