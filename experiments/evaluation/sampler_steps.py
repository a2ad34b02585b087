"""The same held-out clips dreamt with other Euler steps: how many, at which levels, with what kept of the past."""

import dataclasses
import time

import jax
import numpy as np

from experiments.benchmarks.timing import alternate
from experiments.evaluation.evaluate import batch_of, clip_set, make_measure, measure_all
from experiments.run.progress import Progress
from experiments.stages import build
from experiments.stages.clip_stores import open_store, split
from experiments.stages.world_model import load_world_model
from prowl_jax.metrics.image import gradient_energy
from prowl_jax.metrics.intervals import mean_interval, paired_bootstrap
from prowl_jax.models.unet.world_model import levels_of, powers


def variants_of(model, steps, caches, levels):
    """What is compared: dicts of a world model's fields, the configured one's among the names.

    Args:
      steps: of a transformer; of a U-Net, where ``levels`` is None, numbers of steps at levels of its own kind
        (``levels_of``). Of a network that takes shortcuts those that it can take. caches: of a transformer.
      levels: of a U-Net, each from 1 down to 0, an evaluation for each but the last.
    """
    if model.dit.shortcut:
        steps = [n for n in steps if n in powers(model.dit.shortcut)]
    if hasattr(model, "sampler_levels"):
        return [{"sampler_levels": one} for one in levels or [levels_of(model, n) for n in steps]]
    return [{"cache": cache, "sampler_steps": n} for cache in caches for n in steps]


def measure_sampler_steps(run, task, horizon, clips, variants, limit=None):
    """Every way to sample on the same held-out clips.

    Args:
      run: a ``Run`` with a finished world model.
      task, horizon, clips: of the set, as ``_set`` gives them; ``limit`` clips at most.
      variants: ``variants_of`` the model.

    Returns:
      A dict: ``set`` (task, horizon, clips), ``configured`` (what the run has), ``sharpness_of_decoded``
      (real latents through the autoencoder: no dream is sharper for it), ``ms_of_clips`` (how many clips a
      timed chunk has), and ``rows``, each with the ``seconds`` that its dreams took, compiling included.
    """
    config, model = run.config, build.make_world_model(run.config)
    context, clips = build.make_budget(config).context, min(clips, limit or clips)
    store = open_store(run, task)
    held_out = split(run, store)[1] if task == config.env.task else np.arange(len(store.lengths))
    items = clip_set(run, task, held_out, clips, context + horizon, context)
    params, key = load_world_model(run), build.stage_key(config, "evaluation")
    energy = jax.jit(lambda frames: gradient_energy(frames).mean(axis=-1))
    configured = {name: getattr(model, name) for name in variants[0]}
    every = [configured, *(v for v in variants if v != configured)]
    batch = jax.tree.map(lambda x: x[: min(batch_of(config), clips)], items)
    values, calls, spent = {}, {}, {}
    with Progress("sampler steps", len(every)) as progress:
        for i, fields in enumerate(every):
            began, name = time.monotonic(), tuple(fields.values())
            variant = dataclasses.replace(model, **fields)
            measure = make_measure(variant, context, build.make_flow(config))
            values[name] = measure_all(measure, params, items, key, batch=batch_of(config))
            rollout = jax.jit(variant.rollout, static_argnums=4)
            calls[name] = lambda f=rollout: f(
                params, key, batch.latents[:, :context], batch.actions, horizon // model.chunk
            )
            spent[name] = round(time.monotonic() - began, 2)
            progress.update(i + 1)
        seconds = alternate({tuple(v.values()): calls[tuple(v.values())] for v in variants}, 5)
    real = energy(items.frames[:, model.frames_of(context) :] / np.float32(255)).mean()
    decode = jax.jit(lambda z: energy(model.decode_after(params, z[:context], z[context:])))
    decoded = np.mean([decode(z) for z in items.latents])
    own = values[tuple(configured.values())]
    return {
        "set": {"task": task, "horizon": horizon, "clips": clips},
        "configured": _told(configured),
        "sharpness_of_decoded": float(decoded / real),
        "ms_of_clips": len(batch.actions),
        "rows": [
            {
                **_told(fields),
                **_summary(values[name], own, real, config),
                "ms_per_chunk": 1e3 * seconds[name] * model.chunk / horizon,
                "seconds": spent[name],
            }
            for fields in variants
            for name in [tuple(fields.values())]
        ],
    }


def _told(fields):
    """Fields of a world model as the table names them."""
    levels = fields.get("sampler_levels")
    return (
        {"levels": list(levels), "steps": len(levels) - 1}
        if levels
        else {"cache": fields["cache"], "steps": fields["sampler_steps"]}
    )


def _summary(values, configured, real_energy, config):
    """Means over the clips, and the regret's intervals."""
    regret, draws = values["latent_regret"], {"seed": config.seed, "resamples": config.evaluation.resamples}
    change = paired_bootstrap(regret, configured["latent_regret"], **draws)
    return {
        "latent_regret": mean_interval(regret, **draws),
        "against_configured": {k: change[k] for k in ("relative", "low", "high")},
        "afs_epe": float(values["afs_epe"].mean()),
        "psnr": float(values["psnr"].mean()),
        "sharpness": float(values["gradient_energy"].mean() / real_energy),
    }


TABLE = """{clips} held-out clips of {task}, {horizon} latents predicted; ms for {ms_of_clips} clips at once

{what:<{width}} steps  regret (95 %)         against own, %       AFS-EPE   PSNR  sharp ms/chunk
{rows}

own: the run's setting, {steps} steps with {own}. sharp: energy of the image gradients over that of
the real frames; real latents, decoded, have {sharpness_of_decoded:.3f}. Regret and PSNR reward the blurred mean
of what may come: fewer steps, more blur."""


def table(result):
    """The result as text."""
    own, width = result["configured"], max(8, *(len(_name(row)) for row in result["rows"]))
    what, rows = "levels" if "levels" in own else "cache", "\n".join(_line(row, width) for row in result["rows"])
    told = {"rows": rows, "steps": own["steps"], "what": what, "width": width, "own": f"{what} {_name(own)}"}
    return TABLE.format(**{**result, **result["set"], **told})


def _name(row):
    return ",".join(f"{level:g}" for level in row["levels"]) if "levels" in row else row["cache"]


def _line(row, width):
    regret, change = row["latent_regret"], {k: 100 * x for k, x in row["against_configured"].items()}
    interval = "{mean:.3f} ({low:.3f}, {high:.3f})".format(**regret)
    change = "{relative:+.1f} ({low:+.1f}, {high:+.1f})".format(**change)
    return (
        f"{_name(row):<{width}} {row['steps']:>5}  {interval:<21} {change:<20} "
        f"{row['afs_epe']:>7.3f} {row['psnr']:>6.2f} {row['sharpness']:>6.3f} {row['ms_per_chunk']:>8.3g}"
    )
