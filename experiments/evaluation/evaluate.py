"""Evaluation of every arm on every set: ``evaluation.json``.

Sets: ``in_distribution`` (held-out episodes of the training task), ``held_out/<task>``, ``training``
(where asked for),
``buffer/<arm>`` (what that arm's policy found; every model is measured on every buffer, so on the
other arm's too), ``long_rollout``. All models see the same clips and the same initial noise, so
that differences are paired. The hardest tertile and decile of a set are those clips on which
theta_0 (phase 1) had the highest regret: one choice for all arms.
"""

import dataclasses
import functools
import itertools
import time

import jax
import jax.numpy as jnp
import numpy as np

from experiments.evaluation.action_prior import action_tables
from experiments.evaluation.frame_metrics import make_frame_metrics
from experiments.evaluation.novel_modes import add_novel_sets, mode_tables
from experiments.run.files import write_json
from experiments.run.memory import peak_memory_gb
from experiments.run.progress import Progress
from experiments.run.provenance import provenance
from experiments.stages import build, latent_clips, phase2
from experiments.stages.arms import ARMS
from experiments.stages.autoencoder import load_autoencoder
from experiments.stages.clip_stores import open_store, split
from experiments.stages.inverse_dynamics import with_judge
from experiments.stages.passive_batches import latents_of
from prowl_jax.data.feeder import batch_starts
from prowl_jax.metrics.action_follow import flow_of_frames
from prowl_jax.metrics.image import gradient_energy, psnr, ssim
from prowl_jax.metrics.intervals import paired_bootstrap
from prowl_jax.pat.score import latent_regret
from prowl_jax.rewards.afs import afs
from prowl_jax.rewards.dream import make_dream
from prowl_jax.rewards.regret import frame_regret, regret
from prowl_jax.spans import kept, program
from prowl_jax.types import RealClip

METRICS = ("latent_regret", "afs_epe", "psnr", "ssim", "gradient_energy")
BATCH, FEWEST = 32, 8
"""Clips that are measured at a time, and where the sets of a run are smaller."""
LAST = ("training", "long_rollout")
"""Sets that tables show after the buffers."""


def batch_of(config):
    """Clips that a run measures at a time: no more than its sets hold, since the rest would be filled up."""
    return min(BATCH, max(FEWEST, config.evaluation.clips))


@kept
def make_measure(world_model, context, flow):
    """``measure(params, items, key) -> dict of [B]`` and the dreamt frames, jitted.

    ``frame_regret`` is ``[B, H]``, the regret of each predicted latent. ``items`` is a ``RealClip``;
    all latents after the first ``context`` are predicted. ``flow`` is the optical flow that the items' was made with,
    see ``rewards.dream``.
    """
    dream = make_dream(world_model, context, flow)

    @jax.jit
    def measure(params, items, key):
        dreamt = dream(params, key, items)
        real_frames, horizon = dreamt.real.frames.astype(jnp.float32) / 255.0, dreamt.latents.shape[1]
        values = {
            "latent_regret": regret(params, dreamt),
            "frame_regret": frame_regret(params, dreamt),
            "afs_epe": afs(params, dreamt),
            "psnr": jnp.mean(psnr(dreamt.frames, real_frames), axis=1),
            "ssim": jnp.mean(ssim(dreamt.frames, real_frames), axis=1),
            "gradient_energy": jnp.mean(gradient_energy(dreamt.frames), axis=1),
            "repeat_last_frame": latent_regret(
                jnp.repeat(dreamt.context[:, -1:], horizon, axis=1), dreamt.real.latents
            ),
        }
        return values, jnp.round(dreamt.frames * 255.0).astype(jnp.uint8)

    return program(measure)


