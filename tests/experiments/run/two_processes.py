"""Run by test_processes.py: phase 1 on a made-up clip store, alone or as one of several processes.

    python two_processes.py WORKDIR STOP_AFTER [--KEY=VALUE of the configuration ...]
"""

import contextlib
import functools
import pathlib
import sys

import jax
import numpy as np

from experiments.configs.quickstart import get_config
from experiments.run import processes
from experiments.run.directory import Run
from experiments.run.training_loop import restore_state, shapes
from experiments.stages import build
from experiments.stages.clip_stores import open_store
from experiments.stages.world_model import init_dit, train_world_model, world_model_optimizer
from prowl_jax.data.store import StoreWriter
from prowl_jax.train.checkpoint import Checkpoints
from prowl_jax.train.compilation_cache import enable_compilation_cache
from prowl_jax.train.state import init_state


class Stopped(Exception):
    """As an interrupt would."""


def make_store(run):
    """Random frames, actions and latents."""
    config, rng = run.config, np.random.default_rng(0)
    spec, shape, frames = build.spec_of(config), build.frame_shape(config), 8
    with StoreWriter(run.data(config.env.task), spec, shape) as writer:
        for _ in range(4):
            actions = np.stack([rng.integers(0, n, frames) for n in spec.sizes], -1).astype(np.int32)
            writer.add_episode(rng.integers(0, 256, (frames, *shape), np.uint8), actions)
    store = open_store(run)
    size = (len(store), shape[0] // 8, shape[1] // 8, config.autoencoder.channels)
    store.add_array("latents", rng.normal(size=size).astype(np.float32))
    return {}


def main(workdir, stop_after, *changes):
    enable_compilation_cache()
    config = get_config("tiny")
    config.update(log_every=1, checkpoint_every=2, arms=())
    config.world_model.update(steps=4, batch=4)
    for change in changes:
        name, value = change.split("=")
        config.mesh[name] = type(config.mesh[name])(eval(value))  # noqa: S307
    # On a crowded machine a process may be silent for long.
    jax.distributed.initialize = functools.partial(jax.distributed.initialize, heartbeat_timeout_seconds=600)
    processes.start(config)
    build.check_mesh(config)
    run = Run(workdir, config)
    run.run_stage("demonstrations", processes.main_only(make_store))

    save = Checkpoints.save

    def save_and_stop(self, step, state, meta=None, loss=None):
        save(self, step, state, meta, loss)
        if step == int(stop_after):
            split = sum(not x.is_fully_addressable and not x.is_fully_replicated for x in jax.tree.leaves(state))
            print(f"process {jax.process_index()} of {jax.process_count()}: {split} arrays split", file=sys.stderr)
            raise Stopped

    Checkpoints.save = save_and_stop
    with contextlib.suppress(Stopped):
        run.run_stage("world_model", train_world_model)
    optimizer = world_model_optimizer(config)
    example = shapes(lambda: init_state(init_dit(config), optimizer))
    theta = restore_state(run, "world_model", example)  # by each process for itself
    np.save(pathlib.Path(workdir) / f"head_{jax.process_index()}_{theta.step}.npy", theta.params["head"]["kernel"])


if __name__ == "__main__":
    main(*sys.argv[1:])
