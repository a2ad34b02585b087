"""Memory that one device holds in a training step, by the compiler, from shapes and their placement alone."""

import math

import jax
import jax.numpy as jnp

from prowl_jax.diffusion.forcing import Forcing
from prowl_jax.models.dit.dit import DiT
from prowl_jax.models.dit.sizes import dit_size
from prowl_jax.models.world_model import WorldModel
from prowl_jax.train.mesh import make_mesh, replicated, split_rows
from prowl_jax.train.sharding import DIT_RULES, abstract, keep_placement
from prowl_jax.train.state import count, init_state, make_optimizer
from prowl_jax.train.world_model import make_loss, make_update, split_trainable
from prowl_jax.types import Batch

DEPTHS = (1, 2)
ACTIONS = (3, 3, 2, 11, 11)


def row(size, phase, mesh, latents, compiled):
    """A line of a markdown table: parameters, trained ones, and megabytes per device of a named size's step.

    Args:
      size: of ``DIT_SIZES``. phase: 1 or 2. mesh: ``"DATAxFSDP"``. latents, compiled: as in ``memory_of_step``.
    """
    data, fsdp = map(int, mesh.split("x"))
    shape, depth = dit_size(size), dit_size(size)["depth"]
    few, many = (memory_of_step({**shape, "depth": d}, phase, data, fsdp, latents, compiled) for d in DEPTHS)
    whole = {n: few[n] + (many[n] - few[n]) * (depth - DEPTHS[0]) / (DEPTHS[1] - DEPTHS[0]) for n in few}
    parameters, trained = (f"{whole[n] / 1e6:,.1f} M" for n in ("parameters", "trained"))
    megabytes = [f"{whole[n] / 1e6:,.0f}" if n in whole else "" for n in ("state", "inputs", "temporary")]
    return f"| {size} | {phase} | {parameters} | {trained} | {data} x {fsdp} | {' | '.join(megabytes)} |"


def memory_of_step(shape, phase, data, fsdp, latents, compiled=True):
    """What one device holds in one training step.

    Args:
      shape: width, depth, heads and ffn of the DiT.
      phase: 1 trains all of it; 2 the action conditioning, the rest is an input.
      data, fsdp: extents of the mesh.
      latents: (L, h, w) of a training clip; there is one clip per device.
      compiled: whether to compile the step, and so to know ``temporary``.

    Returns:
      dict: parameters and trained, counts over all devices; bytes per device: ``state``
      (parameters, average, optimiser), ``inputs`` (what is frozen, the batch), ``temporary``
      (all that lives only during the step).
    """
    mesh = make_mesh(data, fsdp, jax.devices()[: data * fsdp])
    model = WorldModel(DiT(channels=16, action_sizes=ACTIONS, **shape), None)
    optimizer = make_optimizer(1e-4, 1000)

    def start():
        params = _init(model.dit, latents)
        trained, frozen = (params, {}) if phase == 1 else split_trainable(model, params)
        return {"train": init_state(trained, optimizer), "frozen": frozen}

    both = abstract(mesh, start, DIT_RULES)
    update = make_update(make_loss(model, Forcing(chunk=3)), optimizer, ema_decay=0.99)
    rest = (both["frozen"], *_batch(mesh, latents))
    figures = {
        "parameters": count(both["train"].params) + count(both["frozen"]),
        "trained": count(both["train"].params),
        "state": _bytes_on_one(both["train"]),
        "inputs": _bytes_on_one(rest[:2]),
    }
    if compiled:
        step = keep_placement(lambda state, *rest: update(state, *rest), both["train"])
        program = step.lower(both["train"], *rest).compile(
            {"xla_backend_optimization_level": 0}  # machine code is not looked at
        )
        figures["temporary"] = program.memory_analysis().temp_size_in_bytes
    return figures


def _init(dit, latents):
    length, height, width = latents
    led_to = jnp.zeros((1, length, 1, len(ACTIONS)), jnp.int32)
    z, sigma = jnp.zeros((1, length, height, width, 16)), jnp.zeros((1, length // 3))
    return dit.init(jax.random.key(0), z, sigma, led_to)["params"]


def _batch(mesh, latents):
    """Shapes of one clip per device, and of a key."""
    def shape(*dimensions, dtype="float32"):
        return jax.ShapeDtypeStruct((mesh.size, *dimensions), dtype, sharding=split_rows(mesh))

    key = jax.eval_shape(lambda: jax.random.key(0))
    return (
        Batch(shape(*latents, 16), shape(latents[0], len(ACTIONS), dtype="int32")),
        jax.ShapeDtypeStruct(key.shape, key.dtype, sharding=replicated(mesh)),
    )


def _bytes_on_one(tree):
    return sum(math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize for x in jax.tree.leaves(tree))
