"""The stage of the reference policy pi_ref: demonstrators cloned, or VPT as published."""

import dataclasses

import jax
import numpy as np

from experiments.run import processes
from experiments.run.training_loop import restore_state, saved, shapes, train
from experiments.stages import build
from experiments.stages.clip_stores import clip_starts, open_store, own_starts, split
from prowl_jax.data.feeder import batch_starts
from prowl_jax.settings import COUNT, read, setting
from prowl_jax.train import behaviour
from prowl_jax.train.mesh import local_copy
from prowl_jax.train.state import ShortTraining, init_state


@dataclasses.dataclass(frozen=True)
class CloningTraining(ShortTraining):
    """Behaviour cloning of pi_ref."""

    steps: int = setting(250, "updates", COUNT)
    batch: int = setting(16, "clips of an update", COUNT)


def _init_policy(config):
    key = build.stage_key(config, "policy init")
    return build.make_policy(config).init(key, build.frame_shape(config))


def clone_reference(run):
    """Clone the demonstrators of the training task; measure it on held-out episodes."""
    config, r = run.config, run.config.reference
    store = open_store(run)
    train_episodes, _ = split(run, store)
    starts = clip_starts(store, train_episodes, r.clip, "reference.clip")
    policy = build.make_policy(config)
    if r.weights or _of_base(config):  # VPT was cloned from people already, and so was what came with a base model
        return _measure_reference(run, policy, load_reference(run), store) if processes.is_main() else {}
    optimizer = read(CloningTraining, r).optimizer
    state = train(
        run,
        "behaviour",
        lambda: init_state(_init_policy(config), optimizer),
        behaviour.make_train_step(policy, optimizer, ema_decay=r.ema_decay),
        lambda step: store.gather(own_starts(config, step, starts, r.batch), r.clip),
        build.stage_key(config, "behaviour"),
        steps=r.steps,
        mesh=build.make_config_mesh(config),
    )
    return _measure_reference(run, policy, local_copy(state.ema), store) if processes.is_main() else {}


def _measure_reference(run, policy, params, store):
    """Held-out negative log-likelihood of the demonstrations' actions, and that of their frequencies."""
    config, r = run.config, run.config.reference
    _, from_env = build.action_maps(config)
    own = from_env or (lambda actions: actions)
    train_episodes, held_out = split(run, store)
    nll = jax.jit(lambda params, clip: behaviour.negative_log_likelihood(policy, params, clip))
    starts = store.starts(held_out, r.clip)
    losses = []
    for i in range(16):
        clip = store.gather(batch_starts(config.seed + 1, i, starts, r.batch), r.clip)
        losses.append(float(nll(params, dataclasses.replace(clip, actions=own(clip.actions)))))
    seen, unseen = (own(store.actions[store.starts(episodes, 1)]) for episodes in (train_episodes, held_out))
    marginal = behaviour.marginal_nll(seen, unseen, policy.sizes)
    return {"held_out_nll": float(np.mean(losses)), "marginal_nll": float(marginal)}


def _of_base(config):
    """Whether pi_ref is the policy that the base model brings."""
    return bool(config.base) and config.reference.of_base and build.load_base(config.base).policy is not None


def has_reference(run):
    """Whether pi_ref is there already."""
    return bool(run.config.reference.weights) or _of_base(run.config) or saved(run, "behaviour")


def load_reference(run):
    """Parameters of pi_ref."""
    if run.config.reference.weights:
        return build.vpt_params(run.config)
    if _of_base(run.config):
        return build.load_base(run.config.base).policy_params
    optimizer = read(CloningTraining, run.config.reference).optimizer
    example = shapes(lambda: init_state(_init_policy(run.config), optimizer))
    return restore_state(run, "behaviour", example).ema
