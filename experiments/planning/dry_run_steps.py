"""The compiled parts of a run, laid out from shapes and their placement: what ``dry_run`` traces and compiles."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from experiments.planning.traced_memory import traced_peak
from experiments.stages import build, phase2
from experiments.stages.world_model import world_model_optimizer
from prowl_jax.train import adversary as adversary_training
from prowl_jax.train import curriculum as loop
from prowl_jax.train.mesh import replicated, split_leading
from prowl_jax.train.sharding import (
    DIT_RULES,
    LOOP_RULES,
    REPLICATED,
    WORLD_MODEL_RULES,
    abstract,
    keep_placement,
    on_mesh,
    shardings,
)
from prowl_jax.train.state import count, init_state, merge
from prowl_jax.train.world_model import loss_of, make_train_step
from prowl_jax.types import Batch, Trajectory


@dataclasses.dataclass(frozen=True)
class Step:
    """One compiled part of a run.

    Attributes:
      name: as printed. times: how often a run does it.
      program: jitted, for the mesh. arguments: shapes with their placement.
      counted: what ``traced_flops`` counts, the same without rematerialisation.
      loops: how often a ``while`` loop in it runs.
      layered: whether the DiT is in it.
      gradient: ``f() -> (kept, peak)``, bytes on one device, of a training step; None of another.
    """

    name: str
    times: int
    program: Callable
    arguments: tuple
    counted: Callable
    loops: int = 1
    layered: bool = True
    gradient: Callable | None = None


def parameters(config):
    """(of the DiT, of it trained in phase 2)."""
    model = _with(build.make_world_model(config), attention="einsum")
    trainable, frozen = jax.eval_shape(lambda: build.split_phase2(config, _params(config, model)["dit"]))
    whole = count(jax.eval_shape(merge, trainable, frozen))
    return whole, count(trainable)


def steps(config, mesh, depth):
    """Every ``Step`` of a run with a DiT of ``depth`` layers; nothing is compiled yet."""
    kind = "blocked" if config.world_model.attention == "cudnn" else config.world_model.attention
    model = build.make_world_model(config)
    compiled = _with(model, depth=depth, attention=kind)
    counted = _with(model, depth=depth, attention="einsum", remat=False)
    found = [_phase1(config, mesh, compiled, counted)]
    if build.arms(config):
        found += _phase2(config, mesh, compiled, counted)
    return found


def _phase1(config, mesh, model, counted):
    w, optimizer = config.world_model, world_model_optimizer(config)
    state = abstract(mesh, lambda: init_state(_params(config, model)["dit"], optimizer), DIT_RULES)
    forcing = build.make_forcing(config)
    step_of = functools.partial(make_train_step, forcing=forcing, optimizer=optimizer, ema_decay=w.ema_decay)
    batch = _clips(mesh, config, model, (w.batch,), split_leading(mesh))
    program = keep_placement(step_of(model), state)
    gradient = functools.partial(_of_gradient, mesh, model, forcing, state.params, {}, batch)
    return Step("phase 1 step", w.steps, program, (state, batch, _key(mesh)), step_of(counted), gradient=gradient)


def _phase2(config, mesh, model, counted):
    """The programs of a cycle of the arm ``prowl``; acting in the environment is not among them."""
    p, curriculum, policy = config.phase2, build.make_curriculum(config), build.make_policy(config)
    frame_shape = build.frame_shape(config)

    def start():
        reference = policy.init(jax.random.key(0), frame_shape)
        params = _params(config, model)
        trainable, frozen = build.split_phase2(config, params["dit"])
        fixed = {**params, **build.flow_params(config), "dit": frozen}
        state = phase2.initial_state(config, trainable, reference)
        return state, fixed, reference, loop.predicting(state.theta, fixed)

    rules = LOOP_RULES, WORLD_MODEL_RULES, REPLICATED, WORLD_MODEL_RULES
    state, fixed, reference, params = (
        jax.tree.map(lambda x, where: _on(where)(x), shapes, shardings(mesh, shapes, table))
        for shapes, table in zip(jax.eval_shape(start), rules, strict=True)
    )
    ppo = adversary_training.make_update(
        policy, adversary_training.make_optimizer(config.adversary.learning_rate), build.make_adversary(config)
    )

    def programs_of(model):
        return loop.make_programs(
            model, build.make_forcing(config), phase2.tuner(config), curriculum, ppo,
            build.action_maps(config)[0], build.make_flow(config),
        )  # fmt: skip

    plain, placed = programs_of(counted), on_mesh(mesh, programs_of(model), state)
    trajectory = _trajectory(mesh, config, policy)
    items = jax.tree.map(_on(split_leading(mesh)), jax.eval_shape(plain.observe, params, trajectory))
    passive = _clips(mesh, config, model, (p.updates, curriculum.passive_rows), _second_axis(mesh))
    rewards, cycle = _shape(split_leading(mesh), p.trajectories), _shape(replicated(mesh), dtype="int32")
    rescored = -(-p.capacity // min(curriculum.score_batch, p.capacity))
    rows = {
        "observe": (params, trajectory),
        "predict": (params, items),
        "ppo": (state.phi, state.safe_phi, reference, trajectory, rewards, _key(mesh), cycle),
        "fine_tune": (state.theta, fixed["dit"], state.buffer, passive, _key(mesh), cycle),
        "rescore": (params, state.buffer, cycle),
    }
    mixed = jax.tree.map(lambda x: _shape(split_leading(mesh), p.batch, *x.shape[2:], dtype=x.dtype), passive)
    gradient = functools.partial(
        _of_gradient, mesh, model, build.make_forcing(config), state.theta.params, fixed["dit"], mixed
    )
    words = {"observe": "encode and flow", "ppo": "PPO", "fine_tune": f"phase 2, {p.updates} steps"}
    return [
        Step(words.get(name, name), p.cycles, getattr(placed, name), arguments, getattr(plain, name),
             rescored if name == "rescore" else 1, layered=name not in ("observe", "ppo"),
             gradient=gradient if name == "fine_tune" else None)
        for name, arguments in rows.items()
    ]  # fmt: skip


def _of_gradient(mesh, model, forcing, trained, frozen, batch):
    """(bytes that a device keeps from the forward pass for the gradient, without weights; most that stand at once).

    Rows are split over all devices, weights and gradients over ``fsdp``; those in another type than float32 are
    the gathered copies that products take, and whole.
    """
    loss = functools.partial(loss_of, model, forcing)
    weights = {leaf.shape for leaf in jax.tree.leaves(jax.eval_shape(merge, trained, frozen))}

    def size(x):
        whole = x.size * x.dtype.itemsize
        if x.shape not in weights:
            return whole // mesh.size
        return whole // mesh.shape["fsdp"] if x.dtype == jnp.float32 else whole

    def backward(trained, frozen, batch, key):
        return jax.vjp(lambda params: loss(params, frozen, batch, key)[0], trained)[1]

    def gradient(trained, frozen, batch, key):
        return jax.grad(lambda params: loss(params, frozen, batch, key)[0])(trained)

    arguments = trained, frozen, batch, _key(mesh)
    kept = jax.tree.leaves(jax.eval_shape(backward, *arguments))
    return sum(size(x) for x in kept if x.shape not in weights), traced_peak(gradient, *arguments, size=size)


def _with(model, **changes):
    return dataclasses.replace(model, dit=model.dit.clone(**changes))


def _params(config, model):
    """The world model's parameters; for tracing only."""
    return model.init(jax.random.key(0), build.frame_shape(config), config.world_model.window)


