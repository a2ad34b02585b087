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
from prowl_jax.methods.acting import collect, make_act
from prowl_jax.methods.base import Start
from prowl_jax.methods.one_program import Demonstrations, DeviceSource, Plan
from prowl_jax.train.world_model import split_trainable

ARM = "prowl"
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
    start, method = random_start(config), build.make_method(config, ARM)
    env, data, plan = build.make_device_env(config, config.env.task), random_demonstrations(config), make_plan(config)
    key, shared = jax.random.key(0), method.shared

    def begin():
        return jax.tree.map(jnp.copy, phase2.initial_state(config, method, start))

    device = {"state": begin()}
    program, compile_seconds = compiled(
        phase2.device.build_program(config, ARM), env, data, device["state"], start, plan, key
    )

    def one_program():
        device["state"], cycles = program(env, data, device["state"], start, plan, key)
        return cycles.metrics

    act = make_act(shared.policy)
    envs = build.make_env(config, config.env.task, shared.budget.trajectories)
    host = {"state": begin()}

    def act_out(params):
        return collect(
            envs, act, shared.policy, params, key, seeds=phase2.env_seeds(config, 0), length=shared.trajectory_length,
            warm_up=shared.budget.warm_up, warm_up_params=start.reference,
        )[0]  # fmt: skip

    def step_by_step():
        source = DeviceSource(act_out, lambda: data.clips(plan.passive_starts[0], method.needs().length))
        host["state"], metrics = method.cycle(host["state"], start, source, key)
        return metrics

    return {"one program": one_program, "host": step_by_step}, compile_seconds


def random_start(config):
    """A ``Start`` of a random world model and a random policy."""
    key, shape = jax.random.key(1), build.frame_shape(config)
    model, policy, window = build.make_world_model(config), build.make_policy(config), config.world_model.window
    theta = random_like(jax.eval_shape(lambda: model.init(key, shape, window)))
    trained, frozen = split_trainable(model, theta["dit"])
    return Start(trained, {**theta, "dit": frozen}, random_like(jax.eval_shape(lambda: policy.init(key, shape))))


def random_demonstrations(config, frames=512):
    """Latents and actions of ``frames`` frames."""
    (height, width, _), channels = build.frame_shape(config), config.autoencoder.channels
    rng, sizes = np.random.default_rng(0), build.spec_of(config).sizes
    latents = rng.normal(size=(frames, height // 8, width // 8, channels))
    actions = rng.integers(0, sizes, (frames, len(sizes)))
    return Demonstrations(jnp.asarray(latents, jnp.float32), jnp.asarray(actions, jnp.int32))


def make_plan(config, frames=512):
    """The plan of one cycle."""
    needs, seeds = build.make_method(config, ARM).needs(), phase2.env_seeds(config, 0)
    last = frames - needs.length
    starts = np.random.default_rng(0).integers(0, last, (1, config.phase2.updates, needs.rows))
    return Plan(keys(seeds, seeds.size)[None], jnp.asarray(starts, jnp.int32), jnp.zeros(1, jnp.int32))
