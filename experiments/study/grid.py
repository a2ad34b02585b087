"""Doing a study: what there is to do, in which order, what is left and how long it will take."""

import copy
import dataclasses
import functools
import pathlib
import sys
import time
from collections.abc import Callable

import jax

from experiments.planning import preflight
from experiments.run import opening, parallel
from experiments.run.directory import Run
from experiments.run.failures import guarded
from experiments.run.files import write_bytes, write_text
from experiments.run.memory import keep_freed_memory
from experiments.run.places import read_config
from experiments.stages import build, phase2
from experiments.stages.autoencoder import train_autoencoder
from experiments.stages.clip_stores import verify_stores
from experiments.stages.demonstrations import make_demonstrations
from experiments.stages.inverse_dynamics import train_inverse_dynamics
from experiments.stages.reference import clone_reference
from experiments.stages.world_model import train_world_model
from experiments.study import dose, measure, oracle, results, tables
from prowl_jax.train.compilation_cache import enable_compilation_cache

SHARED = ("autoencoder", "inverse_dynamics")
"""Stages that learn from the demonstrations once, for all seeds."""

STAGES = {
    "demonstrations": make_demonstrations,
    "autoencoder": train_autoencoder,
    "inverse_dynamics": train_inverse_dynamics,
    "world_model": train_world_model,
    "reference": clone_reference,
    "arm": phase2.run_arm,
    "arms_side_by_side": phase2.run_arms_side_by_side,
    "oracle": oracle.train_oracle,
    "evaluation": measure.measure_arms,
}
"""What does the work of a study's steps: functions of a run; of an arm also of its name, and of several runs."""


class SeedRun(Run):
    """One seed's run directory; demonstrations and what is ``SHARED`` are those of ``shared``, a run of its own."""

    def __init__(self, workdir, config, shared, owned=True):
        self.shared = shared
        super().__init__(workdir, config, owned)

    def data(self, name):
        """Where the clip store of a task is, or another file made of the demonstrations."""
        return self.shared.data(name)

    def checkpoints(self, stage):
        """Where ``stage`` keeps its checkpoints."""
        return self.shared.checkpoints(stage) if stage in SHARED else super().checkpoints(stage)


@dataclasses.dataclass(frozen=True)
class Step:
    """One stage of one run, or of several side by side.

    Attributes:
      runs: whose. stage: its name, of which what stands before "/" is its kind.
      do: ``f(run) -> figures``, of several ``f(runs) -> [figures]``.
    """

    runs: tuple[Run, ...]
    stage: str
    do: Callable

    @property
    def kind(self):
        """Steps of a kind take about as long."""
        return self.stage.split("/")[0]

    @property
    def who(self):
        """The names of its runs."""
        return "+".join(run.workdir.name for run in self.runs)

    def open(self):
        """Its runs in which it is not done."""
        return tuple(run for run in self.runs if self.stage not in run.stages())

    def seconds(self):
        """How long it took, for all of its runs; None where it is not done."""
        return None if self.open() else sum(results.seconds_of(run.stages()[self.stage]) for run in self.runs)

    def take(self):
        """Do it where it is not done."""
        runs = self.open()
        if len(self.runs) == 1:
            runs[0].run_stage(self.stage, self.do)
        else:
            _side_by_side(runs, self.stage, self.do)


def _side_by_side(runs, stage, do):
    """One piece of work that is a stage of each of several runs: all note it, or none."""
    figures = {}

    def inside(others):
        if others:
            others[0].run_stage(stage, lambda _: inside(others[1:]) or figures[others[0].workdir])
        else:
            for run, of_run in zip(runs, do(runs), strict=True):
                figures[run.workdir] = {**of_run, "side_by_side": len(runs)}

    inside(runs)


