"""The loop around every train step: batches, progress, figures, checkpoints, going on after a stop."""

import math

import jax

from experiments.logging import Progress
from prowl_jax.data.feeder import Feeder
from prowl_jax.train.checkpoint import Checkpoints
from prowl_jax.train.mesh import place_batch, replicate
from prowl_jax.train.sharding import REPLICATED, abstract, init_on_mesh, keep_placement


def train(
    run, stage, init, step_fn, fetch, key, *, steps, mesh, rules=REPLICATED, on_log=None, pretrained=None
):
    """Do ``steps`` updates from wherever the last checkpoint of ``stage`` stands.

    Args:
      run: the ``Run``.
      init: ``f() -> TrainState`` before the first step, traced where there are several devices.
      step_fn: ``(state, batch, key) -> (state, metrics)``, jitted, state donated.
      fetch: ``f(step) -> batch`` of numpy arrays, a pure function of the step: this process's rows.
      mesh: where batches are split. rules: how the state lies on it, see ``sharding``.
      pretrained: ``f(shapes with their placement) -> TrainState``, called in the place of ``init`` where there is
        no checkpoint yet.
      on_log: ``f(state) -> dict`` of more figures, asked for at every checkpoint and the end.

    Returns:
      the final ``TrainState``.

    Raises:
      FloatingPointError: the loss is no longer finite; nothing of it is saved.
    """
    config = run.config
    state = abstract(mesh, init, rules) if pretrained else init_on_mesh(mesh, init, rules)
    key = replicate(mesh, key)
    step_fn = keep_placement(step_fn, state)
    with Checkpoints(run.checkpoints(stage)) as checkpoints:
        first = checkpoints.latest() or 0
        if first:
            state, _ = checkpoints.restore(state)
        elif pretrained:
            state = pretrained(state)
        run.log.truncate(stage=stage, step=first)
        if first >= steps:
            return state
        with Feeder(fetch, first) as feeder, Progress(stage, steps) as progress:
            for step, batch in zip(range(first + 1, steps + 1), feeder, strict=False):
                state, metrics = step_fn(state, place_batch(mesh, batch), key)
                at_checkpoint = step % config.checkpoint_every == 0 or step == steps
                if step % config.log_every == 0 or at_checkpoint:
                    figures = {name: float(value) for name, value in metrics.items()}
                    if not math.isfinite(figures["loss"]):
                        raise FloatingPointError(f"{stage}: the loss of step {step} is {figures['loss']}")
                    if at_checkpoint and on_log is not None:
                        figures.update(on_log(state))
                    run.log.write(stage=stage, step=step, **figures)
                    progress.update(step, **figures)
                if at_checkpoint:
                    checkpoints.save(step, state)
    return state


def restore_state(run, stage, example):
    """The final state of a finished stage; ``example`` may be shapes only."""
    with Checkpoints(run.checkpoints(stage), alone=True) as checkpoints:
        return checkpoints.restore(example)[0]


def shapes(function, *arguments):
    """The shapes of what ``function`` returns, without computing it, for ``restore_state``."""
    sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), jax.eval_shape(function, *arguments)
    )
