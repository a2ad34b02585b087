"""Phase 2 where the environment lives on the device: ``cycles_per_call`` cycles are one program.

The same numbers as ``phase2`` gives with ``phase2.program=host``, to rounding; metrics, checkpoints
and what is resumed are the same files.
"""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np

from experiments import build, numbers, phase2
from experiments.arms import configured
from experiments.logging import Progress
from experiments.stages import open_store, passive_starts
from prowl_jax.envs.device import keys
from prowl_jax.train.one_program import Demonstrations, Plan, make_collect, make_program


def run_arm(run, arm):
    """All cycles of one arm; returns the figures of the last."""
    return numbers.rewinding(run.config, functools.partial(_attempt, run, arm))


def _attempt(run, arm, skipped):
    config = configured(run.config, arm)
    p = config.phase2
    stage, spec = f"phase2/{arm}", build.spec_of(config)
    trainable, fixed, reference = phase2.starting_point(run)
    program, plan_of = build_program(config, arm), planner(run, config)
    env, demonstrations = build.make_device_env(config, config.env.task), on_device(run)
    key = build.stage_key(config, "phase2")  # the same for every arm
    state = phase2.initial_state(config, trainable, reference, arm)
    metrics = {}
    with phase2.open_checkpoints(run, arm) as checkpoints, Progress(stage, p.cycles) as progress:
        first, state, notes, skipped = phase2.resume(checkpoints, state, skipped)
        if not first:
            state = phase2.teach_ensemble(run, config, state)
        run.log.truncate(stage="phase2", arm=arm, step=first)
        for begin in range(first, p.cycles, p.cycles_per_call):
            cycles = range(begin, min(begin + p.cycles_per_call, p.cycles))
            plan = plan_of([numbers.draw_of(cycle, skipped) for cycle in cycles])
            state, done = program(env, demonstrations, state, fixed, reference, plan, key)
            done = jax.tree.map(np.asarray, done)
            for i, cycle in enumerate(cycles):
                metrics = {name: float(values[i]) for name, values in done.metrics.items()}
                phase2.check_cycle(config, stage, cycle, metrics, state, skipped, finite=bool(done.finite[i]))
                metrics.update(phase2.camera(config, spec, done.actions[i], notes))
                metrics["broken_trajectories"] = 0.0  # nothing on the device can die
                run.log.write(stage="phase2", arm=arm, step=cycle + 1, **metrics)
            progress.update(cycles[-1] + 1, **phase2.shown(metrics))
            phase2.save_actions(run, arm, done.actions[-1][:, :-1])
            checkpoints.save(cycles[-1] + 1, state, {**notes, **metrics}, loss=metrics["world_model_loss"])
    return {**phase2.budget(config), **(metrics or notes)}


_PROGRAMS = {}


def build_program(config, arm):
    """The program of an arm's cycles, see ``one_program.make_program``; one for all seeds, as it knows none."""
    settings = json.loads(config.to_json())
    del settings["seed"]
    key = arm, json.dumps(settings)
    if key not in _PROGRAMS:
        collect = make_collect(
            build.make_policy(config), length=phase2.trajectory_length(config), warm_up=config.phase2.warm_up
        )
        _PROGRAMS[key] = make_program(phase2.make_programs(config, arm), build.make_curriculum(config), collect)
    return _PROGRAMS[key]


def planner(run, config):
    """``f(draws) -> Plan``: the chance that the host path has for cycles of these draws; ``config`` is the arm's."""
    p = config.phase2
    curriculum = build.make_curriculum(config)
    starts = passive_starts(run, curriculum.passive_rows, curriculum.window)

    def plan_of(draws):
        seeds = np.stack([phase2.env_seeds(config, draw) for draw in draws])
        clips = [[starts(draw * p.updates + i) for i in range(p.updates)] for draw in draws]
        env_keys = keys(seeds.reshape(-1), seeds.size).reshape(seeds.shape)
        return Plan(env_keys, jnp.asarray(clips, jnp.int32), jnp.asarray(draws, jnp.int32))

    return plan_of


def on_device(run):
    """The demonstrations' latents and actions as device arrays."""
    store = open_store(run)
    return Demonstrations(jnp.asarray(store.array("latents")), jnp.asarray(store.actions))