def measure_all(measure, params, items, key, on_batch=None, frame_metrics=None, batch=BATCH):
    """``measure`` over any number of clips, ``batch`` at a time: one compiled shape for every length.

    ``frame_metrics`` are ``FrameMetrics``; their rows stand beside the others.
    """
    rows, out = items.actions.shape[0], []
    for start in range(0, rows, batch):
        chosen = np.arange(start, start + batch) % rows  # the last batch is filled up with the first clips
        some = jax.tree.map(lambda x, i=chosen: x[i], items)
        values, dreamt = measure(params, some, jax.random.fold_in(key, start))
        values = {**values, **(frame_metrics.rows(dreamt, some) if frame_metrics else {})}
        out.append(jax.tree.map(lambda x, n=rows - start: np.asarray(x)[:n], values))
        if on_batch is not None:
            on_batch()
    return {name: np.concatenate([values[name] for values in out]) for name in out[0]}


def exchange_actions(items, seen, factor=None):
    """The clips with the next clip's actions after ``seen`` frames: what a model that follows actions gets wrong.

    Args:
      items: a ``RealClip`` or ``Clip`` of numpy arrays. factor: index of the only one that is exchanged; None: all.
    """
    other = np.roll(items.actions, 1, axis=0)
    if factor is not None:
        kept = items.actions.copy()
        kept[..., factor] = other[..., factor]
        other = kept
    actions = np.concatenate([items.actions[:, : seen - 1], other[:, seen - 1 :]], axis=1)
    return dataclasses.replace(items, actions=actions)


@kept
def make_flow_of(flow):
    """``flow_of(params, frames) -> flow`` from each frame to the next, jitted."""
    return program(jax.jit(lambda params, frames: flow_of_frames(frames, functools.partial(flow, params))))


def clip_set(run, task, episodes, clips, length, context):
    """``clips`` clips of ``length`` latents from ``episodes`` of a task's store, as a ``RealClip`` of numpy arrays."""
    store, model = open_store(run, task), build.make_world_model(run.config)
    time, seen = model.frames_of(length), model.frames_of(context)
    starts = _clip_starts(run, store, episodes, clips, time)
    frames = store.gather(starts, time)
    flow_of, params = make_flow_of(build.make_flow(run.config)), build.flow_params(run.config)
    scored = frames.frames[:, seen - 1 :].astype(np.float32) / 255.0
    flows = np.concatenate([flow_of(params, scored[i : i + 1]) for i in range(clips)]).astype(np.float16)
    if model.stride == 1:
        latents = latents_of(run.config, store)[starts[:, None] + np.arange(time)]
    else:
        latents = latent_clips.encode(model, load_autoencoder(run), frames.frames)
    return RealClip(latents, frames.actions, frames.frames, flows)


def _clip_starts(run, store, episodes, clips, time):
    return batch_starts(run.config.seed + 7, 0, store.starts(episodes, time), clips)


def _recorded(run):
    """name -> (task, its episodes, clips, latents of each) of the sets that are cut from recordings."""
    config, e = run.config, run.config.evaluation
    train_episodes, held_out = split(run, open_store(run))
    task, length = config.env.task, build.make_budget(config).context + e.horizon
    sets = {"in_distribution": (task, held_out, e.clips, length)}
    for other in config.env.held_out_tasks:
        sets[f"held_out/{other}"] = other, np.arange(len(open_store(run, other).lengths)), e.clips, length
    if e.training_clips:
        sets["training"] = task, train_episodes, e.training_clips, length
    return sets | {"long_rollout": (task, held_out, e.long_clips, length - e.horizon + e.long_horizon)}


def make_sets(run, found):
    """name -> clips, for all sets; ``found`` is arm -> ``methods.base.Found``."""
    context = build.make_budget(run.config).context
    sets = {name: clip_set(run, *of, context) for name, of in _recorded(run).items()}
    last = {name: sets.pop(name) for name in LAST if name in sets}
    return {**sets, **{f"buffer/{arm}": what.clips for arm, what in found.items()}, **last}


def episodes_of_sets(run):
    """name -> the episode of every clip of the sets that are cut from recordings, as ``"TASK/NUMBER"``."""
    model, found = build.make_world_model(run.config), {}
    for name, (task, episodes, clips, length) in _recorded(run).items():
        store = open_store(run, task)
        starts = _clip_starts(run, store, episodes, clips, model.frames_of(length))
        numbers = np.searchsorted(store.offsets, starts, side="right") - 1
        found[name] = np.array([f"{task}/{n}" for n in numbers])
    return found


