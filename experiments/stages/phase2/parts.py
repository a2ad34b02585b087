"""What every arm of phase 2 is made of: where it starts, its compiled parts, its budget, its alarms, what it leaves."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from experiments.run import divergence
from experiments.run.files import write_numpy
from experiments.stages import build
from experiments.stages.arms import ARMS, configured, learns_from_found
from experiments.stages.clip_stores import open_store, split
from experiments.stages.reference import load_reference
from experiments.stages.world_model import load_world_model, tokens_per_clip
from prowl_jax.data.feeder import batch_starts
from prowl_jax.train import adversary as adversary_training
from prowl_jax.train import curriculum as loop
from prowl_jax.train.checkpoint import Checkpoints
from prowl_jax.train.disagreement import make_fit
from prowl_jax.train.state import init_state, make_optimizer
from prowl_jax.types import Batch


def trajectory_length(config):
    """Frames of a trajectory: the context and the scored horizon."""
    curriculum = build.make_curriculum(config)
    return build.make_world_model(config).frames_of(curriculum.context + curriculum.horizon)


def tuner(config):
    """The optimiser of the world model."""
    p = config.phase2
    return make_optimizer(p.learning_rate, p.updates * p.cycles, warm_up=p.updates // 2, final=0.1)


def initial_state(config, trainable, reference, arm="prowl"):
    """The state before cycle 0: theta_0, phi = pi_ref with a fresh value head, an empty buffer.

    An arm that is paid for disagreement has an ensemble that has learned nothing yet.
    """
    policy_params = build.make_policy(config).with_fresh_value(reference)
    theta = init_state(trainable, tuner(config))
    phi = init_state(policy_params, adversary_training.make_optimizer(config.adversary.learning_rate))
    ensemble = None
    if ARMS[arm].reward == "disagreement":
        ensemble = build.make_ensemble(config).init(build.stage_key(config, "ensemble init"))
    return loop.init_loop(theta, phi, example_item(config), config.phase2.capacity, ensemble)


def teach_ensemble(run, config, state):
    """The state with an ensemble that knows the demonstrations, where it has one: what is common is not new."""
    if state.ensemble is None:
        return state
    window, store = config.world_model.window, open_store(run)
    starts = store.starts(split(run, store)[0], window)
    rows = range(config.adversary.ensemble.steps)
    frames = np.stack([batch_starts(config.seed, i, starts, config.phase2.batch) for i in rows])[..., None]
    frames = frames + np.arange(window)
    demonstrations = Batch(store.array("latents")[frames], store.actions[frames])
    fit = make_fit(build.make_ensemble(config))
    ensemble, _ = fit(state.ensemble, demonstrations, build.stage_key(config, "ensemble"))
    return dataclasses.replace(state, ensemble=ensemble)


def example_item(config):
    """Shapes of what the buffer keeps of a trajectory."""
    height, width, _ = build.frame_shape(config)
    curriculum, stride = build.make_curriculum(config), build.make_world_model(config).stride
    time, channels = trajectory_length(config), config.autoencoder.channels
    latents = curriculum.context + curriculum.horizon
    shape = jax.ShapeDtypeStruct
    return loop.PATItem(
        latents=shape((latents, height // 8, width // 8, channels), jnp.float32),
        actions=shape((time, len(build.spec_of(config).sizes)), jnp.int32),
        frames=shape((time, height, width, 3), jnp.uint8),
        flow=shape((curriculum.horizon * stride, height, width, 2), jnp.float16),
    )


def open_checkpoints(run, arm):
    """The ``Checkpoints`` of an arm, to write."""
    return Checkpoints(run.checkpoints(f"phase2/{arm}"), run.config.checkpoint_keep, run.config.checkpoint_best)


def resume(checkpoints, state, skipped):
    """(cycles done, state, notes, indices left out) of the last checkpoint, or of ``state`` where there is none."""
    first, saved, notes = checkpoints.resume(state)
    skipped = notes.get("skipped", []) if skipped is None else skipped
    return first, saved if first else state, {**notes, "skipped": skipped} if skipped else notes, skipped


def starting_point(run):
    """(trained part of theta_0, the rest of the world model's parameters, pi_ref's parameters)."""
    theta_0 = load_world_model(run)
    trainable, frozen = build.split_phase2(run.config, theta_0["dit"])
    return trainable, {**theta_0, "dit": frozen}, load_reference(run)


def make_programs(config, arm):
    """The compiled parts of a cycle of ``arm``; ``config`` as ``arms.configured`` made it."""
    ppo = None
    if ARMS[arm].reward is not None:
        optimizer = adversary_training.make_optimizer(config.adversary.learning_rate)
        ppo = adversary_training.make_update(build.make_policy(config), optimizer, build.make_adversary(config))
    return loop.make_programs(
        build.make_world_model(config), build.make_forcing(config), tuner(config),
        build.make_curriculum(config), ppo, build.action_maps(config)[0], build.make_flow(config),
        build.make_ensemble(config) if ARMS[arm].reward == "disagreement" else None,
    )  # fmt: skip


def env_seeds(config, cycle):
    """Seeds ``[trajectories]`` that a cycle's environments are reset from."""
    return np.random.SeedSequence([config.seed, cycle]).generate_state(config.phase2.trajectories)


