"""The figures of ``gate``: how much of theta_0's error on a kind of data goes when it is fine-tuned on that data.

The error of a dream, squared and in pixels, is taken apart into what adds up to it:

  mendable   what fine-tuning took away: theta_0's error less that of the model fine-tuned on this kind of data
  spread     how far the fine-tuned model's own dreams of one clip lie from their mean: it does not know, and says so
  floor      what decoding the real frames' latents gets wrong: the autoencoder's
  rest       what is left: new scenery, or what the fine-tuning could not learn
"""

import time

import jax
import jax.numpy as jnp
import numpy as np

from experiments.evaluation.dreamer import in_batches, no_flow, spread_clips
from experiments.evaluation.evaluate import subsets
from experiments.run.progress import Progress
from experiments.stages import build
from experiments.stages.clip_stores import open_store, split
from experiments.stages.world_model import load_last_checkpoint
from experiments.study import mending
from experiments.study.recorded import TASKS, drawn, mixed, pooled, record, spread_over
from experiments.study.settings import Mending
from prowl_jax.metrics.intervals import interval_of_means, paired_bootstrap
from prowl_jax.pat.score import latent_regret
from prowl_jax.rewards.dream import group, make_dream
from prowl_jax.rewards.regret import frame_regret, regret
from prowl_jax.types import RealClip

FRAMES = (1, 4, 8)
"""Predicted frames of which regret is told."""
TARGETS = {"gaps": 0.20, "wide": 0.05}
"""Kind of data -> the share of regret on fresh clips of it that fine-tuning must take away, or no study is worth it."""
FEWEST = 8
"""Clips in which a thing has to happen for it to be told."""
PARTS = {
    "mendable": lambda before, after, spread, floor: (before - after) / before,
    "spread": lambda before, after, spread, floor: spread / before,
    "floor": lambda before, after, spread, floor: floor / before,
    "rest": lambda before, after, spread, floor: (after - spread - floor) / before,
}
"""Share of theta_0's squared error, of the means of both errors, the spread and the floor."""
DEVELOPED = 64
"""Clips on which fine-tuning is stopped early."""


def measure_gate(run, options):
    """Everything as a dict: ``before``, and ``rows``, one for each kind and trained part.

    Args:
      run: a ``Run``, only read, with demonstrations and a checkpoint of phase 1.
      options: ``on`` and ``trainable``, what is fine-tuned; ``minutes`` of that, in all; ``clips`` of a set;
        ``dreams`` of each; ``episodes`` and ``frames`` of each kind's recording; ``learning_rate``;
        ``updates``, at most (0: as the time allows).
    """
    began, config = time.monotonic(), run.config
    theta_0, step = load_last_checkpoint(run)
    sets = make_sets(run, options)
    score = make_scorer(config, options.dreams)
    before = {}
    with Progress("before", len(sets)) as progress:
        for i, (name, (clips, _)) in enumerate(sets.items()):
            before[name] = score(theta_0, clips)
            progress.update(i + 1)
    asked = [(kind, trainable) for kind in options.on for trainable in options.trainable]
    rows = []
    for kind, trainable in asked:
        how = Mending(
            trainable=trainable, learning_rate=options.learning_rate, updates=options.updates or 100_000,
            seconds=0.0 if options.updates else 60.0 * options.minutes / len(asked),
        )  # fmt: skip
        mended = mending.mend(config, theta_0, learning_fetch(run, kind, options), how, say=f"{kind}, {trainable}")
        after = {name: score(mended.params, clips) for name, (clips, _) in sets.items()}
        rows.append(row(config, kind, trainable, mended, sets, before, after))
    return {
        "step": step,
        "clips": {name: len(clips.actions) for name, (clips, _) in sets.items()},
        "dreams": options.dreams,
        "before": {name: _before(values) for name, values in before.items()},
        "targets": [target for r in rows for target in r["targets"]],
        "rows": rows,
        "minutes": round((time.monotonic() - began) / 60, 2),
    }