def _on(sharding):
    return lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)


def _shape(sharding, *shape, dtype="float32"):
    return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)


def _second_axis(mesh):
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(None, ("data", "fsdp")))


def _key(mesh):
    return _on(replicated(mesh))(jax.eval_shape(lambda: jax.random.key(0)))


def _clips(mesh, config, model, rows, sharding):
    """Shapes of windows of demonstrations."""
    height, width, _ = build.frame_shape(config)
    window, factors = config.world_model.window, len(build.spec_of(config).sizes)
    latents = (*rows, window, height // 8, width // 8, config.autoencoder.channels)
    actions = (*rows, model.frames_of(window), factors)
    return Batch(_shape(sharding, *latents), _shape(sharding, *actions, dtype="int32"))


def _trajectory(mesh, config, policy):
    """Shapes of what a cycle collects."""
    shape = functools.partial(_shape, split_leading(mesh), config.phase2.trajectories)
    time_ = phase2.trajectory_length(config)
    return Trajectory(
        frames=shape(time_, *build.frame_shape(config), dtype="uint8"),
        actions=shape(time_, len(policy.sizes), dtype="int32"),
        first=shape(time_, dtype=jnp.bool_), log_prob=shape(time_), value=shape(time_),
        valid=shape(dtype=jnp.bool_), broken=shape(dtype=jnp.bool_),
    )  # fmt: skip
