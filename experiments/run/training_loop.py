"""The loop around every train step: batches, progress, figures, checkpoints, going on after a stop."""

import dataclasses
import functools

import jax

from experiments.run import divergence, interruption
from experiments.run.progress import Progress
from prowl_jax.data.feeder import Feeder
from prowl_jax.settings import COUNT, setting
from prowl_jax.train.checkpoint import Checkpoints
from prowl_jax.train.mesh import place_batch, replicate
from prowl_jax.train.sharding import REPLICATED, abstract, init_on_mesh, keep_placement


@dataclasses.dataclass(frozen=True)
class LoopSettings:
    """What is written while something trains."""

    log_every: int = setting(50, "steps between rows of figures", COUNT)
    checkpoint_every: int = setting(400, "steps, in the long stages", COUNT)
    checkpoint_keep: int = setting(2, "of the latest checkpoints, in every stage", COUNT)
    checkpoint_best: bool = setting(False, "keep the one with the lowest loss as well")


def train(
    run, stage, init, step_fn, fetch, key, *, steps, mesh, rules=REPLICATED, pretrained=None
):
    """Do ``steps`` updates from wherever the last checkpoint of ``stage`` stands.

    Args:
      run: the ``Run``.
      init: ``f() -> TrainState`` before the first step, traced where there are several devices.
      step_fn: ``(state, batch, key) -> (state, metrics)``, jitted, state donated.
      fetch: ``f(index) -> batch`` of numpy arrays, a pure function of the index: this process's rows.
        Step s takes index s - 1, unless some were left out (``divergence``).
      mesh: where batches are split. rules: how the state lies on it, see ``sharding``.
      pretrained: ``f(shapes with their placement) -> TrainState``, called in the place of ``init`` where there is
        no checkpoint yet.

    Returns:
      the final ``TrainState``.

    Raises:
      BadNumbers: a loss or the state is no longer finite, or a loss beyond ``loss_limit``; nothing of it
        is saved. With ``on_nan=rewind`` only after ``rewinds`` times.
      Terminated: after SIGTERM; the last step is saved.
    """
    replicated_key = replicate(mesh, key)
    attempt = functools.partial(
        _attempt, run, stage, init, step_fn, fetch, replicated_key, steps=steps, mesh=mesh, rules=rules,
        pretrained=pretrained,
    )  # fmt: skip
    return divergence.rewinding(run.config, attempt)


def _attempt(run, stage, init, step_fn, fetch, key, skipped, *, steps, mesh, rules, pretrained):
    config = run.config
    state = abstract(mesh, init, rules) if pretrained else init_on_mesh(mesh, init, rules)
    step_fn = keep_placement(step_fn, state)
    with Checkpoints(run.checkpoints(stage), config.checkpoint_keep, config.checkpoint_best) as checkpoints:
        first, saved, notes = checkpoints.resume(state)
        if first:
            state = saved
        elif pretrained:
            state = pretrained(state)
        skipped = notes.get("skipped", []) if skipped is None else skipped
        notes = {"skipped": skipped} if skipped else {}
        run.log.truncate(stage=stage, step=first)
        if first >= steps:
            return state

        def draw(step):
            return divergence.draw_of(step - 1, skipped)

        def refuse(step, what):
            index = draw(step)
            place = divergence.first_bad({"batch": fetch(index)}) or divergence.first_bad(state) or "the loss alone"
            raise divergence.BadNumbers(
                f"{stage}: {what} of step {step}; its batch is drawn by (seed {config.seed}, index {index}), its "
                f"noise by fold_in(stage_key(config, {stage!r}), {step - 1}); first array that is not finite: {place}",
                index,
                skipped,
            )

        def check(step, whole=False):
            found = losses.look()
            if found:
                refuse(found[0], f"the loss is {found[1]:g}")
            if whole and not divergence.all_finite(state):
                refuse(step, "the state is not finite after the update")

        losses = divergence.LossWatch(config.loss_limit)
        with (
            interruption.after_the_step(),
            Feeder(lambda count: fetch(divergence.draw_of(count, skipped)), first) as feeder,
            Progress(stage, steps) as progress,
        ):
            for step, batch in zip(range(first + 1, steps + 1), feeder, strict=False):
                state, metrics = step_fn(state, place_batch(mesh, batch), key)
                losses.add(step, metrics["loss"])
                at_checkpoint = step % config.checkpoint_every == 0 or step == steps
                if step % config.log_every == 0 or at_checkpoint:
                    check(step, at_checkpoint)
                    figures = {name: float(value) for name, value in metrics.items()}
                    run.log.write(stage=stage, step=step, **figures)
                    progress.update(step, **figures)
                stop = interruption.asked()
                if stop and not at_checkpoint and jax.process_count() == 1:
                    check(step, whole=True)
                if at_checkpoint or (stop and jax.process_count() == 1):
                    checkpoints.save(step, state, notes, loss=float(metrics["loss"]))
                if stop:
                    raise interruption.Terminated
    return state


def saved(run, stage):
    """Whether a stage of a run has a checkpoint."""
    return any(run.checkpoints(stage).glob("[0-9]*"))


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
