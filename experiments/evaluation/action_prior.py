"""How policies act beside how people do: statistics of actions for ``evaluation.json`` and the report."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.stages import build, phase2
from experiments.stages.clip_stores import open_store, split
from experiments.stages.reference import load_reference
from prowl_jax.data.feeder import batch_starts
from prowl_jax.metrics.action_statistics import action_statistics
from prowl_jax.minecraft import SPEC
from prowl_jax.rl import categorical
from prowl_jax.train.behaviour import previous_actions


def action_tables(run):
    """Name -> ``action_statistics``, for everyone whose actions this run knows.

    ``people`` are the recordings of ``evaluation.action_prior``, where it is given; ``demonstrations``
    all training episodes; ``reference`` draws from pi_ref on held-out frames, its memory as it would be
    there; an arm's name stands for what its policy did in the environment in the last cycle.
    """
    config, tables = run.config, {}
    spec, store = build.spec_of(config), open_store(run)
    train_episodes, _ = split(run, store)
    if config.evaluation.action_prior:
        tables["people"] = action_statistics(SPEC, *build.people(config))
    tables["demonstrations"] = action_statistics(
        spec, store.actions[store.starts(train_episodes, 1)], np.asarray(store.lengths)[train_episodes]
    )
    tables["reference"] = action_statistics(spec, *reference_actions(run, store))
    for arm in build.arms(config):
        path = phase2.actions_path(run, arm)
        if not path.exists():  # nobody acts in this arm
            continue
        actions = np.load(path)
        lengths = np.full(len(actions), actions.shape[1])
        tables[arm] = action_statistics(spec, actions.reshape(-1, actions.shape[-1]), lengths)
    return tables


def reference_actions(run, store, batches=16):
    """Draws of pi_ref in the second half of held-out clips: factors ``[F, A]`` and lengths 1.

    Each is drawn on its own, after what was really done before: so nothing is said about how long
    it keeps turning.
    """
    config, r = run.config, run.config.reference
    policy, params = build.make_policy(config), load_reference(run)
    to_env, from_env = build.action_maps(config)
    starts = store.starts(split(run, store)[1], r.clip)
    key = build.stage_key(config, "action statistics")

    @jax.jit
    def draw(params, frames, actions, key):
        first = jnp.zeros(frames.shape[:2], bool).at[:, 0].set(True)
        state = policy.initial_state(frames.shape[0])
        logits, _, _ = policy.apply(params, state, frames, previous_actions(actions), first)
        return categorical.sample(key, logits[:, r.clip // 2 :], policy.sizes)

    drawn = []
    for i in range(batches):
        clip = store.gather(batch_starts(config.seed + 2, i, starts, r.batch), r.clip)
        own = from_env(clip.actions) if from_env else clip.actions
        drawn.append(draw(params, clip.frames, own, jax.random.fold_in(key, i)))
    drawn = np.concatenate(drawn).reshape(-1, len(policy.sizes))
    drawn = np.asarray(to_env(drawn) if to_env else drawn)
    return drawn, np.ones(len(drawn), int)
