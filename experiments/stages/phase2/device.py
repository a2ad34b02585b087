"""Phase 2 where the environment lives on the device: ``cycles_per_call`` cycles are one program.

The same numbers as ``host`` gives, to rounding; metrics, checkpoints
and what is resumed are the same files. Seeds of a study run side by side, as one program under ``jax.vmap``
(``run_arms_side_by_side``).
"""

import contextlib
import dataclasses
import json
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.run import divergence
from experiments.run.progress import Progress
from experiments.stages import build
from experiments.stages.clip_stores import open_store
from experiments.stages.passive_batches import passive_starts
from experiments.stages.phase2 import kept, parts
from prowl_jax.envs.device import keys
from prowl_jax.methods.one_program import Demonstrations, Plan, make_program


@dataclasses.dataclass(frozen=True)
class ArmProgram:
    """What the cycles of an arm run with; of runs side by side, the same for all.

    Attributes:
      method: whose ``spent`` is told at the end.
      program: from ``build_program``, with the ``env`` and the ``demonstrations`` that it is called with.
      planner: ``f(run) -> f(draws) -> Plan``, the chance of the cycles that these draws stand for.
      begin: ``f(run) -> (Start, state before cycle 0)``.
      prepare: ``f(run, state, start) -> state``, before cycle 0 and in no run that goes on.
    """

    method: Any
    program: Callable
    env: Any
    demonstrations: Any
    planner: Callable
    begin: Callable
    prepare: Callable


def make_arm_program(runs, arm):
    """The ``ArmProgram`` of a configured arm, for so many ``runs`` side by side."""
    config = runs[0].config
    method = build.make_method(config, arm)

    def begin(run):
        start = parts.starting_point(run, method)
        return start, parts.initial_state(run.config, method, start)

    return ArmProgram(
        method=method,
        program=build_program(config, arm, len(runs)),
        env=build.make_device_env(config, config.env.task),
        demonstrations=on_device(runs[0]),
        planner=lambda run: planner(run, method),
        begin=begin,
        prepare=lambda run, state, start: parts.prepare(run, run.config, method, state, start),
    )


def run_arm_on_device(run, arm, make=make_arm_program):
    """All cycles of one arm, with what ``make([run], arm)`` gives; returns the figures of the last."""
    return divergence.rewinding(run.config, lambda skipped: _attempt([run], arm, skipped, make=make)[0])


def run_arms_side_by_side(runs, arm):
    """``run_arm_on_device`` of several runs as one program; a list of figures.

    The runs differ in their seeds alone: demonstrations and worlds are the same. Runs that were stopped
    after different numbers of cycles first catch up with each other, those of one number together. Numbers
    that go wrong in one of them stop all (``on_nan=rewind`` goes back in runs that are alone).
    """
    while True:
        steps = [_saved(run, arm) for run in runs]
        behind = [run for run, step in zip(runs, steps, strict=True) if step == min(steps)]
        ahead = [step for step in steps if step > min(steps)]
        figures = _attempt(behind, arm, None, until=min(ahead, default=None))
        if figures and not ahead:
            return figures


def _saved(run, arm):
    """Cycles of the last checkpoint, 0 where there is none."""
    with parts.open_checkpoints(run, arm) as checkpoints:
        return checkpoints.latest() or 0


class _Seed:
    """One run's part of an arm: where it begins, what chance it draws, and what it keeps of a call."""

    def __init__(self, run, arm, with_program, checkpoints, skipped):
        self.run, self.arm, self.method, self.checkpoints = run, arm, with_program.method, checkpoints
        self.start, state = with_program.begin(run)
        self.first, self.state, self.notes, self.skipped = parts.resume(checkpoints, state, skipped)
        if not self.first:
            self.state = with_program.prepare(run, self.state, self.start)
        run.log.truncate(stage="phase2", arm=arm, step=self.first)
        self.key = build.stage_key(run.config, "phase2")  # the same for every arm
        self.metrics, self._plan_of = {}, with_program.planner(run)

    def plan(self, cycles):
        """The chance of these cycles."""
        return self._plan_of([divergence.draw_of(cycle, self.skipped) for cycle in cycles])

    def keep(self, cycles, state, done):
        """Check, log and save what the program gave for ``cycles``."""
        config, stage = self.run.config, f"phase2/{self.arm}"
        for i, cycle in enumerate(cycles):
            self.metrics = {name: float(values[i]) for name, values in done.metrics.items()}
            parts.check_cycle(config, stage, cycle, self.metrics, state, self.skipped, finite=bool(done.finite[i]))
            if done.actions is not None:
                self.metrics.update(parts.of_actions(config, build.spec_of(config), done.actions[i], self.notes))
                self.metrics["broken_trajectories"] = 0.0  # nothing on the device can die
            self.run.log.write(stage="phase2", arm=self.arm, step=cycle + 1, **self.metrics)
        if done.actions is not None:
            parts.save_actions(self.run, self.arm, done.actions[-1][:, :-1])
        kept.keep(self.run, self.arm, self.method, state, cycles[-1] + 1)
        loss = self.metrics["world_model_loss"]
        self.checkpoints.save(cycles[-1] + 1, state, {**self.notes, **self.metrics}, loss=loss)

    def figures(self):
        """What the arm spent, and its last metrics."""
        return {**parts.spent(self.method), **(self.metrics or self.notes)}


