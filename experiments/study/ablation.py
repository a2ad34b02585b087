"""What makes a small world model good: one change at a time, each with the same computing, on the same data.

A variant's time is counted in core-seconds of computing its training steps (autoencoder, if it has one to train, and
world model), so that other work on the machine does not decide; compiling does not count. How many steps that is, is
measured on a few steps before, since the rate of learning has to fall towards a known end.
"""

import json
import os
import pathlib
import time

import jax
import numpy as np

from experiments.evaluation.dream_quality import measure_quality
from experiments.run import groups, opening
from experiments.run.directory import Run
from experiments.run.files import write_json, write_text
from experiments.run.provenance import provenance
from experiments.stages import build
from experiments.stages.autoencoder import (
    AutoencoderTraining,
    init_autoencoder,
    make_autoencoder_step,
    train_autoencoder,
)
from experiments.stages.clip_stores import tasks
from experiments.stages.demonstrations import make_demonstrations
from experiments.stages.world_model import init_dit, make_world_model_step, train_world_model, world_model_optimizer
from experiments.study.settings import VARIANTS, AblationSettings
from experiments.study.tables import markdown_table
from prowl_jax.settings import read
from prowl_jax.train.mesh import place_batch, replicate
from prowl_jax.train.sharding import DIT_RULES, REPLICATED, init_on_mesh, keep_placement
from prowl_jax.train.state import init_state
from prowl_jax.types import Batch


def run_ablation(config, workdir):
    """Do what is left of all variants, then write and print the table; returns the exit code 0."""
    opening.say(config)
    workdir, rows, settings = pathlib.Path(workdir), {}, read(AblationSettings, config.ablation)
    shared = Run(workdir / "shared", variant_of(config, {}))
    shared.run_stage("demonstrations", make_demonstrations)
    folder = pathlib.Path(settings.results)
    folder.mkdir(parents=True, exist_ok=True)
    for name in settings.variants:
        rows[name] = run_variant(variant_of(config, VARIANTS[name][1]), workdir / name, shared, settings)
        write_json(folder / f"{config.name}.json", {"rows": rows, "provenance": provenance(config, shared.workdir)})
        write_text(folder / f"{config.name}.md", table(rows, settings) + "\n")
    print("\n" + table(rows, settings))
    return 0


def variant_of(config, changes):
    """The configuration of a variant: ``config`` without its group ``ablation``, changed."""
    changed = config.copy_and_resolve_references()
    changed.unlock()
    del changed["ablation"]
    for key, value in changes.items():
        place, _, name = key.rpartition(".")
        (groups.value_of(changed, place) if place else changed)[name] = value
    return changed.lock()


def run_variant(config, workdir, shared, settings):
    """Train a variant and look at its dreams; returns its row of figures. What is done is not done again."""
    plan = workdir / "steps.json"
    if not plan.exists():
        workdir.mkdir(parents=True, exist_ok=True)
        write_json(plan, plan_steps(config, settings))
    steps = json.loads(plan.read_text())
    config = config.copy_and_resolve_references().unlock()
    config.world_model.steps, config.autoencoder.steps = steps["world_model"], steps["autoencoder"]
    run = Run(workdir, config.lock())
    run.run_stage("demonstrations", lambda run: _link(shared, run))
    run.run_stage("autoencoder", train_autoencoder)
    figures = run.run_stage("world_model", train_world_model)
    run.run_stage("dream_quality", measure_quality)
    return {
        "parameters": figures["parameters"],
        "steps": steps,
        "clips": steps["world_model"] * config.world_model.batch,
        "quality": json.loads((workdir / "dream_quality.json").read_text()),
    }


def _link(shared, run):
    """The demonstrations of another run, the same files; what an autoencoder makes of them is each run's own."""
    for task in tasks(run.config):
        folder = run.data(task)
        folder.mkdir(parents=True, exist_ok=True)
        for path in shared.data(task).iterdir():
            target = folder / path.name
            target.unlink(missing_ok=True)
            os.link(path, target)
    return {}


def plan_steps(config, settings):
    """Steps of each stage that the core-minutes hold, and the core-seconds of one that this was computed from."""
    budget, plan = 60.0 * settings.core_minutes, {"autoencoder": config.autoencoder.steps}
    if config.autoencoder.kind == "small":
        optimizer = read(AutoencoderTraining, config.autoencoder).optimizer
        frames = np.zeros((config.autoencoder.batch, *build.frame_shape(config)), np.uint8)
        rate = core_seconds(
            config, lambda: init_state(init_autoencoder(config), optimizer), make_autoencoder_step(config), frames,
            REPLICATED, settings.probe_steps,
        )  # fmt: skip
        part = settings.autoencoder_share * budget
        plan |= {"autoencoder": max(1, round(part / rate)), "autoencoder_core_seconds": rate}
        budget -= part
    model, (rows, length) = build.make_world_model(config), build.training_clips(config, 0)
    latents = np.zeros((rows, length, *model.latent_shape(build.frame_shape(config))), np.float32)
    batch = Batch(latents, np.zeros((rows, length, len(model.action_sizes)), np.int32))
    optimizer = world_model_optimizer(config)
    rate = core_seconds(
        config, lambda: init_state(init_dit(config), optimizer), make_world_model_step(config), batch, DIT_RULES,
        settings.probe_steps,
    )  # fmt: skip
    return plan | {"world_model": max(1, round(budget / rate)), "world_model_core_seconds": rate}


def core_seconds(config, init, step_fn, batch, rules, steps):
    """Core-seconds of a compiled training step: those of the whole process, over all of its threads."""
    mesh = build.make_config_mesh(config)
    state, key = init_on_mesh(mesh, init, rules), replicate(mesh, jax.random.key(0))
    step_fn = keep_placement(step_fn, state)
    state, _ = jax.block_until_ready(step_fn(state, place_batch(mesh, batch), key))
    before = time.process_time()
    for _ in range(steps):
        state, metrics = step_fn(state, place_batch(mesh, batch), key)
    jax.block_until_ready(metrics)
    return (time.process_time() - before) / steps


COLUMNS = (
    ("floor_relative_error", (1, 4, 8, 20), "error over the floor at 1 / 4 / 8 / 20"),
    ("psnr_db", (8,), "PSNR at 8"),
    ("sharpness_over_real", (8, 20), "sharpness over real at 8 / 20"),
    ("exchanged_over_true", (4,), "exchanged over true at 4"),
)


def table(rows, settings):
    """The rows as a table in markdown."""
    heads = ["variant", "parameters", "clips", *(words for *_, words in COLUMNS), "retrieval at 20"]
    lines = []
    for name, row in rows.items():
        quality = row["quality"]
        cells = [
            " / ".join(_number(quality["frames"].get(str(h), {}).get(key)) for h in frames)
            for key, frames, _ in COLUMNS
        ]
        found = _number(quality.get("retrieval_of_16_at_20"))
        head = f"{name}: {VARIANTS[name][0]}", f"{row['parameters'] / 1e6:.2f} M", f"{row['clips']:,}"
        lines.append([*head, *cells, found])
    return f"{settings.core_minutes:g} core-minutes each.\n\n{markdown_table(heads, lines)}"


def _number(value):
    return "–" if value is None else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