def subsets(theta_0_regret):
    """Row numbers of all clips, the hardest tertile and the hardest decile."""
    order = np.argsort(-theta_0_regret, kind="stable")
    n = len(order)
    return {"all": order, "hardest_tertile": order[: -(-n // 3)], "hardest_decile": order[: -(-n // 10)]}


def thinned(items, most):
    """At most ``most`` rows of a tree of arrays, as evenly spread over them as they can be."""
    rows = len(jax.tree.leaves(items)[0])
    chosen = np.linspace(0, rows - 1, min(most, rows)).round().astype(int)
    return jax.tree.map(lambda x: x[chosen], items)


def action_amounts(spec, actions):
    """How much is done in each clip: int ``[B, T, A]`` -> ``{"keys", "camera"}``, float ``[B]`` each.

    ``keys`` is how many factors but the camera's do something, ``camera`` degrees turned; means over the T steps.
    """
    keys = [i for i in range(len(spec.factors)) if i not in spec.camera_factors]
    pressed = (actions[..., keys] != spec.null[keys]).sum(axis=-1)
    return {"keys": pressed.mean(axis=1), "camera": spec.camera_speed(actions).mean(axis=1)}


def action_dense(amounts):
    """Row numbers of the tertile of clips in which most is done, the most first.

    The amounts have no common unit, so that their ranks among the clips are added; like amounts share their
    mean rank. Models have no say, so that the choice favours none.
    """
    ranks = sum(np.searchsorted(np.sort(x), x, side) for x in amounts.values() for side in ("left", "right"))
    return np.argsort(-ranks, kind="stable")[: -(-len(ranks) // 3)]


def evaluate(run):
    """Measure everything and write ``evaluation.json``; returns the checks."""
    start = time.monotonic()
    config = run.config
    world_model, context = build.make_used_world_model(config), build.make_budget(config).context
    seen = world_model.frames_of(context)
    arms = ("phase1", *build.arms(config))
    models = {arm: phase2.load_arm(run, arm) for arm in arms}
    models = {arm: dataclasses.replace(done, params=with_judge(run, done.params)) for arm, done in models.items()}
    sets = make_sets(run, {arm: done.found for arm, done in models.items() if done.found is not None})
    measure, key = make_measure(world_model, context, build.make_flow(config)), build.stage_key(config, "evaluation")
    frame_metrics = make_frame_metrics(run)

    batch = batch_of(config)
    batches = sum(-(-len(items.actions) // batch) for items in sets.values()) * len(arms)
    values, seconds, counted = {}, {}, itertools.count(1)
    with Progress("evaluation", batches) as progress:
        for arm, done in models.items():
            for name, items in sets.items():
                began = time.monotonic()
                values[arm, name] = measure_all(
                    measure, done.params, items, key, lambda: progress.update(next(counted)), frame_metrics, batch
                )
                seconds[arm, name] = round(time.monotonic() - began, 2)
    exchanged = measure_all(
        measure, models["phase1"].params, exchange_actions(sets["in_distribution"], seen), key, batch=batch
    )
    modes = add_novel_sets(run, sets, values, resting(models))
    evaluation = _summary(config, arms, sets, values, frame_metrics)
    for (arm, name), spent in seconds.items():
        evaluation["arms"][arm][name]["seconds"] = spent
    actions = action_tables(run)
    own = values["phase1", "in_distribution"]
    stages = run.stages()
    judge = stages.get("inverse_dynamics", {})
    checks = {
        **({"autoencoder_psnr_db": stages["autoencoder"]["psnr_db"]} if "psnr_db" in stages["autoencoder"] else {}),
        "regret_over_repeat_last_frame": _ratio(own["latent_regret"], own["repeat_last_frame"]),
        "regret_exchanged_actions_over_true": _ratio(exchanged["latent_regret"], own["latent_regret"]),
        "minutes": (sum(s["seconds"] for s in stages.values()) + time.monotonic() - start) / 60.0,
        "peak_memory_gb": max([peak_memory_gb(), *(s["peak_memory_gb"] for s in stages.values())]),
        **{f"inverse_dynamics_{k}": v for k, v in judge.items() if k.startswith("held_out")},
    }
    budget = {arm: stages[f"phase2/{arm}"] for arm in arms[1:]}
    keys = ("world_model_updates", "world_model_tokens", "environment_steps", "seconds")
    evaluation = {
        "checks": checks,
        "arm_checks": {arm: arm_checks(build.make_method(config, arm), stages[f"phase2/{arm}"]) for arm in arms[1:]},
        "targets": config.evaluation.targets.to_dict(),
        **evaluation,
        "reference_policy": {k: stages["reference"][k] for k in ("held_out_nll", "marginal_nll")},
        "budget": {arm: {k: figures[k] for k in keys} for arm, figures in budget.items()},
        "actions": actions,
        "modes": mode_tables(modes, values, (*METRICS, *frame_metrics.per_clip)),
        "provenance": provenance(config, run.workdir),
    }
    write_json(run.workdir / "evaluation.json", evaluation)
    return {k: v for k, v in checks.items() if k.startswith("regret")}


def arm_checks(method, figures):
    """Of the ``figures`` of an arm's last cycle those that its ``method`` names; of a policy the camera's as well."""
    names = (*method.checks, *(("camera_speed_over_reference",) if method.trains_policy else ()))
    return {name: figures.get(name) for name in names}


def with_policy(models):
    """The arms that trained a policy; ``models`` is arm -> ``phase2.Done``."""
    return [arm for arm, done in models.items() if done.policy is not None]


def resting(models):
    """The arms whose world model learned from what the reference policy found, theirs being never updated."""
    return [arm for arm, done in models.items() if done.policy is None and done.found is not None]


def _ratio(a, b):
    return float(np.mean(a) / np.mean(b))


def _summary(config, arms, sets, values, frame_metrics):
    """The tables: means of every arm, set, metric and subset, and paired differences between arms."""
    metrics, ceilings = (*METRICS, *frame_metrics.per_clip), {}
    tables = {arm: {} for arm in arms}
    comparisons, baselines = [], {}
    for name, items in sets.items():
        rows = subsets(values["phase1", name]["latent_regret"])
        baselines[name] = float(values["phase1", name]["repeat_last_frame"].mean())
        ceilings[name] = frame_metrics.ceilings(items, batch_of(config))
        for arm in arms:
            tables[arm][name] = {"clips": len(items.actions)} | {
                metric: {subset: float(values[arm, name][metric][chosen].mean()) for subset, chosen in rows.items()}
                for metric in metrics
            }
            tables[arm][name] |= frame_metrics.of_set(values[arm, name], items)
        for arm, against in _pairs(arms):
            for metric in metrics:
                for subset, chosen in rows.items():
                    result = paired_bootstrap(
                        values[arm, name][metric][chosen],
                        values[against, name][metric][chosen],
                        seed=config.seed,
                        resamples=config.evaluation.resamples,
                    )
                    comparisons.append(
                        {"arm": arm, "against": against, "set": name, "metric": metric, "subset": subset}
                        | {k: result[k] for k in ("relative", "low", "high")}
                    )
    beside = {"repeat_last_frame": baselines} | ({"real_frames": ceilings} if any(ceilings.values()) else {})
    curves = {arm: values[arm, "long_rollout"]["frame_regret"].mean(0).tolist() for arm in arms}
    return {
        "arms": tables,
        "comparisons": comparisons,
        "baselines": beside,
        "long_rollout_regret_by_frame": curves,
    }


def _pairs(arms):
    """Every arm against phase 1 and those before it that others are compared with.

    Such as (frozen, phase1), (prowl, phase1), (prowl, frozen).
    """
    return [(b, a) for i, b in enumerate(arms) for a in arms[:i] if a == "phase1" or ARMS[a].compared]
