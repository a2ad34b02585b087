"""The figures of ``uncertainty``: a head trained on dreams, and an ensemble, asked about clips of several kinds."""

import contextlib
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from experiments.evaluation.dreamer import in_batches, no_flow, spread_clips
from experiments.run.progress import Progress
from experiments.stages import build, error_heads, phase2
from experiments.stages.clip_stores import open_store, split
from experiments.stages.passive_batches import passive_fetch
from experiments.stages.reference import load_reference
from experiments.stages.world_model import load_last_checkpoint
from experiments.study.measure import actor
from prowl_jax.metrics import calibration
from prowl_jax.metrics.detection import auroc_interval
from prowl_jax.metrics.intervals import mean_interval
from prowl_jax.metrics.ranking import spearman
from prowl_jax.rewards.disagreement import disagreement
from prowl_jax.rewards.dream import make_dream
from prowl_jax.rewards.predicted_error import error_maps
from prowl_jax.train import disagreement as ensemble_training
from prowl_jax.train import error_head as head_training
from prowl_jax.types import Batch, Clip, Dream, RealClip

BATCH = 16
"""Clips that are dreamt at a time."""
LEVELS = (0.5, 0.8, 0.9, 0.95)
"""Nominal coverage of the Laplace distribution, a channel."""
HELD_OUT = "held_out"
"""The clips that all others are told from: held-out episodes of the task that was trained on."""


def measure_uncertainty(run, options):
    """Train head and ensemble, ask them about every set; a dict with ``sets`` and ``detection``."""
    config, model = run.config, build.make_world_model(run.config)
    context, (params, step) = build.make_budget(config).context, load_last_checkpoint(run)
    dream = make_dream(model, context, no_flow)
    head = dataclasses.replace(build.make_error_head(config), steps=options.updates)
    state, heads = _taught(run, head, _dreams(run, dream, params, options.dreams))
    ensemble = build.make_ensemble(config)
    measure = _measure(model, dream, head, ensemble, context)
    rows = {}
    found = _sets(run, options)
    with Progress("uncertainty", len(found)) as progress:
        for i, (name, clips) in enumerate(found.items()):
            parts = []
            for start, some, count in in_batches(clips, BATCH):
                key = jax.random.fold_in(build.stage_key(config, "uncertainty"), start)
                values = measure(params, state.params, heads.params, some, key)
                parts.append(jax.tree.map(lambda x, n=count: np.asarray(x)[:n], values))
            rows[name] = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            progress.update(i + 1)
    error_heads.save(options.head, head, state.params)
    draws = {"seed": config.seed, "resamples": config.evaluation.resamples}
    typical = rows[HELD_OUT]["error"].mean()
    return {
        "name": config.base or config.name,
        "task": config.env.task,
        "step": step,
        "dreams": options.dreams,
        "updates": options.updates,
        "latents": config.phase2.horizon,
        "sets": {name: _figures(values, typical, draws) for name, values in rows.items()},
        "detection": {name: _detection(rows[HELD_OUT], of, draws) for name, of in rows.items() if name != HELD_OUT},
    }


