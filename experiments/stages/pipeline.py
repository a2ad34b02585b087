"""All stages in order, from demonstrations to report."""

import functools
import pathlib

from experiments.evaluation import dream_quality, evaluate
from experiments.planning import preflight
from experiments.report import first_look, showcase
from experiments.report.tables import text_table
from experiments.run import opening, processes
from experiments.run.directory import Run
from experiments.run.memory import keep_freed_memory
from experiments.run.places import read_json
from experiments.stages import budget, build, phase2
from experiments.stages.autoencoder import train_autoencoder
from experiments.stages.clip_stores import verify_stores
from experiments.stages.demonstrations import make_demonstrations
from experiments.stages.inverse_dynamics import train_inverse_dynamics
from experiments.stages.reference import clone_reference
from experiments.stages.world_model import train_world_model
from prowl_jax.envs.action_spaces import words
from prowl_jax.train.compilation_cache import enable_compilation_cache


def run_all(config, workdir=None, anew=()):
    """Run what is not done yet in ``workdir`` (default ``runs/<name>``), print the table and the report's path.

    ``anew`` as in ``Run``: finished stages that are done again.
    """
    keep_freed_memory()  # before anything asks for devices: that starts JAX's threads
    workdir = workdir or pathlib.Path("runs") / config.name
    build.check_files(config)
    build.check_outside(config, workdir)
    processes.start(config)
    opening.say(config)
    build.check_device(config)
    build.check_mesh(config)
    enable_compilation_cache()
    run = Run(workdir, config, anew=anew)
    print(f"run directory: {run.workdir}", flush=True)
    preflight.say(config)
    budget.say(config)
    print(f"actions: {words(build.spec_of(config))}", flush=True)
    if config.arms and not build.arms(config):
        print(f"no phase 2: env.name={config.env.name} has nothing to act in", flush=True)
    if processes.is_main():
        verify_stores(run)
    run.run_stage("demonstrations", processes.main_only(make_demonstrations))
    run.run_stage("autoencoder", train_autoencoder)
    run.run_stage("world_model", train_world_model)
    if config.base:
        run.run_stage("first_look", processes.main_only(first_look.first_look))
    run.run_stage("reference", clone_reference)
    if build.has_judge(config):
        run.run_stage("inverse_dynamics", train_inverse_dynamics)
    run.run_stage("dream_quality", processes.main_only(dream_quality.measure_quality))
    for arm in build.arms(config):
        run.run_stage(f"phase2/{arm}", functools.partial(phase2.run_arm, arm=arm))
    run.run_stage("evaluation", processes.main_only(evaluate.evaluate))
    run.run_stage("report", processes.main_only(showcase.report))
    processes.wait_for_all("end")
    evaluation = read_json(run.workdir / "evaluation.json")
    print(text_table(evaluation))
    print(f"report: {run.workdir / 'report' / 'index.html'}")
    return evaluation