def run_study(config, workdir=None, stages=STAGES):
    """Do what is left with ``stages``; returns the results, of all seeds.

    Raises:
      SystemExit: a process of ``study.processes`` failed, with its code; what the others did is done.
    """
    keep_freed_memory()  # before anything asks for devices: that starts JAX's threads
    build.check_files(config)
    build.check_device(config)
    build.check_mesh(config)
    opening.say(config, config.study.seeds)
    folder, began = pathlib.Path(workdir or pathlib.Path("runs") / config.name), time.monotonic()
    doses = dose.studies(config, folder)
    for _, _, own, _ in doses:
        build.check_files(own)
        build.check_mesh(own)
    _study(config, folder, stages)
    for axis, value, own, place in doses:
        print(f"{axis} {value}:", flush=True)
        _study(own, place, stages)
        write(own, open_runs(own, place, own=()))
    runs = open_runs(config, folder, own=())
    print(f"[{left(plan(config, runs, stages))}] this call took {(time.monotonic() - began) / 60:.0f} min", flush=True)
    return write(config, runs, show=True)


def _study(config, folder, stages):
    """What is left of one study, without its doses."""
    for arm in config.arms:
        spent = phase2.spent(build.make_method(config, arm))
        print(f"{arm}, each seed: " + ", ".join(f"{v:,} {k.replace('_', ' ')}" for k, v in spent.items()), flush=True)
    processes = _processes(config)
    if processes == 1:
        do_steps(config, open_runs(config, folder), stages=stages)
    else:
        _in_processes(config, folder, processes, stages)


def do_steps(config, runs, processes=1, stages=STAGES):
    """Do what is not done of the runs that this process owns; ``processes`` share what is left."""
    enable_compilation_cache()
    if runs[0].owned:
        verify_stores(runs[0])
    steps = plan(config, runs, stages)
    for step in steps:
        if step.seconds() is not None or not all(run.owned for run in step.runs):
            continue
        print(f"[{left(steps, processes)}] {step.who}: {step.stage}", flush=True)
        step.take()
        if step.kind == "evaluation":
            write(config, runs)


def _processes(config):
    """``study.processes``, as far as there are cores and seeds; 1 on an accelerator, or where seeds are one program."""
    if jax.default_backend() != "cpu" or config.study.side_by_side > 1:
        return 1
    return min(config.study.processes, len(parallel.cores()), len(config.study.seeds))


def _in_processes(config, folder, processes, stages):
    """What is shared in a process with all cores, then the seeds that are not done, ``processes`` of them at a time."""
    runs = open_runs(config, folder, own=())
    unfinished = {run for step in plan(config, runs, stages) for run in step.open()}
    names = [seed for seed, run in runs[1].items() if run in unfinished]
    for owners, number in ((["shared"], 1), (names, min(processes, len(names)))):
        pieces = {
            owner if owner == "shared" else f"seed{owner}": (config, folder, owner, number, stages) for owner in owners
        }
        failed = parallel.run(_one_process, pieces, number) if pieces else {}
        for name, code in failed.items():
            print(f"error: {name} ended with code {code}; what it said stands above", file=sys.stderr)
        if failed:
            raise SystemExit(max(failed.values(), key=abs))


def _one_process(argument):
    config, folder, owner, number, stages = argument
    keep_freed_memory()
    opening.set_quiet(config)

    def do():
        do_steps(config, open_runs(config, folder, own=(owner,)), number, stages)

    return guarded(do, config, preflight.largest)


def open_runs(config, workdir, own=None):
    """(the shared ``Run``, seed -> ``SeedRun``) under ``workdir``.

    What a directory is held against knows neither the arms nor the other seeds, so that either can be added.
    ``own`` names the seeds, and "shared", that this process works at; the others it only reads. None: all.
    """
    shared = Run(workdir / "shared", _config_of(config, config.demonstrations.seed), own is None or "shared" in own)
    seeds = {
        seed: SeedRun(workdir / f"seed{seed}", _config_of(config, seed), shared, own is None or seed in own)
        for seed in config.study.seeds
    }
    return shared, seeds