def _dreams(run, dream, params, count):
    """Batches of dreams of training episodes: ``Dream`` of numpy arrays with what head and ensemble look at."""
    budget = build.make_budget(run.config)
    fetch = passive_fetch(run, BATCH, budget.clip)

    @jax.jit
    def dreamt(params, key, batch):
        found = dream(params, key, RealClip(batch.latents, batch.actions))
        return found.context, found.latents, found.actions, found.real.latents

    steps, out = -(-count // BATCH), []
    key = build.stage_key(run.config, "uncertainty dreams")
    with Progress("dreams to learn from", steps) as progress:
        for i in range(steps):
            parts = map(np.asarray, dreamt(params, jax.random.fold_in(key, i), fetch(i)))
            seen, latents, actions, real = parts
            out.append(Dream(latents, None, None, seen, None, actions, RealClip(real, actions)))
            progress.update(i + 1)
    return out


def _taught(run, head, dreams):
    """(the head's, the ensemble's ``TrainState``) after their updates on ``dreams``."""
    config, latent_shape = run.config, dreams[0].latents.shape[2:]
    typical = float(np.mean([error_maps(dream).mean() for dream in dreams]))
    state = head_training.init_head(head, build.stage_key(config, "error head init"), latent_shape, typical)
    step, order = head_training.make_train_step(head), np.random.default_rng(config.seed)
    with Progress("error head", head.steps) as progress:
        for i in range(head.steps):
            state, loss = step(state, dreams[order.integers(len(dreams))])
            if (i + 1) % 50 == 0 or i + 1 == head.steps:
                progress.update(i + 1, loss=float(loss))
    ensemble = build.make_ensemble(config)
    fit = ensemble_training.make_fit(ensemble)
    theirs = ensemble_training.init_ensemble(ensemble, build.stage_key(config, "ensemble init"))
    for i in range(ensemble.steps):
        one = dreams[order.integers(len(dreams))]
        clips = Batch(np.concatenate([one.context[:, -1:], one.real.latents], 1)[None], _led(one)[None])
        theirs, _ = fit(theirs, clips, jax.random.fold_in(build.stage_key(config, "ensemble"), i))
    return state, theirs


def _led(dream):
    """Actions from the last frame of the context on, one a latent of what ``disagreement`` is asked about."""
    seen, steps = dream.context.shape[1], dream.latents.shape[1]
    return dream.actions[:, seen - 1 : seen + steps]


def _measure(model, dream, head, ensemble, context):
    """``measure(params, head, ensemble, clips, key) -> {name: [B, ...]}``, jitted."""

    @jax.jit
    def measure(params, head_params, ensemble_params, clips, key):
        latents = model.encode(params, clips.frames)
        dreamt = dream(params, key, RealClip(latents, clips.actions, clips.frames))
        scale = jnp.exp(head.log_scale(head_params, dreamt.context, dreamt.latents, dreamt.actions))
        off = jnp.abs(dreamt.latents - dreamt.real.latents)
        within = [off <= -jnp.log1p(-level) * scale[..., None] for level in LEVELS]
        return {
            "said": scale,
            "error": error_maps(dreamt),
            "covered": jnp.stack([x.mean((1, 2, 3, 4)) for x in within], -1),
            "disagreement": disagreement(ensemble, ensemble_params, latents[:, context - 1 :], _led(dreamt)),
        }

    return measure


def _sets(run, options):
    """Name -> ``Clip`` of numpy arrays, each a context and what followed."""
    config, model = run.config, build.make_world_model(run.config)
    length = model.frames_of(build.make_budget(config).clip)
    found = {HELD_OUT: (config.env.task, split(run, open_store(run))[1])}
    for task in options.tasks:
        found[f"task/{task}"] = task, np.arange(len(open_store(run, task).lengths))
    sets = {
        name: spread_clips(open_store(run, task), episodes, options.clips, length, config.seed)
        for name, (task, episodes) in found.items()
    }
    return sets | (_adversaries(run, options) if options.arms else {})


def _adversaries(run, options):
    """Name -> what an arm's last policy does under seeds that no arm had."""
    config, reference, to_env = run.config, load_reference(run), build.action_maps(run.config)[0]
    act_out, env = actor(run, reference)
    rounds, found = -(-options.clips // config.phase2.trajectories), {}
    with contextlib.closing(env), Progress("acting", len(options.arms) * rounds) as progress:
        for i, arm in enumerate(options.arms):
            trains = build.make_method(config, arm).trains_policy
            params, parts = phase2.load_arm(run, arm).policy if trains else reference, []
            for cycle in range(config.phase2.cycles, config.phase2.cycles + rounds):
                acted = act_out(params, cycle)
                parts.append(Clip(acted.frames, acted.actions if to_env is None else to_env(acted.actions)))
                progress.update(i * rounds + len(parts))
            whole = jax.tree.map(lambda *x: np.concatenate(x)[: options.clips], *parts)
            found[f"found by {arm}"] = whole
    return found


def _figures(values, typical, draws):
    """What the head is worth on a set; ``typical`` is the mean error that who knows nothing would always say."""
    said, error = values["said"], values["error"]
    score = head_training.laplace_loss(np.log(said), error).mean((1, 2, 3))
    blind = head_training.laplace_loss(np.log(typical), error).mean((1, 2, 3))
    curve = calibration.amounts(said.ravel(), error.ravel())
    clips = said.mean((1, 2, 3)), error.mean((1, 2, 3))
    return {
        "clips": len(said),
        "error": mean_interval(clips[1], **draws),
        "said": mean_interval(clips[0], **draws),
        "disagreement": mean_interval(values["disagreement"], **draws),
        "nats_over_mean_error": mean_interval(np.asarray(blind - score), **draws),
        "calibration_error": calibration.relative_error(curve),
        "calibration": curve,
        "coverage": dict(zip(map(str, LEVELS), values["covered"].mean(0).tolist(), strict=True)),
        "spearman_of_patches": float(spearman(*_thinned(said, error))),
        "spearman_of_clips": {
            "head": float(spearman(clips[1], clips[0])),
            "disagreement": float(spearman(clips[1], values["disagreement"])),
        },
        "by_latent": {"error": error.mean((0, 2, 3)).tolist(), "said": said.mean((0, 2, 3)).tolist()},
    }


def _thinned(said, error, most=2000):
    """At most so many places, evenly spread: ranks are counted pair by pair."""
    chosen = np.linspace(0, said.size - 1, min(most, said.size)).astype(int)
    return error.ravel()[chosen], said.ravel()[chosen]


def _detection(usual, other, draws):
    """AUROC of telling a set's clips from the held-out ones, by what each of three says of a clip."""
    numbers = {
        "head": lambda v: v["said"].mean((1, 2, 3)),
        "disagreement": lambda v: v["disagreement"],
        "true_error": lambda v: v["error"].mean((1, 2, 3)),
    }
    return {name: auroc_interval(of(usual), of(other), **draws) for name, of in numbers.items()}


def table(result):
    """The result as text."""
    lines = ["{name} on {task}: dreams of {latents} latents; errors in deviations of the latents".format(**result), ""]
    lines.append(f"{'set':<26}clips  error  said  off, %  nats gained  within 90 %  Spearman: patches, clips, ensemble")
    for name, row in result["sets"].items():
        clips = row["spearman_of_clips"]
        lines.append(
            f"{name:<26}{row['clips']:>5}{row['error']['mean']:>7.3f}{row['said']['mean']:>6.3f}"
            f"{100 * row['calibration_error']:>8.1f}{row['nats_over_mean_error']['mean']:>13.3f}"
            f"{row['coverage']['0.9']:>13.2f}{row['spearman_of_patches']:>19.2f}{clips['head']:>7.2f}"
            f"{clips['disagreement']:>10.2f}"
        )
    if result["detection"]:
        lines += ["", f"{'told from held_out by':<26}{'head':<22}{'disagreement':<22}true error (AUROC, 95 %)"]
    for name, row in result["detection"].items():
        cells = ["{value:.2f} ({low:.2f}, {high:.2f})".format(**row[by]) for by in row]
        lines.append(f"{name:<26}{cells[0]:<22}{cells[1]:<22}{cells[2]}")
    return "\n".join(lines)