def _attempt(runs, arm, skipped, until=None, make=make_arm_program):
    """The cycles up to ``until``, or all, of runs that have done as many; None where a broken checkpoint undid that."""
    count, p, one = len(runs), runs[0].config.phase2, make(runs, arm)
    with contextlib.ExitStack() as stack, Progress(f"phase2/{arm}", p.cycles) as progress:
        opened = [stack.enter_context(parts.open_checkpoints(run, arm)) for run in runs]
        seeds = [_Seed(run, arm, one, checkpoints, skipped) for run, checkpoints in zip(runs, opened, strict=True)]
        if len({seed.first for seed in seeds}) > 1:
            return None
        start, key, state = (_packed([getattr(seed, name) for seed in seeds]) for name in ("start", "key", "state"))
        end = until or p.cycles
        for begin in range(seeds[0].first, end, p.cycles_per_call):
            cycles = range(begin, min(begin + p.cycles_per_call, end))
            plan = _packed([seed.plan(cycles) for seed in seeds])
            state, done = one.program(one.env, one.demonstrations, state, start, plan, key)
            done = jax.tree.map(np.asarray, done)
            for i, seed in enumerate(seeds):
                seed.keep(cycles, _unpacked(state, i, count), _unpacked(done, i, count))
            progress.update(cycles[-1] + 1, **parts.shown(seeds[0].metrics))
        return [seed.figures() for seed in seeds]


def _packed(trees):
    """One tree with a leading axis of seeds; the tree itself where it is alone."""
    return trees[0] if len(trees) == 1 else jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def _unpacked(tree, i, count):
    """Seed ``i`` of what ``_packed`` made of ``count``."""
    return tree if count == 1 else jax.tree.map(lambda leaf: leaf[i], tree)


_PROGRAMS = {}


def build_program(config, arm, seeds=1):
    """The program of an arm's cycles, see ``one_program.make_program``; one for all seeds, as it knows none.

    Of several ``seeds``, it is mapped over what they differ in: all but the environment and the demonstrations.
    """
    settings = json.loads(config.to_json())
    del settings["seed"]
    settings["phase2"]["oracle"] = ""  # weights that it is given; of a study each seed has its own
    key = arm, seeds, json.dumps(settings)
    if key not in _PROGRAMS:
        program = make_program(build.make_method(config, arm))
        if seeds > 1:
            program = jax.jit(jax.vmap(program, in_axes=(None, None, 0, 0, 0, 0)), donate_argnums=2)
        _PROGRAMS[key] = program
    return _PROGRAMS[key]


def planner(run, method):
    """``f(draws) -> Plan``: the chance that the host path has for cycles of these draws."""
    config, needs, budget = run.config, method.needs(), method.shared.budget
    updates = budget.updates
    starts = passive_starts(run, needs.rows, needs.length)

    def plan_of(draws):
        seeds = np.stack([parts.env_seeds(config, draw, budget) for draw in draws])
        clips = [[starts(draw * updates + i) for i in range(updates)] for draw in draws]
        env_keys = keys(seeds.reshape(-1), seeds.size).reshape(seeds.shape)
        return Plan(env_keys, jnp.asarray(clips, jnp.int32), jnp.asarray(draws, jnp.int32))

    return plan_of


def on_device(run):
    """The demonstrations' latents and actions as device arrays."""
    store = open_store(run)
    kept = store.frames if run.config.autoencoder.kind == "pixels" else store.array("latents")
    return Demonstrations(jnp.asarray(kept), jnp.asarray(store.actions))
