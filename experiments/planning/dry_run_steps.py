"""The compiled parts of a run, laid out from shapes and their placement: what ``dry_run`` traces and compiles."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from experiments.planning.traced_memory import traced_peak
from experiments.stages import build, phase2
from experiments.stages.world_model import world_model_optimizer
from prowl_jax.methods.base import Start
from prowl_jax.methods.prowl import REDUCIBLE
from prowl_jax.rewards import OF_JUDGE
from prowl_jax.rewards.inverse_dynamics import NAME
from prowl_jax.rewards.reducible import ORACLE
from prowl_jax.train.mesh import replicated, split_rows
from prowl_jax.train.sharding import (
    DIT_RULES,
    LOOP_RULES,
    REPLICATED,
    WORLD_MODEL_RULES,
    abstract,
    keep_placement,
    shardings,
)
from prowl_jax.train.state import count, init_state, merge
from prowl_jax.train.world_model import make_train_step
from prowl_jax.types import Batch, Trajectory

OF_BATCHES = ("branch", "learn", "fine_tune")
"""The programs of a cycle that take batches of every update; all others take rows."""


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
    loss, plain = (build.make_loss(config, one) for one in (model, counted))
    step_of = functools.partial(make_train_step, optimizer=optimizer, ema_decay=w.ema_decay)
    batch = _clips(mesh, config, model, (w.batch,), w.window, split_rows(mesh))
    program = keep_placement(step_of(loss), state)
    gradient = functools.partial(_of_gradient, mesh, loss, state.params, {}, batch)
    return Step("phase 1 step", w.steps, program, (state, batch, _key(mesh)), step_of(plain), gradient=gradient)


def _phase2(config, mesh, model, counted):
    """The programs of a cycle of the first arm that trains a policy, or where none does of all; acting is not in it."""
    arms = build.arms(config)
    first = next((arm for arm in arms if build.make_method(config, arm, model).trains_policy), None)
    if first is not None or len(arms) == 1:
        return _of_arm(config, mesh, model, counted, first or arms[0])
    return [
        dataclasses.replace(step, name=f"{arm}: {step.name}")
        for arm in arms
        for step in _of_arm(config, mesh, model, counted, arm)
    ]


def _of_arm(config, mesh, model, counted, arm):
    """The programs of a cycle of an arm."""
    method, plain = (build.make_method(config, arm, one) for one in (model, counted))
    budget, needs = method.shared.budget, method.needs()

    def begin():
        reference = method.shared.policy.init(jax.random.key(0), build.frame_shape(config))
        params = _params(config, model)
        trained, frozen = build.split_phase2(config, params["dit"])
        others = {}
        if set(method.rewards_asked()) & set(OF_JUDGE):
            others[NAME] = build.make_inverse_dynamics(config).init(jax.random.key(0), build.frame_shape(config))
        if REDUCIBLE in method.rewards_asked():
            others[ORACLE] = params["dit"]
        start = Start(trained, {**params, **build.flow_params(config), "dit": frozen, **others}, reference)
        return phase2.initial_state(config, method, start), start

    state, start = jax.eval_shape(begin)
    state = _by_rules(mesh, state, LOOP_RULES)
    start = Start(
        _by_rules(mesh, {"theta": start.trained}, LOOP_RULES)["theta"],
        _by_rules(mesh, start.fixed, WORLD_MODEL_RULES),
        _by_rules(mesh, start.reference, REPLICATED),
    )
    trajectory = _trajectory(mesh, config, method.shared) if needs.acts else None
    passive = _clips(mesh, config, model, (budget.updates, needs.rows), needs.length, split_rows(mesh, 1))
    calls = method.calls(state, start, trajectory, passive, _key(mesh))
    of_step = _clips(mesh, config, model, (budget.batch,), budget.window, split_rows(mesh))
    if "learn" in calls:  # on branches, of every update one row
        of_step = jax.tree.map(lambda x: _shape(split_rows(mesh), *x.shape[1:], dtype=x.dtype), calls["learn"][-2])
    gradient = functools.partial(
        _of_gradient, mesh, method.step_loss(), state.theta.params, start.fixed["dit"], of_step
    )
    words = {"observe": "encode and flow", "ppo": "PPO"}
    words |= {"fine_tune": f"phase 2, {budget.updates} steps", "learn": f"learn, {budget.updates} steps"}
    programs = method.on_mesh(mesh, state).programs
    return [
        Step(words.get(name, name), budget.cycles, getattr(programs, name),
             tuple(_placed(mesh, argument, batches=name in OF_BATCHES) for argument in arguments),
             getattr(plain.programs, name),
             _batches(method) if name == "rescore" else 1, layered=name not in ("observe", "ppo"),
             gradient=gradient if name in ("fine_tune", "learn") else None)
        for name, arguments in calls.items()
    ]  # fmt: skip


def _batches(method):
    """Batches of the buffer that a cycle scores anew at most."""
    capacity = method.config.capacity
    size = min(method.shared.budget.score_batch, capacity)
    return -(-method.config.rescoring.most(capacity, size) // size)


def _by_rules(mesh, shapes, rules):
    return jax.tree.map(lambda x, where: _on(where)(x), shapes, shardings(mesh, shapes, rules))


def _placed(mesh, argument, batches):
    """An argument whose placement is not known yet: the whole world model's parameters, or rows of clips.

    Rows are the first axis, of ``batches`` the second: an update a row of the first.
    """
    if all(leaf.sharding is not None for leaf in jax.tree.leaves(argument)):
        return argument
    if isinstance(argument, dict):
        return _by_rules(mesh, argument, WORLD_MODEL_RULES)
    return jax.tree.map(_on(split_rows(mesh, int(batches))), argument)


def _of_gradient(mesh, loss, trained, frozen, batch):
    """(bytes that a device keeps from the forward pass for the gradient, without weights; most that stand at once).

    Rows are split over all devices, weights and gradients over ``fsdp``; those in another type than float32 are
    the gathered copies that products take, and whole.
    """
    weights = {leaf.shape for leaf in jax.tree.leaves(jax.eval_shape(merge, trained, frozen))}

    def size(x):
        whole = x.size * x.dtype.itemsize
        if x.shape not in weights:
            return whole // mesh.size
        return whole // mesh.shape["fsdp"] if x.dtype == jnp.float32 else whole

    def backward(trained, frozen, batch, key):
        return jax.vjp(lambda part: loss(merge(part, frozen), batch, key)[0], trained)[1]

    def gradient(trained, frozen, batch, key):
        return jax.grad(lambda part: loss(merge(part, frozen), batch, key)[0])(trained)

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


def _key(mesh):
    return _on(replicated(mesh))(jax.eval_shape(lambda: jax.random.key(0)))


def _clips(mesh, config, model, rows, length, sharding):
    """Shapes of clips of demonstrations of ``length`` latents."""
    latents = (*rows, length, *model.latent_shape(build.frame_shape(config)))
    actions = (*rows, model.frames_of(length), len(model.action_sizes))
    return Batch(_shape(sharding, *latents), _shape(sharding, *actions, dtype="int32"))


def _trajectory(mesh, config, shared):
    """Shapes of what a cycle collects."""
    shape, time_ = functools.partial(_shape, split_rows(mesh), shared.budget.trajectories), shared.trajectory_length
    return Trajectory(
        frames=shape(time_, *build.frame_shape(config), dtype="uint8"),
        actions=shape(time_, len(shared.policy.sizes), dtype="int32"),
        first=shape(time_, dtype=jnp.bool_), log_prob=shape(time_), value=shape(time_),
        valid=shape(dtype=jnp.bool_), broken=shape(dtype=jnp.bool_),
    )  # fmt: skip
