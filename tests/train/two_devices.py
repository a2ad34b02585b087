"""Run by test_mesh.py in a process with two pretended devices; prints one JSON object."""

import json
import pathlib
import sys

import jax
import numpy as np
import optax

from prowl_jax.diffusion.forcing import Forcing
from prowl_jax.models.dit.dit import DiT
from prowl_jax.models.world_model import WorldModel
from prowl_jax.train.checkpoint import Checkpoints
from prowl_jax.train.compilation_cache import enable_compilation_cache
from prowl_jax.train.mesh import make_mesh, place_batch, replicate
from prowl_jax.train.state import init_state
from prowl_jax.train.world_model import make_loss, make_train_step
from prowl_jax.types import Batch

rng = np.random.default_rng(0)
MODEL = WorldModel(
    DiT(channels=3, width=24, depth=1, heads=2, ffn=32, action_sizes=(3, 5), chunk=2, frequency_width=16),
    None,
)
BATCHES = [
    Batch(rng.normal(size=(4, 4, 2, 2, 3)).astype(np.float32), rng.integers(0, 3, (4, 4, 2)).astype(np.int32))
    for _ in range(3)
]


def start(optimizer):
    z, sigma, led_to = np.zeros((1, 4, 2, 2, 3)), np.zeros((1, 2)), np.zeros((1, 4, 1, 2), int)
    shapes = jax.eval_shape(lambda key: MODEL.dit.init(key, z, sigma, led_to)["params"], jax.random.key(0))
    noise = np.random.default_rng(1)
    params = jax.tree.map(lambda s: np.float32(0.3 * noise.normal(size=s.shape)), shapes)
    return init_state(params, optimizer)


def train(mesh, step_fn, state):
    state, losses = replicate(mesh, state), []
    for batch in BATCHES:
        state, metrics = step_fn(state, place_batch(mesh, batch), jax.random.key(3))
        losses.append(float(metrics["loss"]))
    return state, losses


def message_of(function, *arguments):
    try:
        function(*arguments)
    except ValueError as error:
        return str(error)
    return None


def main(directory):
    enable_compilation_cache()
    devices = jax.devices()
    # Plain gradient descent: Adam divides by the gradient's size and would blow up its rounding.
    optimizer = optax.sgd(0.05)
    step_fn = make_train_step(make_loss(MODEL, Forcing(chunk=2)), optimizer, ema_decay=0.9)
    one, losses_one = train(make_mesh(devices=devices[:1]), step_fn, start(optimizer))
    mesh = make_mesh()
    two, losses_two = train(mesh, step_fn, start(optimizer))
    moved = jax.tree.map(
        lambda a, b: float(np.abs(np.asarray(a) - np.asarray(b)).max()), one.params, start(optimizer).params
    )
    apart = jax.tree.map(lambda a, b: float(np.abs(np.asarray(a) - np.asarray(b)).max()), one, two)

    # What one device saved, two restore, each with a whole copy.
    with Checkpoints(directory) as checkpoints:
        checkpoints.save(3, one)
    with Checkpoints(directory) as checkpoints:
        restored, _ = checkpoints.restore(replicate(mesh, start(optimizer)))
    placed = place_batch(mesh, BATCHES[0]).latents
    print(
        json.dumps(
            {
                "devices": len(devices),
                "mesh": dict(mesh.shape),
                "fsdp mesh": dict(make_mesh(fsdp=2).shape),
                "losses": [losses_one, losses_two],
                "moved": max(jax.tree.leaves(moved)),
                "apart": max(jax.tree.leaves(apart)),
                "programs": step_fn._cache_size(),
                "rows on each device": [s.data.shape[0] for s in placed.addressable_shards],
                "rows are in order": bool((np.asarray(placed) == BATCHES[0].latents).all()),
                "state is whole everywhere": all(
                    x.sharding.is_fully_replicated for x in jax.tree.leaves(two)
                ),
                "restored on": sorted({len(x.sharding.device_set) for x in jax.tree.leaves(restored)}),
                "restored is": all(
                    (np.asarray(a) == np.asarray(b)).all()
                    for a, b in zip(jax.tree.leaves(restored), jax.tree.leaves(one), strict=True)
                ),
                "three rows": message_of(place_batch, mesh, BATCHES[0].latents[:3]),
                "too many": message_of(make_mesh, 2, 2),
            }
        )
    )


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