def open_run(workdir, config, owned=True):
    """The run in ``workdir``, of ``prowl_main`` or of a study's seed; one that is not ``owned`` is only read."""
    shared = workdir.resolve().parent / "shared"
    if (workdir / "data").exists() or not (shared / "config.json").exists():
        return Run(workdir, config, owned)
    return SeedRun(workdir, config, Run(shared, read_config(shared), owned), owned)


def _config_of(config, seed):
    config = copy.deepcopy(config)
    with config.unlocked():
        del config.study
        config.seed, config.arms = seed, ()
    return config


def plan(config, runs, stages=STAGES):
    """All steps in their order: what is shared, then seed after seed, ``study.side_by_side`` at a time."""
    shared, seeds = runs

    def step(run, stage):
        return Step((run,), stage, stages[stage])

    def ceiling(run, name):
        do = functools.partial(stages["oracle"], name=name, study=config.study)
        return Step((run,), f"oracle/{name}", do)

    steps = [step(shared, "demonstrations"), step(shared, "autoencoder")]
    if config.inverse_dynamics.steps:
        steps.append(step(shared, "inverse_dynamics"))
    if config.base:  # theta_0 of all seeds
        steps += [ceiling(shared, name) for name in config.study.oracles]
    members, at_a_time = tuple(seeds.values()), config.study.side_by_side
    for first in range(0, len(members), at_a_time):
        group = members[first : first + at_a_time]
        for run in group:
            steps += [step(run, "world_model"), step(run, "reference")]
            steps += [ceiling(run, name) for name in config.study.oracles if not config.base]
        for arm in config.arms:
            do = stages["arm" if len(group) == 1 else "arms_side_by_side"]
            do = functools.partial(oracle.run_asking, arm=arm, do=do, study=config.study)
            steps.append(Step(group, f"phase2/{arm}", do))
        evaluate = functools.partial(stages["evaluation"], arms=config.arms, study=config.study)
        steps += [Step((run,), measured(config), evaluate) for run in group]
    return steps


def measured(config):
    """The stage in which a seed is measured, named by its arms: with another arm there is more to measure."""
    by_cycle = f"@{'+'.join(config.study.by_cycle)}" if config.study.by_cycle else ""
    return f"evaluation/{'+'.join((*config.arms, *config.study.oracles))}{by_cycle}"


def left(steps, processes=1):
    """``"5 of 14 steps left, about 12 min, 3 of them not timed yet"``, from what steps of the same kind have taken."""
    taken = {}
    for step in steps:
        if step.seconds() is not None:
            taken.setdefault(step.kind, []).append(step.seconds())
    open_ = [step for step in steps if step.seconds() is None]
    if not open_:
        return "all done"
    seconds = sum(sum(taken[s.kind]) / len(taken[s.kind]) for s in open_ if s.kind in taken)
    untimed = sum(step.kind not in taken for step in open_)
    words = f"{len(open_)} of {len(steps)} steps left"
    if seconds:
        words += f", about {max(1, round(seconds / 60 / processes))} min"
    return words + (f", {untimed} of them not timed yet" if untimed else "")


def write(config, runs, show=False):
    """Results of the seeds that are done, as a file and as tables, and the moving pictures of the first of them."""
    _, seeds = runs
    done = {seed: run for seed, run in seeds.items() if measured(config) in run.stages()}
    collected = results.collect(config, done, runs[0])
    folder = pathlib.Path(config.study.results)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{config.name}.json"
    results.save(path, collected)
    text = tables.markdown(results.load_results(path))
    write_text(folder / f"{config.name}.md", text)
    for picture in next((sorted(run.workdir.glob("pictures/*.webp")) for run in done.values()), ()):
        write_bytes(folder / f"{config.name}_{picture.name}", picture.read_bytes())
    if show:
        print(text)
        print(f"written: {path} and {path.with_suffix('.md')}")
    return collected