def make_sets(run, options):
    """Set -> (``Clip``, name -> bool ``[n, T]``): held-out demonstrations, each kind, and the held-out tasks as one."""
    config, model = run.config, build.make_world_model(run.config)
    length = model.frames_of(build.make_budget(config).context + config.phase2.horizon)
    store = open_store(run)
    own = spread_clips(store, split(run, store)[1], options.clips, length, config.seed)
    sets = {"in_distribution": (own, {})}
    environment = build.make_environment(config)
    others = [task for task, held in (environment.tasks or {}).items() if held and task != TASKS["gaps"]]
    held_out = options.held_out if options.held_out is not None else tuple(others[:4])
    counts = dict.fromkeys(("gaps", "wide", *options.on), options.clips)
    several = spread_over(options.clips, held_out)
    with Progress("recording", len(counts) + len(several)) as progress:
        parts = {}
        for i, (kind, count) in enumerate({**counts, **several}.items()):
            episodes = min(options.episodes, max(count // 2, 1))
            recorded = record(config, kind, "test", episodes, max(length, options.frames // 2))
            parts[kind] = recorded.spread(count, length)
            progress.update(i + 1)
    sets |= {kind: parts[kind] for kind in counts}
    if several:
        sets["held_out"] = pooled([parts[task] for task in several])
    return sets


def learning_fetch(run, kind, options):
    """``f(step) -> Clip``: half of a batch of phase 2 demonstrations, half of a kind's recordings to learn from."""
    config, model = run.config, build.make_world_model(run.config)
    budget = build.make_budget(config)
    length = model.frames_of(budget.window)
    recorded = record(config, kind, "learn", options.episodes, max(options.frames, length))
    rows = (budget.batch - budget.batch // 2, budget.batch // 2)
    return mixed(mending.demonstrations(run, length), [drawn(recorded, length, config.seed)], rows)


def make_scorer(config, dreams):
    """``score(params, clips) -> name -> float [n, ...]``: of ``dreams`` dreams a clip, with the same noise each call.

    ``regret`` ``[n]``, ``frame_regret`` ``[n, L']`` and ``repeat`` ``[n]``, l_regret of repeating the last frame;
    ``square``, ``spread`` and ``floor`` ``[n]``, mean squares of pixels in 0..1.
    """
    model, context = build.make_world_model(config), build.make_budget(config).context
    dream_several = group(make_dream(model, context, no_flow), dreams)
    key = build.stage_key(config, "gate")

    @jax.jit
    def score(params, key, clips):
        latents = model.encode(params, clips.frames)
        dreamt = dream_several(params, key, RealClip(latents, clips.actions, clips.frames))
        seen, real = latents[:, :context], latents[:, context:]
        frames = clips.frames[:, model.frames_of(context) :].astype(jnp.float32) / 255.0
        decoded = model.decode_after(params, seen, real)
        middle = jnp.mean(dreamt.frames, axis=1)

        def square(x):
            return jnp.mean(jnp.square(x), axis=(-4, -3, -2, -1))

        apart = jnp.sum(square(dreamt.frames - middle[:, None]), axis=1) / max(dreams - 1, 1)
        return {
            "regret": jnp.mean(regret(params, dreamt), axis=1),
            "frame_regret": jnp.mean(frame_regret(params, dreamt), axis=1),
            "repeat": latent_regret(jnp.broadcast_to(seen[:, -1:], real.shape), real),
            "square": jnp.mean(square(dreamt.frames - frames[:, None]), axis=1),
            "spread": apart,
            "floor": square(decoded - frames),
        }

    def score_all(params, clips):
        out = []
        for start, some, count in in_batches(clips):
            values = score(params, jax.random.fold_in(key, start), some)
            out.append(jax.tree.map(lambda x, n=count: np.asarray(x)[:n], values))
        return {name: np.concatenate([values[name] for values in out]) for name in out[0]}

    return score_all


def row(config, kind, trainable, mended, sets, before, after):
    """What one fine-tuning did: on every set and subset, by frame, and theta_0's error taken apart."""
    context, told = build.make_world_model(config).frames_of(build.make_budget(config).context), {}
    for name, (_, happened) in sets.items():
        told[name] = {
            "regret": by_subset(config, after[name], before[name], happened_in(happened, context)),
            "frames": by_frame(config, after[name], before[name]),
            "error": taken_apart(config, after[name], before[name]),
        }
    against = told[kind]["regret"]["all"]
    fit = {k: getattr(mended, k) for k in ("updates", "best", "share")} | {"seconds": round(mended.seconds, 1)}
    targets = []
    if kind in TARGETS:
        met = {"met": -against["relative"] >= TARGETS[kind], "sure": -against["high"] >= TARGETS[kind]}
        targets = [{"kind": kind, "trainable": trainable, "wanted": TARGETS[kind], **against, **met}]
    return {"on": kind, "trainable": trainable, **fit, "sets": told, "targets": targets}


def happened_in(happened, seen):
    """name -> bool ``[n]``: whether a thing happened in the steps that are predicted."""
    return {name: shown[:, seen - 1 : -1].any(axis=1) for name, shown in happened.items()}


def by_subset(config, after, before, happened):
    """Subset -> clips, and regret against theta_0's: all clips, theta_0's hardest, those in which a thing happened."""
    rows = subsets(before["regret"])
    rows |= {name: np.flatnonzero(shown) for name, shown in happened.items() if shown.sum() >= FEWEST}
    return {
        name: {"clips": len(chosen)} | _against(config, after["regret"][chosen], before["regret"][chosen])
        for name, chosen in rows.items()
    }


def by_frame(config, after, before):
    """Predicted latent -> the regret against theta_0's."""
    horizon = after["frame_regret"].shape[1]
    return {
        str(h): _against(config, after["frame_regret"][:, h - 1], before["frame_regret"][:, h - 1])
        for h in FRAMES
        if h <= horizon
    }


def taken_apart(config, after, before):
    """Share of theta_0's squared error of each part, with intervals over clips; see above."""
    draws = {"seed": config.seed, "resamples": config.evaluation.resamples}
    values = before["square"], after["square"], after["spread"], after["floor"]
    told = {name: interval_of_means(of, *values, **draws) for name, of in PARTS.items()}
    own = interval_of_means(lambda b, s: s / b, before["square"], before["spread"], **draws)
    return told | {"spread_of_theta_0": own}


def _before(values):
    return {name: float(np.mean(values[name])) for name in ("regret", "repeat", "square", "spread", "floor")}


def _against(config, after, before):
    result = paired_bootstrap(after, before, seed=config.seed, resamples=config.evaluation.resamples)
    return {name: result[name] for name in ("relative", "low", "high")}


def table(result):
    """The result as text, at most 80 columns."""
    lines = [f"theta_0 at step {result['step']}", f"{'':<18}{'regret':>9}{'over repeating':>16}{'clips':>8}"]
    for name, values in result["before"].items():
        lines.append(
            f"{name:<18}{values['regret']:>9.3f}{values['regret'] / values['repeat']:>16.3f}{result['clips'][name]:>8}"
        )
    for r in result["rows"]:
        lines += ["", _head(r), f"  {'regret against theta_0, % (95 % over clips)':<46}{'clips':>6}"]
        for name, told in r["sets"].items():
            for subset, of in told["regret"].items():
                if subset != "hardest_tertile":
                    words = name if subset == "all" else f"  {subset.replace('_', ' ')}"
                    lines.append(f"  {words:<26}{_cell(of):<26}{of['clips']:>5}")
            frames = "  ".join(f"frame {h} {100 * of['relative']:+.1f}" for h, of in told["frames"].items())
            lines.append(f"    {frames}")
        lines.append(f"  {'theta_0 squared error, %':<26}mendable   spread    floor     rest   own spread")
        for name, told in r["sets"].items():
            cells = [f"{100 * of['value']:>8.1f}" for of in told["error"].values()]
            lines.append(f"  {name:<26}" + " ".join(cells))
    return "\n".join(lines + ["", *map(_verdict, result["targets"]), f"{result['minutes']:.1f} minutes in all"])


def _head(r):
    return (
        f"fine-tuned on {r['on']}, training {r['share']:.0%} ({r['trainable']}): "
        f"{r['updates']} updates in {r['seconds']:.0f} s"
    )


def _cell(of):
    return "{:+.1f} ({:+.1f}, {:+.1f})".format(*(100 * of[k] for k in ("relative", "low", "high")))


def _verdict(target):
    said = "met" if target["met"] else "NOT met"
    sure = "" if target["met"] == target["sure"] else ", but the interval reaches below"
    return (
        f"target on {target['kind']} ({target['trainable']}): regret of fresh clips lower by at least "
        f"{target['wanted']:.0%}: {_cell(target)} %: {said}{sure}"
    )
