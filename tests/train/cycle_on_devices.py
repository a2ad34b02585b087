"""Two cycles of PROWL, run by test_sharding.py; prints one JSON object.

In a process with four pretended devices: on one of them and on all. As one of two processes, which
find each other as JAX_COORDINATOR_ADDRESS and JAX_PROCESS_ID say: on both, each with its own rows.
"""

import json
import os

import jax
import numpy as np
import optax

from prowl_jax.data.feeder import process_share
from prowl_jax.diffusion.forcing import Forcing
from prowl_jax.methods.base import Budget, Shared, Start
from prowl_jax.methods.prowl import Config, Prowl
from prowl_jax.models.autoencoders.small import Autoencoder
from prowl_jax.models.dit.dit import DiT
from prowl_jax.models.policies.small import Policy, PolicyNetwork
from prowl_jax.models.world_model import WorldModel
from prowl_jax.train.adversary import Adversary
from prowl_jax.train.compilation_cache import enable_compilation_cache
from prowl_jax.train.mesh import local_copy, make_mesh, place_batch, replicate
from prowl_jax.train.sharding import (
    LOOP_RULES,
    WORLD_MODEL_RULES,
    path_name,
    shard_state,
)
from prowl_jax.train.world_model import make_loss, split_trainable
from prowl_jax.types import Batch, Trajectory

SIZES, TIME, ROWS, FRAME = (3, 5), 6, 4, (16, 16, 3)
MODEL = WorldModel(
    DiT(channels=3, width=24, depth=1, heads=2, ffn=32, action_sizes=SIZES, chunk=2, frequency_width=16),
    Autoencoder(channels=3, widths=(8, 8), blocks=1),
    sampler_steps=2,
)
POLICY = Policy(PolicyNetwork(SIZES, features=8, memory=2, hidden=8))


class PlainAdversary(Adversary):
    """Plain gradient descent, as in two_devices.py."""

    optimizer = optax.sgd(0.02)


def cheap_flow(params, first, second):
    """Optical flow is tested elsewhere."""
    return (second - first)[..., :2]


METHOD = Prowl(
    Config(capacity=8, adversary=PlainAdversary(epochs=1, minibatches=1)),
    Shared(
        MODEL, FRAME, make_loss(MODEL, Forcing(chunk=2)), optax.sgd(0.02), cheap_flow,
        Budget(
            context=2, horizon=4, window=4, updates=2, batch=8, trajectories=ROWS, score_batch=4, warm_up=0, cycles=1,
            ema_decay=0.0,
        ), POLICY,
    ),
)  # fmt: skip


def random_like(init, *arguments):
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda key: init(key, *arguments), jax.random.key(0))
    return jax.tree.map(
        lambda s: np.float32(rng.normal(size=s.shape) / np.sqrt(max(np.prod(s.shape[:-1]), 1)) + (s.ndim == 1)), shapes
    )


def trajectories(cycle):
    rng = np.random.default_rng(cycle)
    frames = rng.integers(0, 256, (ROWS, TIME, 16, 16, 3)).astype(np.uint8)
    actions = np.stack([rng.integers(0, n, (ROWS, TIME)) for n in SIZES], -1).astype(np.int32)
    first = np.zeros((ROWS, TIME), bool)
    first[:, 0] = True
    log_prob, value = np.full((ROWS, TIME), -np.log(15.0), np.float32), np.zeros((ROWS, TIME), np.float32)
    return Trajectory(frames, actions, first, log_prob, value, np.arange(ROWS) < 3 + cycle)


def passive(cycle):
    rng = np.random.default_rng(100 + cycle)
    actions = np.stack([rng.integers(0, n, (2, 4, 4)) for n in SIZES], -1).astype(np.int32)
    return Batch(rng.normal(size=(2, 4, 4, 2, 2, 3)).astype(np.float32), actions)


class Source:
    """A cycle's, each process with its own rows."""

    def __init__(self, mesh, cycle):
        self._mesh, self._cycle = mesh, cycle

    def act(self, params):
        assert all(len(x.devices()) == 1 for x in jax.tree.leaves(local_copy(params)))
        return place_batch(self._mesh, jax.tree.map(lambda x: x[own_rows(ROWS)], trajectories(self._cycle)))

    def policy_is_final(self, params):
        pass

    def demonstrations(self):
        mine = jax.tree.map(lambda x: x[:, own_rows(4)], passive(self._cycle))
        return place_batch(self._mesh, mine, axis=1)


def two_cycles(mesh):
    params, reference = random_like(MODEL.init, FRAME, 4), random_like(POLICY.init, FRAME)
    trained, frozen = split_trainable(MODEL, params["dit"])
    state = shard_state(mesh, METHOD.init(Start(trained, {}, reference), jax.random.key(0)), LOOP_RULES)
    fixed = shard_state(mesh, params | {"dit": frozen}, WORLD_MODEL_RULES)
    start, method = Start(trained, fixed, replicate(mesh, reference)), METHOD.on_mesh(mesh, state)
    where, metrics = placement(state), []
    for cycle in range(2):
        key = replicate(mesh, jax.random.fold_in(jax.random.key(0), cycle))
        state, figures = method.cycle(state, start, Source(mesh, cycle), key)
        metrics.append({name: float(value) for name, value in figures.items()})
    return metrics, state, where, placement(state)


def own_rows(rows):
    return process_share(rows, jax.process_index(), jax.process_count())


def placement(state):
    return {
        path_name(path): str(x.sharding.spec) for path, x in jax.tree_util.tree_flatten_with_path(state)[0] if x.ndim
    }


def as_one_of_two():
    # On a crowded machine a process may be silent for long.
    jax.distributed.initialize(
        num_processes=2, process_id=int(os.environ["JAX_PROCESS_ID"]), heartbeat_timeout_seconds=600
    )
    metrics, state, *_ = two_cycles(make_mesh(1, 2))
    parts = {x.sharding.shard_shape(x.shape)[0] for x in jax.tree.leaves(state.buffer.items)}
    print(json.dumps({"two": metrics, "slots of each": sorted(parts)}))


def main():
    enable_compilation_cache()
    if "JAX_COORDINATOR_ADDRESS" in os.environ:
        as_one_of_two()
        return
    one, state_1, *_ = two_cycles(make_mesh(devices=jax.devices()[:1]))
    four, state_4, before, after = two_cycles(make_mesh(2, 2))
    state_1, state_4 = jax.tree.map(np.asarray, (state_1, state_4))
    items = zip(jax.tree.leaves(state_1.buffer.items), jax.tree.leaves(state_4.buffer.items), strict=True)
    print(
        json.dumps(
            {
                "one": one,
                "four": four,
                "slots": [state_1.buffer.filled.tolist(), state_4.buffer.filled.tolist()],
                "items apart": max(float(np.abs(a.astype(np.float32) - b.astype(np.float32)).max()) for a, b in items),
                "moved from where they lay": [name for name in before if before[name] != after[name]],
                "split": sum("fsdp" in spec for spec in after.values()),
            }
        )
    )


if __name__ == "__main__":
    main()
