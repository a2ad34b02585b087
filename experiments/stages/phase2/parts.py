"""What every arm of phase 2 is made of: where it starts, what chance it draws, its alarms, what it leaves."""

import dataclasses
import math

import jax
import numpy as np

from experiments.run import divergence
from experiments.run.config_file import UsageError
from experiments.run.files import write_numpy
from experiments.run.training_loop import saved
from experiments.stages import build
from experiments.stages.clip_stores import clip_name, open_store, split
from experiments.stages.inverse_dynamics import load_inverse_dynamics
from experiments.stages.passive_batches import latents_of
from experiments.stages.reference import load_reference
from experiments.stages.world_model import load_world_model
from prowl_jax.data.feeder import batch_starts
from prowl_jax.envs.gaps import Gaps, happens
from prowl_jax.methods.base import Start
from prowl_jax.rewards import OF_JUDGE
from prowl_jax.rewards.inverse_dynamics import NAME
from prowl_jax.settings import POSITIVE, setting
from prowl_jax.train.checkpoint import Checkpoints
from prowl_jax.types import Batch, RealClip, Trajectory


@dataclasses.dataclass(frozen=True)
class CameraSettings:
    """The tripwire of the paper's figure 2c."""

    camera_alarm: float = setting(3.0, "times the reference's camera speed at which an arm is flagged", POSITIVE)


def trajectory_length(config):
    """Frames of a trajectory: the context and the scored horizon."""
    return build.make_world_model(config).frames_of(build.make_budget(config).clip)


def initial_state(config, method, start):
    """The state of a method before cycle 0."""
    return method.init(start, build.stage_key(config, "ensemble init"))  # so far only an ensemble takes chance


def prepare(run, config, method, state, start, place=lambda trajectory: trajectory):
    """The state after what the method learns before cycle 0: of the demonstrations, and of what others found.

    Args:
      place: puts a ``Trajectory`` of numpy arrays where the method's programs want it.
    """

    def demonstrations(steps, rows, length, first=0):
        store = open_store(run)
        starts = store.starts(split(run, store)[0], length)
        frames = np.stack([batch_starts(config.seed, i, starts, rows) for i in range(first, first + steps)])[..., None]
        frames = frames + np.arange(length)
        return Batch(latents_of(config, store)[frames], store.actions[frames])

    state = method.prepare(state, start, demonstrations, build.stage_key(config, "ensemble"))
    if config.phase2.include:
        state = method.take_in(state, start, place(included(config)))
        found, names = method.found(state), finders(config)
        stay = sum(clip_name(found.clips, i) in names for i in range(len(found.clips.actions))) if found else 0
        print(f"{config.phase2.include}: {len(names)} trajectories offered to the buffer, {stay} stay in it")
    return state


