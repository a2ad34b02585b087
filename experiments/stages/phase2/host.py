"""Phase 2 from Python, where the environment lives in processes: it plays while the world model learns, or in turn."""

import contextlib
import functools

import jax
import numpy as np

from experiments.run import divergence, processes
from experiments.run.progress import Progress
from experiments.stages import build
from experiments.stages.passive_batches import passive_fetch
from experiments.stages.phase2 import kept
from experiments.stages.phase2.parts import (
    check_cycle,
    env_seeds,
    initial_state,
    of_actions,
    open_checkpoints,
    prepare,
    resume,
    save_actions,
    shown,
    spent,
    starting_point,
)
from prowl_jax.methods.acting import collect, make_act
from prowl_jax.methods.base import Start
from prowl_jax.train.ahead import Ahead
from prowl_jax.train.mesh import local_copy, place_batch, replicate
from prowl_jax.train.sharding import LOOP_RULES, WORLD_MODEL_RULES, shard_state


def run_arm_on_host(run, arm, make_fetch=passive_fetch):
    """All cycles of one arm, on what ``make_fetch`` gives of demonstrations; returns the figures of the last."""
    return divergence.rewinding(run.config, functools.partial(_attempt, run, arm, make_fetch))


class HostSource:
    """A cycle's ``methods.base.Source``.

    Attributes:
      trajectory: this process's rows of what the policy did; None as long as none acted.
    """

    def __init__(self, mesh, collection, cycle, batches):
        self._mesh, self._collection, self._cycle, self._batches = mesh, collection, cycle, batches
        self.trajectory = None

    def act(self, params):
        """A ``Trajectory`` on the mesh, collected ahead where that was possible."""
        self.trajectory = self._collection.take(self._cycle, local_copy(params))
        return place_batch(self._mesh, self.trajectory)

    def policy_is_final(self, params):
        """The environments begin to play for the next cycle."""
        self._collection.start(self._cycle + 1, local_copy(params))

    def demonstrations(self):
        """A ``Batch`` on the mesh with leaves ``[updates, rows, ...]``."""
        stacked = jax.tree.map(lambda *rows: np.stack(rows), *self._batches())
        return place_batch(self._mesh, stacked, axis=1)


def _attempt(run, arm, make_fetch, skipped):
    config, stage, mesh = run.config, f"phase2/{arm}", build.make_config_mesh(run.config)
    method = build.make_method(config, arm)
    start = starting_point(run, method)
    budget, needs = method.shared.budget, method.needs()
    state = shard_state(mesh, initial_state(config, method, start), LOOP_RULES)
    trained = shard_state(mesh, {"theta": start.trained}, LOOP_RULES)["theta"]
    placed = Start(trained, shard_state(mesh, start.fixed, WORLD_MODEL_RULES), replicate(mesh, start.reference))
    method = method.on_mesh(mesh, state)
    passive_rows = make_fetch(run, needs.rows, needs.length)
    keys_of = functools.partial(_keys_of, mesh, build.stage_key(config, "phase2"))  # the same for every arm
    metrics = {}
    with contextlib.ExitStack() as stack:
        # The last to be entered is left first: what is collected ahead ends before its environments do.
        players = stack.enter_context(_players(config, method, start, keys_of)) if needs.acts else None
        checkpoints = stack.enter_context(open_checkpoints(run, arm))
        progress = stack.enter_context(Progress(stage, budget.cycles))
        first, state, notes, skipped = resume(checkpoints, state, skipped)
        if not first:
            state = prepare(run, config, method, state, placed, functools.partial(place_batch, mesh))
        run.log.truncate(stage="phase2", arm=arm, step=first)
        draw_of = functools.partial(divergence.draw_of, skipped=skipped)

        def batches(draw):
            return [passive_rows(draw * budget.updates + i) for i in range(budget.updates)]

        collection = stack.enter_context(
            Ahead(lambda cycle, *rest: players(draw_of(cycle), *rest), budget.cycles, config.phase2.overlap)
        )
        for cycle in range(first, budget.cycles):
            draw = draw_of(cycle)
            source = HostSource(mesh, collection, cycle, functools.partial(batches, draw))
            state, metrics = method.cycle(state, placed, source, keys_of(draw)[1])
            metrics = {name: float(value) for name, value in metrics.items()}
            check_cycle(config, stage, cycle, metrics, state, skipped)
            if source.trajectory is not None:
                metrics |= _acted(run, arm, method, source.trajectory, notes) | {"collection_wait_s": collection.waited}
            run.log.write(stage="phase2", arm=arm, step=cycle + 1, **metrics)
            progress.update(cycle + 1, **shown(metrics))
            kept.keep(run, arm, method, state, cycle + 1)
            if (cycle + 1) % config.phase2.checkpoint_every == 0 or cycle + 1 == budget.cycles:
                checkpoints.save(cycle + 1, state, {**notes, **metrics}, loss=metrics["world_model_loss"])
    return {**spent(method), **(metrics or notes)}


def _keys_of(mesh, key, draw):
    """Two keys: the steps of an episode fold into one, the method splits the other."""
    collect_key, cycle_key = jax.random.split(jax.random.fold_in(key, draw))
    return processes.own_key(collect_key), replicate(mesh, cycle_key)


@contextlib.contextmanager
def _players(config, method, start, keys_of):
    """``f(draw, params, check) -> Trajectory`` of this process's rows; its environments are closed at the end."""
    shared, budget = method.shared, method.shared.budget
    mine = processes.own_rows(budget.trajectories)
    act, env = make_act(shared.policy), build.make_env(config, config.env.task, mine.stop - mine.start)

    def play(draw, params, check):
        trajectory, _ = collect(
            env, act, shared.policy, params, keys_of(draw)[0], length=shared.trajectory_length,
            warm_up=budget.warm_up, warm_up_params=start.reference, to_env=shared.to_env, check=check,
            seeds=env_seeds(config, draw, budget)[mine], branches=budget.branches,
            reference_leads=budget.reference_leads,
        )  # fmt: skip
        return trajectory

    try:
        yield play
    finally:
        env.close()


def _acted(run, arm, method, trajectory, notes):
    """What is reported of a cycle's actions, which are kept for their statistics."""
    to_env = method.shared.to_env
    actions, broken = processes.all_rows((trajectory.actions, trajectory.broken))
    actions = np.asarray(to_env(actions) if to_env else actions)
    if processes.is_main():
        save_actions(run, arm, actions[:, :-1])
    told = of_actions(run.config, build.spec_of(run.config), actions, notes)
    return {**told, "broken_trajectories": float(broken.sum())}
