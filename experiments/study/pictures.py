"""Moving pictures of a seed, whose clips a rule chooses: what was mended, and what policies do.

  pictures/critical.webp  three critical clips, one below the other: what was real, and the dreams of theta_0, of the
                          control, of the arms that are shown and of the oracle. Of the clips that no arm saw (of all,
                          where there are none) those at the median, at the best decile and at the worst of what PROWL
                          gained over its control in regret.
  pictures/acted.webp     what pi_ref, PROWL and the least anchored policy do in reality from the same start, one that
                          no arm has learned from: the start at which the camera speed of the last is at the median.

Beside them stand ``critical.json`` and ``acted.json`` with what was chosen and its figures. Dreams are those that were
measured: same rows, same noise. What is there of the same arms is not drawn again.
"""

import contextlib
import dataclasses

import jax
import numpy as np

from experiments.evaluation.evaluate import batch_of
from experiments.report.page import Reel
from experiments.report.reels import save_stacked
from experiments.run import processes
from experiments.run.files import write_json
from experiments.run.places import read_json
from experiments.stages import build, phase2
from experiments.stages.arms import CONTROL, WHOLE
from prowl_jax.methods.acting import collect, make_act

SHOWN = ("phase1", CONTROL, WHOLE, "action_fidelity", "oracle")
"""Of these, those that were measured; ``phase1`` is theta_0."""

ACTING = (CONTROL, WHOLE, "unanchored")

CHOSEN = {"median": 0.5, "best decile": 0.9, "worst decile": 0.1}
"""Name -> quantile of the gain."""

STARTS, STEPS = 8, 40


def dreams(found, items, groups, measure_fn, key, regrets):
    """Write ``critical.webp``; nothing where PROWL and its control were not both measured.

    Args:
      found: a ``measure.Found``. items: the critical ``RealClip``; groups: name -> bool ``[n]``.
      measure_fn, key: as arms were measured. regrets: ``f(arm) -> [n]``, what was measured.
    """
    run = found.run
    path, arms = run.workdir / "pictures" / "critical.webp", [arm for arm in SHOWN if arm in found.arms]
    if _drawn(path, arms) or not {CONTROL, WHOLE} <= set(arms):
        return
    of = {arm: regrets(arm) for arm in arms}
    rows = chosen_rows(1.0 - of[WHOLE] / of[CONTROL], groups.get("unseen", np.ones(len(of[WHOLE]), bool)))
    spec, context = build.spec_of(run.config), build.make_budget(run.config).context
    seen = build.make_world_model(run.config).frames_of(context)
    reels, told = [], []
    for name, row in rows.items():
        predicted = {_words(arm): _measured(measure_fn, found.arms[arm].params, items, key, row, run) for arm in arms}
        real = items.frames[row]
        predicted = {arm: np.concatenate([real[:seen], frames]) for arm, frames in predicted.items()}
        reels.append(Reel(real, predicted, seen, [spec.describe(a) for a in items.actions[row]], {}))
        told.append({"clip": name, "row": row, "regret": {arm: float(of[arm][row]) for arm in arms}})
    save_stacked(path, reels, named="real")
    rule = f"regret of {WHOLE} over that of {CONTROL}"
    write_json(path.with_suffix(".json"), {"rule": rule, "arms": arms, "clips": told})


def _measured(measure_fn, params, items, key, row, run):
    """The dreamt frames of one clip, as ``measure_all`` dreams them: its batch, and that batch's noise."""
    batch = batch_of(run.config)
    start = row // batch * batch
    rows = np.arange(start, start + batch) % len(items.actions)
    _, dreamt = measure_fn(params, jax.tree.map(lambda x: x[rows], items), jax.random.fold_in(key, start))
    return np.asarray(dreamt[row - start])


def chosen_rows(gain, asked):
    """Name of ``CHOSEN`` -> row whose gain is nearest to that quantile, of the rows that are ``asked``."""
    rows = np.flatnonzero(asked)
    wanted = np.quantile(gain[rows], list(CHOSEN.values()))
    return {
        name: int(rows[np.argmin(np.abs(gain[rows] - value))]) for name, value in zip(CHOSEN, wanted, strict=True)
    }


def acting(found):
    """Write ``acted.webp``; nothing where none of ``ACTING`` but pi_ref trains a policy."""
    run, policies = found.run, {CONTROL: found.reference, **found.policies}
    path, arms = run.workdir / "pictures" / "acted.webp", [arm for arm in ACTING if arm in policies]
    if _drawn(path, arms) or len(arms) < 2:
        return
    config = run.config
    policy, (to_env, _) = build.make_policy(config), build.action_maps(config)
    spec, act = build.spec_of(config), make_act(policy)
    seeds, acted = phase2.env_seeds(config, config.phase2.cycles)[:STARTS], {}
    for arm in arms:  # an environment each: one that was stepped may be anywhere
        with contextlib.closing(build.make_env(config, config.env.task, len(seeds))) as env:
            acted[arm], _ = collect(
                env, act, policy, policies[arm], processes.own_key(build.stage_key(config, "acting")),
                seeds=seeds, length=STEPS,
                warm_up=config.phase2.warm_up, warm_up_params=found.reference, to_env=to_env,
            )  # fmt: skip
        if to_env:
            acted[arm] = dataclasses.replace(acted[arm], actions=np.asarray(to_env(acted[arm].actions)))
    speed = {arm: spec.camera_speed(one.actions).mean(axis=1) for arm, one in acted.items()}
    last = speed[arms[-1]]
    row = int(np.argsort(last)[len(last) // 2])
    frames = {_words(arm, acting=True): np.asarray(one.frames[row]) for arm, one in acted.items()}
    first, *others = frames
    reel = Reel(frames[first], {name: frames[name] for name in others}, None, [""] * STEPS, {})
    save_stacked(path, [reel], named=first)
    rule, told = f"median camera speed of {arms[-1]}", {arm: float(one[row]) for arm, one in speed.items()}
    write_json(path.with_suffix(".json"), {"rule": rule, "arms": arms, "camera_speed": told})


def _drawn(path, arms):
    """Whether it is there, of these arms."""
    told = path.with_suffix(".json")
    return path.exists() and told.exists() and read_json(told)["arms"] == arms


def _words(arm, acting=False):
    """What stands above a panel."""
    names = {"phase1": "before", CONTROL: "pi_ref" if acting else "control", WHOLE: "PROWL"}
    return names.get(arm, arm.replace("_", " "))
