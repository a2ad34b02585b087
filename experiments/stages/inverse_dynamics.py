"""The stage that trains the inverse dynamics model, the judge of whether dreams follow their actions.

Off where ``inverse_dynamics.steps`` is 0 and no base model brings one. It learns from real frames of the training
episodes, and its figures on held-out ones are the ceiling of what can be recovered from a dream.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np

from experiments.run import processes
from experiments.run.training_loop import restore_state, shapes, train
from experiments.stages import build
from experiments.stages.clip_stores import open_store, split
from experiments.stages.passive_batches import passive_starts
from prowl_jax.data.feeder import batch_starts
from prowl_jax.metrics.action_recovery import action_recovery
from prowl_jax.rewards.inverse_dynamics import NAME
from prowl_jax.settings import COUNT, NATURAL, read, setting, within
from prowl_jax.train import inverse_dynamics as training
from prowl_jax.train.mesh import local_copy
from prowl_jax.train.state import ShortTraining, count, init_state

HELD_OUT_BATCHES = 16


@dataclasses.dataclass(frozen=True)
class InverseDynamicsTraining(ShortTraining):
    """A model that reads actions off dreams, for the evaluation."""

    steps: int = setting(0, "updates; 0: there is none but what a base model brings", NATURAL)
    batch: int = setting(16, "clips of an update", COUNT)
    clip: int = setting(16, "frames of a clip", within(2))
    weights: str = setting(
        "", "of VPT's in its place, for Minecraft: what python -m experiments.convert vpt made of 4x_idm",
        source="RLIR: VPT's",
    )  # fmt: skip


def train_inverse_dynamics(run):
    """Train the model; returns how well it recovers the actions of held-out episodes.

    ``held_out_`` stands before each name, and before ``commonest_f1``: what always answering each factor's
    commonest value of the training episodes reaches, who sees nothing.
    """
    config, settings = run.config, run.config.inverse_dynamics
    store, starts = open_store(run), passive_starts(run, settings.batch, settings.clip)
    model, optimizer = build.make_inverse_dynamics(config), _optimizer(config)
    if build.has_given_judge(config):
        params = load_inverse_dynamics(run)
        return {"parameters": count(params), **_held_out(run, model, params)} if processes.is_main() else {}
    state = train(
        run,
        "inverse_dynamics",
        lambda: _initial_state(config),
        training.make_train_step(model, optimizer, ema_decay=settings.ema_decay),
        lambda step: store.gather(starts(step), settings.clip),
        build.stage_key(config, "inverse_dynamics"),
        steps=settings.steps,
        mesh=build.make_config_mesh(config),
    )
    if not processes.is_main():
        return {}
    return {"parameters": count(state.params), **_held_out(run, model, local_copy(state.ema))}


def _optimizer(config):
    return read(InverseDynamicsTraining, config.inverse_dynamics).optimizer


def _initial_state(config):
    key = build.stage_key(config, "inverse dynamics init")
    params = build.make_inverse_dynamics(config).init(key, build.frame_shape(config))
    return init_state(params, _optimizer(config))


def load_inverse_dynamics(run):
    """Parameters of the finished stage (averaged), VPT's, or those that came with the base model."""
    if run.config.inverse_dynamics.weights:
        return build.load_judge(run.config.inverse_dynamics.weights)[1]
    if build.has_given_judge(run.config):
        return build.load_base(run.config.base).inverse_dynamics_params
    return restore_state(run, "inverse_dynamics", shapes(lambda: _initial_state(run.config))).ema


def with_judge(run, params):
    """The world model's ``params``, and the judge's among them where ``world_model.best_of`` chooses by it."""
    return params if run.config.world_model.best_of == 1 else {**params, NAME: load_inverse_dynamics(run)}


def judge_of(run):
    """``(model, params)`` of the finished stage or of the base model; None where there is neither."""
    if "inverse_dynamics" not in run.stages() and not build.has_given_judge(run.config):
        return None
    return build.make_inverse_dynamics(run.config), load_inverse_dynamics(run)


def _held_out(run, model, params):
    """Action recovery on real held-out clips, and the share of steps whose whole action is right."""
    config, settings, spec = run.config, run.config.inverse_dynamics, build.spec_of(run.config)
    store, recover = open_store(run), training.make_recover(model)
    train_episodes, held_out = split(run, store)
    starts = store.starts(held_out, settings.clip)
    true, recovered = [], []
    for i in range(HELD_OUT_BATCHES):
        clip = store.gather(batch_starts(config.seed + 3, i, starts, settings.batch), settings.clip)
        true.append(clip.actions[:, :-1])
        recovered.append(np.asarray(recover(params, jnp.asarray(clip.frames))))
    true, recovered = np.concatenate(true), np.concatenate(recovered)
    scores = action_recovery(spec, true, recovered)
    figures = {f"held_out_{name}": value for name, value in scores.items() if name != "tasks"}
    seen = store.actions[store.starts(train_episodes, 1)]
    commonest = [np.bincount(column).argmax() for column in seen.T]
    blind = action_recovery(spec, true, np.broadcast_to(np.array(commonest, np.int32), true.shape))
    accuracy = float((true == recovered).all(axis=-1).mean())
    return {"held_out_accuracy": accuracy, **figures, "held_out_commonest_f1": blind.get("action_f1", 0.0)}