def included(config):
    """What ``phase2.include`` names as a ``Trajectory`` ``[n, T, ...]``: every window of T frames of every find.

    n is a multiple of the devices there may be; the rows that fill it up are not valid.
    """
    clips, _ = _windows(config)
    frames, actions = clips.frames, clips.actions
    length, (_, to_policy) = frames.shape[1], build.action_maps(config)
    count, devices = len(frames), jax.device_count()
    rows = np.arange(-(-count // devices) * devices)
    frames, actions, zero = frames[rows % count], actions[rows % count], np.zeros((len(rows), length), np.float32)
    first = np.zeros((len(rows), length), bool)
    first[:, 0] = True
    actions = actions if to_policy is None else to_policy(actions)
    return Trajectory(frames, actions, first, zero, zero, rows < count)


def _windows(config):
    """What ``phase2.include`` names in windows of a trajectory's length: ``RealClip`` ``[n, ...]``, who found each."""
    found, length = build.read_included(config), trajectory_length(config)
    starts = range(0, found.frames.shape[1] - length + 1, length)
    cut = (np.concatenate([x[:, at : at + length] for at in starts]) for x in (found.actions, found.frames))
    return RealClip(None, *cut), [str(one.get("by", "somebody")) for one in found.found] * len(starts)


def finders(config):
    """Name of a clip (``clip_name``) -> who found it, for all that ``phase2.include`` brings; {} where it is gone."""
    if not config.phase2.include:
        return {}
    try:
        clips, who = _windows(config)
    except UsageError:
        return {}
    return {clip_name(clips, i): by for i, by in enumerate(who)}


def open_checkpoints(run, arm):
    """The ``Checkpoints`` of an arm, to write."""
    return Checkpoints(run.checkpoints(f"phase2/{arm}"), run.config.checkpoint_keep, run.config.checkpoint_best)


def resume(checkpoints, state, skipped):
    """(cycles done, state, notes, indices left out) of the last checkpoint, or of ``state`` where there is none."""
    first, saved, notes = checkpoints.resume(state)
    skipped = notes.get("skipped", []) if skipped is None else skipped
    return first, saved if first else state, {**notes, "skipped": skipped} if skipped else notes, skipped


def starting_point(run, method=None):
    """Where every arm begins: theta_0 and pi_ref, a ``Start``, and the judge's weights where the ``method`` asks it."""
    theta_0 = load_world_model(run)
    trained, frozen = build.split_phase2(run.config, theta_0["dit"])
    oracle = {"oracle": build.load_oracle(run.config)} if run.config.phase2.oracle else {}
    judge = method is not None and set(method.rewards_asked()) & set(OF_JUDGE)
    judge = {NAME: load_inverse_dynamics(run)} if judge else {}
    return Start(trained, {**theta_0, "dit": frozen, **oracle, **judge}, load_reference(run))


def env_seeds(config, cycle, budget=None):
    """Seeds ``[trajectories]`` that a cycle's environments are reset from; those of branches in a row are the same.

    ``budget`` is an arm's; without, nobody branches. Of fewer starts the seeds are the first of those of more.
    """
    rows, branches = (budget.trajectories, budget.branches) if budget else (config.phase2.trajectories, 1)
    return np.repeat(np.random.SeedSequence([config.seed, cycle]).generate_state(rows // branches), branches)


def spent(method):
    """What all cycles of an arm cost: updates of the world model and the tokens they are on, steps, dreamt latents."""
    return {name: method.shared.budget.cycles * amount for name, amount in method.spent().items()}


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
    if metrics.get("pat_filled") == 0:
        raise RuntimeError(f"{stage}: cycle {cycle} left the buffer empty: every episode ended inside its trajectory")


def camera(config, spec, actions, notes):
    """The tripwire (PROWL figure 2c): camera speed against the reference's.

    Cycle 0 is collected before the first update, so its speed is the reference's own; ``notes``
    carries it on.
    """
    speed = float(spec.camera_speed(actions).mean())
    base = notes.setdefault("reference_camera_speed", speed)
    ratio = speed / max(base, 1e-6)
    return {
        "camera_speed": speed,
        "camera_speed_over_reference": ratio,
        "alarm": float(ratio > config.adversary.camera_alarm),
    }


def of_actions(config, spec, actions, notes):
    """What is logged of a cycle's actions, the environment's, int ``[B, T, A]`` with one more than was acted."""
    acted = actions[:, :-1]
    return {**camera(config, spec, acted, notes), **planted(config, spec, acted)}


def planted(config, spec, actions):
    """How often what the demonstrators leave out, or seldom do, is done: ``does_THING``, in 1,000 steps.

    ``actions`` are the environment's, int ``[..., A]``; nothing where nothing is planted, or actions do not tell it.
    """
    gaps = Gaps(**config.demonstrations.gaps)
    done = happens(spec, actions, gaps) if gaps.planted else {}
    return {f"does_{thing}": 1000.0 * float(np.mean(done[thing])) for thing in gaps.planted if thing in done}


@dataclasses.dataclass(frozen=True)
class Done:
    """An arm after its last cycle, or ``phase1``, which has none.

    Attributes:
      params: the world model's parameters that it predicts with.
      policy: parameters of the policy that it trained, or None.
      found: ``methods.base.Found``, what its world model learned from beside the demonstrations, or None.
      updates, cycles: by the state's own count.
    """

    params: dict
    policy: dict | None = None
    found: object = None
    updates: int = 0
    cycles: int = 0


def saved_arms(run):
    """Names of the configured arms that have saved a cycle, in their order."""
    return [arm for arm in build.arms(run.config) if saved(run, f"phase2/{arm}")]


def load_arm(run, arm):
    """``Done`` of an arm, or of ``phase1``."""
    if arm == "phase1":
        return Done(load_world_model(run))
    method, state, start = load_state(run, arm)
    params, policy = method.world_model_params(state, start), method.policy(state)
    return Done(params, policy, method.found(state), int(state.theta.step), int(state.cycle))


def load_state(run, arm):
    """(``Method`` of an arm, its state after the last cycle, where it began)."""
    method = build.make_method(run.config, arm)
    start = starting_point(run, method)
    with Checkpoints(run.checkpoints(f"phase2/{arm}"), alone=True) as checkpoints:
        state, _ = checkpoints.restore(initial_state(run.config, method, start))
    return method, state, start
