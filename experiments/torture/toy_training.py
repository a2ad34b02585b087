"""A training of a second through the real loop, to be killed:

  python -m experiments.torture.toy_training DIR [save:N | step:N]

``save:N`` kills itself while its N-th checkpoint is being written, ``step:N`` before it fetches index N.
"""

import os
import signal
import sys
import time

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from experiments.run.directory import Run
from experiments.run.training_loop import train
from prowl_jax.train.checkpoint import Checkpoints
from prowl_jax.train.mesh import make_mesh
from prowl_jax.train.state import apply_gradients, init_state, make_optimizer

STEPS, ROWS, WIDTH = 40, 4, 256


def config(**changes):
    values = {
        "seed": 3, "log_every": 2, "checkpoint_every": 5, "checkpoint_keep": 2, "checkpoint_best": False,
        "loss_limit": 1e4, "on_nan": "stop", "rewinds": 2,
    }  # fmt: skip
    return ml_collections.ConfigDict(values | changes)


def batch_of(index):
    """float32 ``[ROWS, WIDTH]``, a pure function of the index."""
    return np.random.default_rng([7, index]).normal(size=(ROWS, WIDTH)).astype(np.float32)


def stage(run, fetch=batch_of, step_fn=None, steps=STEPS):
    """All steps; returns the final ``TrainState``."""
    optimizer = make_optimizer(1e-2, steps)
    start = {"w": jnp.asarray(np.random.default_rng(1).normal(size=(WIDTH, WIDTH)), jnp.float32)}

    def step(state, batch, key):
        noise = jax.random.normal(jax.random.fold_in(key, state.step), batch.shape)

        def loss(params):
            return jnp.mean((batch @ params["w"] + 0.1 * noise - batch) ** 2)

        value, gradients = jax.value_and_grad(loss)(state.params)
        return apply_gradients(state, gradients, optimizer, 0.9), {"loss": value}

    return train(
        run, "toy", lambda: init_state(start, optimizer), step_fn or jax.jit(step, donate_argnums=0), fetch,
        jax.random.key(run.config.seed), steps=steps, mesh=make_mesh(1, 1),
    )  # fmt: skip


def _kill():
    os.kill(os.getpid(), signal.SIGKILL)


def main(workdir, fault=""):
    what, _, number = fault.partition(":")
    saves, save = [], Checkpoints.save

    def killed_in_save(self, *arguments, **keywords):
        save(self, *arguments, **keywords)
        saves.append(None)
        if what == "save" and len(saves) == int(number):
            _kill()  # a thread is writing

    def slow(index):
        if what == "step" and index == int(number):
            _kill()
        time.sleep(0.02)
        return batch_of(index)

    Checkpoints.save = killed_in_save
    Run(workdir, config()).run_stage("toy", lambda run: stage(run, slow) and {})


if __name__ == "__main__":
    main(*sys.argv[1:])
