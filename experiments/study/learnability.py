"""The figures of ``learnability``: theta_0 fine-tuned on trajectories that are there from the beginning."""

import contextlib
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from experiments.evaluation.evaluate import clip_set, subsets
from experiments.run.progress import Progress
from experiments.stages import build, phase2
from experiments.stages.clip_stores import open_store, split
from experiments.stages.passive_batches import passive_fetch
from experiments.stages.reference import load_reference
from experiments.stages.world_model import load_world_model
from experiments.study.measure import actor, concatenated, observer
from prowl_jax.metrics.intervals import paired_bootstrap
from prowl_jax.pat import buffer as pat
from prowl_jax.train import curriculum as loop
from prowl_jax.train.state import init_state, make_optimizer

TEST_TRAJECTORIES = 128


def measure_learnability(run, options):
    """All combinations; a dict with ``rows``, each with its ``against_theta_0``: set -> subset -> interval."""
    config = run.config
    theta_0, reference = load_world_model(run), load_reference(run)
    found, tests = _collect(run, options, theta_0, reference)
    predict = _predictor(config)
    before = {name: predict(theta_0, items)[1] for name, items in tests.items()}
    asked = [(p, n, t) for p in options.policies for n in options.trajectories for t in options.trainable]
    rows = []
    with Progress("learnability", len(asked)) as progress:
        for policy, count, trainable in asked:
            own = _first(found[policy], count)
            scores = predict(theta_0, own)[1:]
            params, share = fine_tuned(run, theta_0, own, scores, trainable, options.priority, options.updates)
            after = {name: predict(params, items)[1] for name, items in tests.items()}
            compared = {"own": (predict(params, own)[1], scores[0])} | {n: (after[n], before[n]) for n in tests}
            rows.append(
                {"policy": policy, "trajectories": count, "trainable": trainable, "share_trained": share}
                | {"against_theta_0": {name: _relative(*pair, config) for name, pair in compared.items()}}
            )
            progress.update(len(rows))
    return {
        "theta_0": {name: float(np.mean(regret)) for name, regret in before.items()},
        "clips": {name: len(regret) for name, regret in before.items()},
        "updates": options.updates,
        "learning_rate": config.phase2.learning_rate,
        "priority": options.priority,
        "rows": rows,
    }


def _collect(run, options, theta_0, reference):
    """(policy -> trajectories to learn from, set -> clips to measure on), as ``PATItem`` of numpy arrays."""
    p, observe = run.config.phase2, observer(run, theta_0)
    act_out, env = actor(run, reference)
    rounds = [-(-n // p.trajectories) for n in (max(options.trajectories), TEST_TRAJECTORIES)]
    # Cycles that no arm has had, so seeds that no policy has learned from; those of the test come after.
    learn = range(p.cycles, p.cycles + rounds[0])
    test = range(learn.stop, learn.stop + rounds[1])
    found, tests = {}, {}
    with contextlib.closing(env), Progress("collecting", len(options.policies) * sum(rounds)) as progress:
        done = iter(range(1, len(options.policies) * sum(rounds) + 1))

        def collected(params, cycles):
            parts = []
            for cycle in cycles:
                parts.append(observe(act_out(params, cycle)))
                progress.update(next(done))
            return concatenated(parts)

        for policy in options.policies:
            rests = policy == "frozen_reference"
            params = reference if rests else phase2.load_state(run, policy)[0].phi.params
            found[policy] = collected(params, learn)
            tests[f"found by {policy}"] = _first(collected(params, test), TEST_TRAJECTORIES)
    return found, tests | _demonstrated(run)


def _demonstrated(run):
    """Set -> clips of held-out episodes and tasks, as long as a trajectory."""
    config, context = run.config, build.make_curriculum(run.config).context
    held_out = {"in_distribution": (config.env.task, split(run, open_store(run))[1])}
    for task in config.env.held_out_tasks:
        held_out[f"held_out/{task}"] = task, np.arange(len(open_store(run, task).lengths))
    length = context + config.phase2.horizon
    return {n: clip_set(run, *of, config.evaluation.clips, length, context) for n, of in held_out.items()}


def _predictor(config):
    """``predict(params, items) -> (latents, regret, afs)`` of numpy arrays, as the loop's."""
    predict = loop.make_predict(build.make_world_model(config), build.make_curriculum(config), build.make_flow(config))
    return lambda params, items: jax.tree.map(np.asarray, predict(params, items))


def fine_tuned(run, theta_0, items, scores, trainable, priority, updates):
    """theta_0 after ``updates`` steps, or a few more that make whole calls, on passive data and ``items`` in the shares of phase 2.

    Args:
      theta_0: the whole world model's parameters. items: ``PATItem`` of numpy arrays. scores: (regret, afs) of them.
      trainable: ``phase2`` or ``all``. priority: ``uniform`` or ``rank``, by the scores, which stay what they are.

    Returns:
      (parameters with the averaged trained ones, the share of the DiT's parameters that were trained).
    """
    config, p = run.config, run.config.phase2
    trained, fixed = (theta_0["dit"], {}) if trainable == "all" else build.split_phase2(config, theta_0["dit"])
    curriculum, calls = build.make_curriculum(config), -(-updates // p.updates)
    kind = dataclasses.replace(curriculum.priority, kind=priority)
    curriculum = dataclasses.replace(curriculum, updates=-(-updates // calls), priority=kind)
    steps = calls * curriculum.updates
    optimizer = make_optimizer(p.learning_rate, steps, warm_up=curriculum.updates // 2, final=0.1)
    tune = loop.make_fine_tune(build.make_world_model(config), optimizer, build.make_forcing(config), curriculum)
    theta = init_state(jax.tree.map(jnp.copy, trained), optimizer)
    rows = len(items.actions)
    buffer = pat.init(jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), items), rows)
    buffer = pat.insert(buffer, items, *scores, jnp.ones(rows, bool), 0, curriculum.scoring)
    fetch = passive_fetch(run, curriculum.passive_rows, curriculum.window)
    key = build.stage_key(config, "learnability")
    for call in range(calls):
        batches = [fetch(call * curriculum.updates + i) for i in range(curriculum.updates)]
        passive = jax.tree.map(lambda *batch: np.stack(batch), *batches)
        theta, buffer, _ = tune(theta, fixed, buffer, passive, jax.random.fold_in(key, call), call)
    sizes = [sum(x.size for x in jax.tree.leaves(tree)) for tree in (trained, theta_0["dit"])]
    return loop.predicting(theta, {**theta_0, "dit": fixed}), sizes[0] / sizes[1]


def _first(items, count):
    return jax.tree.map(lambda x: x[:count], items)


def _relative(after, before, config):
    """Subset -> [relative, low, high] of the regret."""
    draws, rows = {"seed": config.seed, "resamples": config.evaluation.resamples}, subsets(before)
    compared = {name: paired_bootstrap(after[rows[name]], before[rows[name]], **draws) for name in ("all", "hardest_decile")}
    return {name: [result[k] for k in ("relative", "low", "high")] for name, result in compared.items()}
