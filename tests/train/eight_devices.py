"""Run by test_sharding.py in a process with eight pretended devices; prints one JSON object."""

import functools
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import PartitionSpec
from two_devices import MODEL, message_of, start

from prowl_jax.diffusion.forcing import Forcing
from prowl_jax.pat import buffer as pat
from prowl_jax.pat.priority import Priority
from prowl_jax.train.compilation_cache import enable_compilation_cache
from prowl_jax.train.mesh import make_mesh, place_batch
from prowl_jax.train.sharding import (
    DIT_RULES,
    LOOP_RULES,
    init_on_mesh,
    keep_placement,
    path_name,
    shardings,
)
from prowl_jax.train.world_model import make_loss, make_train_step
from prowl_jax.types import Batch

MESHES = {"1": (1, 1), "4 data": (4, 1), "4 fsdp": (1, 4), "8 data": (8, 1), "8 fsdp": (1, 8), "2 x 4": (2, 4)}
rng = np.random.default_rng(0)
BATCHES = [
    Batch(rng.normal(size=(8, 4, 2, 2, 3)).astype(np.float32), rng.integers(0, 3, (8, 4, 2)).astype(np.int32))
    for _ in range(4)
]
SCORING, PRIORITY = pat.Scoring(warm_up=4), Priority("rank", temperature=0.5, staleness=0.3)


def mesh_of(name):
    data, fsdp = MESHES[name]
    return make_mesh(data, fsdp, jax.devices()[: data * fsdp])


def train(name):
    """What a mesh makes of four steps: losses, last parameters, what is split, programs."""
    mesh, optimizer = mesh_of(name), optax.sgd(0.05, momentum=0.9)
    state = init_on_mesh(mesh, lambda: start(optimizer), DIT_RULES)
    step_fn = keep_placement(make_train_step(make_loss(MODEL, Forcing(chunk=2)), optimizer, ema_decay=0.9), state)
    losses = []
    for batch in BATCHES:
        state, metrics = step_fn(state, place_batch(mesh, batch), jax.random.key(3))
        losses.append(float(metrics["loss"]))
    split = {
        path_name(path): [list(x.shape), list(x.sharding.shard_shape(x.shape))]
        for path, x in jax.tree_util.tree_flatten_with_path(state)[0]
        if not x.sharding.is_fully_replicated
    }
    return losses, jax.tree.map(np.asarray, state.params), split, step_fn._cache_size()


def buffer_story(name):
    """Two insertions, two draws, a rescoring: the final buffer, the draws, and what the compiler wrote."""
    mesh = mesh_of(name)
    item = {"clip": jax.ShapeDtypeStruct((5, 7), jnp.float32)}
    buffer = pat.init(item, 16)
    where = shardings(mesh, {"buffer": buffer}, LOOP_RULES)["buffer"]
    buffer = jax.device_put(buffer, where)
    insert = jax.jit(functools.partial(pat.insert, scoring=SCORING), donate_argnums=0, out_shardings=where)
    draw = jax.jit(
        lambda buffer, key, cycle: _draw(buffer, key, cycle), donate_argnums=0, out_shardings=(where, None, None)
    )
    rescore = jax.jit(pat.rescore, donate_argnums=0, out_shardings=where)
    numbers, drawn, programs = np.random.default_rng(5), [], []
    for cycle in range(2):
        offered = place_batch(mesh, {"clip": numbers.normal(size=(8, 5, 7)).astype(np.float32)})
        raw = dict(zip(SCORING.names, np.float32(numbers.random((2, 8))), strict=True))
        arguments = (buffer, offered, raw, np.arange(8) != 3, cycle)
        programs.append(insert.lower(*arguments).compile().as_text())
        buffer = insert(*arguments)
        arguments = (buffer, jax.random.key(cycle), cycle + 1)
        programs.append(draw.lower(*arguments).compile().as_text())
        buffer, slots, clips = draw(*arguments)
        drawn.append([np.asarray(slots), np.asarray(clips["clip"])])
    buffer = rescore(buffer, dict(zip(SCORING.names, np.float32(numbers.random((2, 16))), strict=True)), 3)
    rows = buffer.items["clip"].sharding.shard_shape((16, 5, 7))[0]
    gathered = [line for text in programs for line in re.findall(r".*all-gather.*", text) if "16,5,7]" in line]
    return jax.tree.map(np.asarray, buffer), drawn, rows, gathered


def _draw(buffer, key, cycle):
    buffer, slots = pat.sample(buffer, key, 6, cycle, SCORING, PRIORITY)
    return buffer, slots, pat.gather(buffer, slots)


def same(one, other):
    """To the last bit, but for the running statistics, which are sums in another order."""
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(a, b) or (a.size <= 2 and np.allclose(a, b, rtol=1e-6)) for a, b in pairs)


def main():
    enable_compilation_cache()
    trained = {name: train(name) for name in MESHES}
    one = trained["1"][1]
    stories = {name: buffer_story(name) for name in ("1", "8 data", "2 x 4")}
    state, mesh = jax.eval_shape(lambda: start(optax.sgd(0.1))), mesh_of("2 x 4")
    whole = PartitionSpec()
    print(
        json.dumps(
            {
                "losses": {name: t[0] for name, t in trained.items()},
                "apart": {
                    name: max(jax.tree.leaves(jax.tree.map(lambda a, b: float(np.abs(a - b).max()), t[1], one)))
                    for name, t in trained.items()
                },
                "split": trained["8 fsdp"][2],
                "split by data": trained["8 data"][2],
                "programs": {name: t[3] for name, t in trained.items()},
                "buffers are": {name: same(s[0], stories["1"][0]) for name, s in stories.items()},
                "draws are": {name: same(s[1], stories["1"][1]) for name, s in stories.items()},
                "items on each device": {name: s[2] for name, s in stories.items()},
                "gathered whole": {name: s[3] for name, s in stories.items()},
                "no rule": message_of(shardings, mesh, state, ((r"^params/", whole),)),
                "too many dimensions": message_of(
                    shardings, mesh, state, ((r".*", PartitionSpec(None, None, "fsdp")),)
                ),
                "no such axis": message_of(shardings, mesh, state, ((r".*", PartitionSpec("model")),)),
            }
        )
    )


if __name__ == "__main__":
    main()