def budget(config):
    """What every arm spends: world-model updates, the tokens they are on, and environment steps."""
    p = config.phase2
    return {
        "world_model_updates": p.cycles * p.updates,
        "world_model_tokens": p.cycles * p.updates * p.batch * tokens_per_clip(config),
        "environment_steps": p.cycles * p.trajectories * (p.warm_up + trajectory_length(config) - 1),
    }


def shown(metrics):
    """The metrics beside the progress bar."""
    return {n: metrics[n] for n in ("regret", "pat_mean_regret", "kl_to_reference") if n in metrics}


def save_actions(run, arm, actions):
    """Keep what an arm's policy did in its last cycle, int32 ``[N, T, A]``, for its statistics.

    Before the checkpoint: a run that is killed in between does the cycle again, and this with it.
    """
    path = actions_path(run, arm)
    path.parent.mkdir(exist_ok=True)
    write_numpy(path, np.save, actions)


def actions_path(run, arm):
    """Where ``save_actions`` puts them."""
    return run.workdir / "actions" / f"{arm}.npy"


def check_cycle(config, stage, cycle, metrics, state, skipped, finite=None):
    """Stop before a broken cycle is saved.

    Args:
      finite: whether the state was finite after this cycle, where ``state`` is that of a later one; None: look.

    Raises:
      BadNumbers: a figure or the state is not finite, or the loss is beyond ``loss_limit``.
    """
    broken = [name for name, value in metrics.items() if not math.isfinite(value)]
    if not broken and divergence.wrong(metrics["world_model_loss"], config.loss_limit):
        broken = ["world_model_loss"]
    if broken or not (divergence.all_finite(state) if finite is None else finite):
        what = f"{broken[0]} is {metrics[broken[0]]:g}" if broken else "the state is not finite after the updates"
        draw = divergence.draw_of(cycle, skipped)
        raise divergence.BadNumbers(
            f"{stage}: {what} in cycle {cycle + 1}; it is drawn by (seed {config.seed}, index {draw}) and "
            f"fold_in(stage_key(config, 'phase2'), {draw}); first array that is not finite: "
            f"{divergence.first_bad(state) or 'none that is kept'}",
            draw,
            skipped,
        )
    if not metrics["pat_filled"]:
        raise RuntimeError(f"{stage}: cycle {cycle} left the buffer empty: every episode ended inside its trajectory")


def camera(config, spec, actions, notes):
    """The tripwire (PROWL figure 2c): camera speed against the reference's.

    Cycle 0 is collected before the first update, so its speed is the reference's own; ``notes``
    carries it on.
    """
    speed = float(spec.camera_speed(actions[:, :-1]).mean())
    base = notes.setdefault("reference_camera_speed", speed)
    ratio = speed / max(base, 1e-6)
    return {
        "camera_speed": speed,
        "camera_speed_over_reference": ratio,
        "alarm": float(ratio > config.adversary.camera_alarm),
    }


def load_arm(run, arm):
    """(world-model parameters, PAT buffer) of an arm after its last cycle; None for a buffer it does not learn from."""
    if arm == "phase1":
        return load_world_model(run), None
    state, fixed = load_state(run, arm)
    return loop.predicting(state.theta, fixed), state.buffer if learns_from_found(run.config, arm) else None


def load_state(run, arm):
    """(``LoopState`` of an arm after its last cycle, the parameters that phase 2 holds fixed)."""
    trainable, fixed, reference = starting_point(run)
    with Checkpoints(run.checkpoints(f"phase2/{arm}"), alone=True) as checkpoints:
        state, _ = checkpoints.restore(initial_state(configured(run.config, arm), trainable, reference, arm))
    return state, fixed
