"""The figures of ``learnability``: theta_0 fine-tuned on trajectories that are there from the beginning."""

import contextlib
import dataclasses
import time

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
from prowl_jax.methods.base import Start, predicting
from prowl_jax.methods.prowl import Prowl
from prowl_jax.metrics.intervals import paired_bootstrap
from prowl_jax.pat import buffer as pat
from prowl_jax.train.state import init_state

TEST_TRAJECTORIES = 128


def measure_learnability(run, options):
    """All combinations; a dict with ``rows``, each with its ``against_theta_0``: set -> subset -> interval."""
    config = run.config
    theta_0, reference = load_world_model(run), load_reference(run)
    found, tests = _collect(run, options, theta_0, reference)
    score = _scorer(config)
    before = {name: score(theta_0, items)["regret"] for name, items in tests.items()}
    asked = [(p, n, t) for p in options.policies for n in options.trajectories for t in options.trainable]
    rows = []
    with Progress("learnability", len(asked)) as progress:
        for policy, count, trainable in asked:
            began = time.monotonic()
            own = _first(found[policy], count)
            raw = score(theta_0, own)
            params, share = fine_tuned(run, theta_0, own, raw, trainable, options.priority, options.updates)
            after = {name: score(params, items)["regret"] for name, items in tests.items()}
            learned = score(params, own)["regret"], raw["regret"]
            compared = {"own": learned} | {n: (after[n], before[n]) for n in tests}
            rows.append(
                {"policy": policy, "trajectories": count, "trainable": trainable, "share_trained": share}
                | {"against_theta_0": {name: _relative(*pair, config) for name, pair in compared.items()}}
                | {"seconds": round(time.monotonic() - began, 2)}
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
    """(policy -> trajectories to learn from, set -> clips to measure on), as ``RealClip`` of numpy arrays."""
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
            trains = build.make_method(run.config, policy).trains_policy
            params = phase2.load_arm(run, policy).policy if trains else reference
            found[policy] = collected(params, learn)
            tests[f"found by {policy}"] = _first(collected(params, test), TEST_TRAJECTORIES)
    return found, tests | _demonstrated(run)


def _demonstrated(run):
    """Set -> clips of held-out episodes and tasks, as long as a trajectory."""
    config, context = run.config, build.make_budget(run.config).context
    held_out = {"in_distribution": (config.env.task, split(run, open_store(run))[1])}
    for task in config.env.held_out_tasks:
        held_out[f"held_out/{task}"] = task, np.arange(len(open_store(run, task).lengths))
    length = context + config.phase2.horizon
    return {n: clip_set(run, *of, config.evaluation.clips, length, context) for n, of in held_out.items()}


def _scorer(config):
    """``score(params, items) -> {name: [n]}`` of numpy arrays, as PROWL's."""
    score = Prowl(build.prowl_settings(config), build.make_shared(config)).programs.score
    return lambda params, items: jax.tree.map(np.asarray, score(params, items))


def fine_tuned(run, theta_0, items, raw, trainable, priority, updates):
    """theta_0 after ``updates`` steps, or a few more that make whole calls, on data in the shares of phase 2.

    The data are passive clips and ``items``.

    Args:
      theta_0: the whole world model's parameters. items: ``RealClip`` of numpy arrays. raw: name -> scores of them.
      trainable: ``phase2`` or ``all``. priority: ``uniform`` or ``rank``, by the scores, which stay what they are.

    Returns:
      (parameters with the averaged trained ones, the share of the DiT's parameters that were trained).
    """
    config, p = run.config, run.config.phase2
    trained, fixed = (theta_0["dit"], {}) if trainable == "all" else build.split_phase2(config, theta_0["dit"])
    shared, settings, calls = build.make_shared(config), build.prowl_settings(config), -(-updates // p.updates)
    settings = dataclasses.replace(settings, priority=dataclasses.replace(settings.priority, kind=priority))
    budget = dataclasses.replace(shared.budget, updates=-(-updates // calls))
    optimizer = build.phase2_optimizer(config, budget.updates, calls)
    method = Prowl(settings, dataclasses.replace(shared, budget=budget, optimizer=optimizer))
    theta = init_state(jax.tree.map(jnp.copy, trained), optimizer)
    rows = len(items.actions)
    example = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), items)
    buffer = pat.init(example, rows, settings.scoring)
    buffer = pat.insert(buffer, items, raw, jnp.ones(rows, bool), 0, settings.scoring)
    fetch = passive_fetch(run, method.needs().rows, budget.window)
    key = build.stage_key(config, "learnability")
    for call in range(calls):
        batches = [fetch(call * budget.updates + i) for i in range(budget.updates)]
        passive = jax.tree.map(lambda *batch: np.stack(batch), *batches)
        theta, buffer, _ = method.programs.fine_tune(
            theta, fixed, buffer, passive, jax.random.fold_in(key, call), call
        )
    sizes = [sum(x.size for x in jax.tree.leaves(tree)) for tree in (trained, theta_0["dit"])]
    return predicting(theta, Start(None, {**theta_0, "dit": fixed})), sizes[0] / sizes[1]


def _first(items, count):
    return jax.tree.map(lambda x: x[:count], items)


def _relative(after, before, config):
    """Subset -> [relative, low, high] of the regret."""
    draws, rows = {"seed": config.seed, "resamples": config.evaluation.resamples}, subsets(before)
    compared = {
        name: paired_bootstrap(after[rows[name]], before[rows[name]], **draws) for name in ("all", "hardest_decile")
    }
    return {name: [result[k] for k in ("relative", "low", "high")] for name, result in compared.items()}
