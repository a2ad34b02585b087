"""A whole cycle of phase 2 in the voxel world: one program against the loop around a host environment."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks.timing import (
    Row,
    alternate,
    compile_row,
    compiled,
    random_like,
)
from experiments.configs import voxel
from experiments.stages import build, phase2
from prowl_jax.envs.device import keys
from prowl_jax.train import adversary as adversary_training
from prowl_jax.train import curriculum as loop
from prowl_jax.train.one_program import Demonstrations, Plan
from prowl_jax.train.world_model import split_trainable

REPEATS = 10  # a cycle takes many seconds
NAMES = ("one_program_speedup", "one_program_compile_s")


def rows(settings):
    """``one_program_speedup``: seconds of a cycle, random weights, at the voxel configuration's sizes."""
    if settings.quick:
        yield from (Row.not_run(name, "--quick: compiling two cycles takes a minute") for name in NAMES)
        return
    config = make_config()
    rivals, compile_seconds = make_rivals(config)
    seconds = alternate(rivals, REPEATS)
    yield Row(
        NAMES[0],
        seconds["one program"],
        "s a cycle",
        f"step by step around a host environment, {seconds['host']:.3f} s; {config.phase2.trajectories} trajectories, "
        f"{config.phase2.updates} updates, buffer of {config.phase2.capacity}",
        seconds["host"] / seconds["one program"],
        REPEATS,
    )
    yield compile_row("one_program", compile_seconds)


def make_config(variant="full"):
    """The voxel configuration (``tiny``: its smallest variant) with fewer worlds."""
    config = voxel.get_config(variant)
    config.env.voxel.worlds = 2
    return config


def make_rivals(config):
    """({"one program", "host"} -> a function that does a cycle, seconds of compiling the program)."""
    trainable, fixed, reference = random_start(config)
    key, curriculum, p = jax.random.key(0), build.make_curriculum(config), config.phase2
    env, data, plan = build.make_device_env(config, config.env.task), random_demonstrations(config), make_plan(config)

    def start():
        return jax.tree.map(jnp.copy, phase2.initial_state(config, trainable, reference))

    device = {"state": start()}
    program, compile_seconds = compiled(
        phase2.device.build_program(config, "prowl"), env, data, device["state"], fixed, reference, plan, key
    )

    def one_program():
        device["state"], cycles = program(env, data, device["state"], fixed, reference, plan, key)
        return cycles.metrics

    programs, policy = phase2.make_programs(config, "prowl"), build.make_policy(config)
    act, envs = adversary_training.make_act(policy), build.make_env(config, config.env.task, p.trajectories)
    host = {"state": start()}

    def collect(params):
        return adversary_training.collect(
            envs, act, policy, params, key, seeds=phase2.env_seeds(config, 0),
            length=phase2.trajectory_length(config), warm_up=p.warm_up, warm_up_params=reference,
        )[0]  # fmt: skip

    def step_by_step():
        passive = data.clips(plan.passive_starts[0], curriculum.window)
        host["state"], metrics = loop.run_cycle(
            programs, curriculum, host["state"], fixed, reference, collect, passive, key
        )
        return metrics

    return {"one program": one_program, "host": step_by_step}, compile_seconds


def random_start(config):
    """(trained part of a random world model, the rest of it, parameters of a random policy)."""
    key, shape = jax.random.key(1), build.frame_shape(config)
    model, policy, window = build.make_world_model(config), build.make_policy(config), config.world_model.window
    theta = random_like(jax.eval_shape(lambda: model.init(key, shape, window)))
    trainable, frozen = split_trainable(theta["dit"])
    return trainable, {**theta, "dit": frozen}, random_like(jax.eval_shape(lambda: policy.init(key, shape)))


def random_demonstrations(config, frames=512):
    """Latents and actions of ``frames`` frames."""
    (height, width, _), channels = build.frame_shape(config), config.autoencoder.channels
    rng, sizes = np.random.default_rng(0), build.spec_of(config).sizes
    latents = rng.normal(size=(frames, height // 8, width // 8, channels))
    actions = rng.integers(0, sizes, (frames, len(sizes)))
    return Demonstrations(jnp.asarray(latents, jnp.float32), jnp.asarray(actions, jnp.int32))


def make_plan(config, frames=512):
    """The plan of one cycle."""
    curriculum = build.make_curriculum(config)
    seeds = phase2.env_seeds(config, 0)
    last = frames - curriculum.window
    starts = np.random.default_rng(0).integers(0, last, (1, curriculum.updates, curriculum.passive_rows))
    return Plan(keys(seeds, seeds.size)[None], jnp.asarray(starts, jnp.int32), jnp.zeros(1, jnp.int32))
