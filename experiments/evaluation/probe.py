"""What rewards tell apart before any training: real clips and dreams, and both made worse in known ways.

``EXACT`` are real frames as they are and made worse, ``DREAMT`` the world model's dreams of the same clips. All are
frames as they are seen, 8-bit, encoded anew, with the same past. ``wrong_action`` is a dream under the next clip's
actions, held against the clip's own; ``relabelled`` are real frames that are told the next clip's actions, which only
a reward that reads the actions can notice.

Distances are of pairs, as advantages within a group are: how much more the first of two is worth on the same clip,
mean over clips by deviation over clips, so that 2 is right on about 98 of 100 clips of a normal difference.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from experiments.evaluation.reward_bench import wrapped
from experiments.run.progress import Progress
from prowl_jax.metrics.intervals import interval_of_means
from prowl_jax.rewards import ERRORS
from prowl_jax.rewards.dream import make_beside, make_dream, make_observe
from prowl_jax.types import RealClip

ROWS = 4
"""Clips at a time; each has as many versions as there are kinds."""
BLUR = 1.5
"""Deviation of the blur in pixels."""
DIMMED, DARKENED = 0.95, 0.7
"""What is left of the light: the first step of a hack, and the end of one."""
FAR = 2.0
"""Deviations from which on two kinds are told apart."""
MOST = 99.0
"""The longest distance that is told: differences may not deviate at all."""

EXACT = ("exact", "static", "blurred", "shuffled", "reversed", "dimmed", "darkened", "relabelled")
DREAMT = ("dreamt", "dreamt_blurred", "dreamt_dimmed", "dreamt_darkened", "wrong_action")
KINDS = (*EXACT, *DREAMT)
PAIRS = {
    "exact": (*EXACT[1:], "dreamt", "wrong_action"),
    "dreamt": ("static", *DREAMT[1:]),
}
"""What is held against what: kind -> those that it ought to be worth more than."""


def measure(bench, resamples=2000):
    """Every reward of every kind of clip: a dict for ``probe.json``.

    Args:
      bench: a ``reward_bench.Bench``. resamples: of the bootstrap over clips.

    Returns:
      ``bench.head`` with ``rewards``: name -> ``error`` (the lowest is the best), ``kinds`` (mean and deviation of
      each), ``distances`` (of each of ``PAIRS``, in deviations, with interval and the share of clips where the first is
      worth more), ``exact_beats_wrong_action`` (by more than ``FAR``) and ``verdict``, sentences.
    """
    values, worth_of = {name: [] for name in bench.rewards}, make_worth(bench)
    rng, total = np.random.default_rng(0), len(bench.clips.actions)
    with Progress("probe", -(-total // ROWS)) as progress:
        for i, (clips, exchanged, count) in enumerate(bench.batches(ROWS)):
            orders = np.stack([_order(rng, bench.frames) for _ in range(ROWS)])
            found = worth_of(bench.params, jax.random.fold_in(bench.key, i), clips, exchanged.actions, orders)
            for name, rows in found.items():
                values[name].append(np.asarray(rows, np.float64)[:count])
            progress.update(i + 1)
    values = {name: np.concatenate(rows) for name, rows in values.items()}
    return {**bench.head, "rewards": {name: summary(name, rows, resamples) for name, rows in values.items()}}


def make_worth(bench):
    """``worth(params, key, clips, other, orders) -> {name: [B, kinds]}``, jitted: every reward of every kind.

    ``other`` are the next clips' actions, ``orders`` int ``[B, T']`` what frames are shuffled to.
    """
    model, context, seen = bench.model, bench.context, bench.seen
    observe, dream = (make(model, context, bench.flow) for make in (make_observe, make_dream))
    beside = make_beside(model, context, bench.flow)

    @jax.jit
    def worth(params, key, clips, other, orders):
        real = observe(params, clips)
        before, after = clips.frames[:, :seen], clips.frames[:, seen:]

        def dreamt(actions):
            return _eight_bit(dream(params, key, RealClip(real.latents, actions, clips.frames)).frames)

        dreams = jax.vmap(dreamt)(jnp.stack([clips.actions, other]))  # from the same noise
        shown = versions(before[:, -1:], after, *dreams, orders)
        frames = jnp.stack([shown[kind] for kind in KINDS], axis=1)
        told = jnp.stack([other if kind == "relabelled" else clips.actions for kind in KINDS], axis=1)

        def one(frames, actions):
            latents = model.encode(params, jnp.concatenate([before, frames], axis=1))[:, context:]
            clip = dataclasses.replace(real, actions=actions)
            return beside(params, latents, frames.astype(jnp.float32) / 255.0, clip)

        siblings = jax.vmap(one, 1, 1)(frames, told)
        found = {name: reward(params, siblings) for name, reward in bench.rewards.items()}
        return {name: x.reshape(*x.shape[:2], -1).mean(-1) for name, x in found.items()}

    return worth


def versions(last, real, dreamt, wrong, orders):
    """kind -> frames uint8 ``[B, T', H, W, 3]``; ``last [B, 1, ...]`` is the last frame seen, the rest follows it."""
    rows = jnp.arange(len(real))[:, None]
    return {
        "exact": real,
        "static": jnp.broadcast_to(last, real.shape),
        "blurred": blurred(real),
        "shuffled": real[rows, orders],
        "reversed": real[:, ::-1],
        "dimmed": dark(real, DIMMED),
        "darkened": dark(real, DARKENED),
        "relabelled": real,
        "dreamt": dreamt,
        "dreamt_blurred": blurred(dreamt),
        "dreamt_dimmed": dark(dreamt, DIMMED),
        "dreamt_darkened": dark(dreamt, DARKENED),
        "wrong_action": wrong,
    }


def dark(frames, light):
    """Frames with a share of their light."""
    return _eight_bit(frames.astype(jnp.float32) * (light / 255.0))


def blurred(frames):
    """Frames through a Gaussian of deviation ``BLUR``; outside, the border goes on."""
    x, reach = frames.astype(jnp.float32) / 255.0, int(3 * BLUR)
    weights = np.exp(-0.5 * np.square(np.arange(-reach, reach + 1) / BLUR))
    for axis in (-3, -2):
        size, pad = x.shape[axis], [(0, 0)] * x.ndim
        pad[axis] = (reach, reach)
        wide = jnp.pad(x, pad, mode="edge")
        parts = [jax.lax.slice_in_dim(wide, i, i + size, axis=axis % x.ndim) for i in range(len(weights))]
        x = sum(w * part for w, part in zip(weights / weights.sum(), parts, strict=True))
    return _eight_bit(x)


def _order(rng, frames):
    """An order of frames other than their own, where there are two."""
    order = rng.permutation(frames)
    return np.roll(order, 1) if (order == np.arange(frames)).all() else order


def _eight_bit(frames):
    return jnp.round(frames * 255.0).astype(jnp.uint8)


def summary(name, values, resamples):
    """What is written of a reward: its ``values``, float ``[B, kinds]``; see ``measure``."""
    of = {kind: values[:, i] for i, kind in enumerate(KINDS)}
    kinds = {kind: {"mean": float(x.mean()), "deviation": float(x.std())} for kind, x in of.items()}
    sign = -1.0 if name in ERRORS else 1.0
    # Rounding sets apart what is the same; a difference so small counts as none.
    least = 1e-5 * float(np.ptp(values))
    distances = {
        first: {kind: distance(sign * (of[first] - of[kind]), least, resamples) for kind in kinds}
        for first, kinds in PAIRS.items()
    }
    result = {"error": name in ERRORS, "kinds": kinds, "distances": distances}
    result["exact_beats_wrong_action"] = distances["exact"]["wrong_action"]["value"] > FAR
    return result | {"verdict": verdict(distances)}


def distance(more, least, resamples):
    """By how many deviations differences ``[B]`` lie above 0: value, low, high, and the share of them that do."""
    more = np.where(np.abs(more) <= least, 0.0, more)

    def deviations(mean, square):
        deviation = np.sqrt(np.maximum(square - mean**2, 0.0))
        scale = np.maximum(deviation, np.abs(mean) / MOST)
        return np.where(scale > 0, mean / np.where(scale > 0, scale, 1.0), 0.0)

    return {**interval_of_means(deviations, more, more**2, resamples=resamples), "wins": float((more > 0).mean())}


def verdict(distances):
    """Sentences: are true actions told from wrong ones, what is not told apart, what pays though it is no truer."""
    said = []
    for first in PAIRS:
        found = distances[first]["wrong_action"]
        more = "more than two" if found["value"] > FAR else "NOT more than two"
        said.append(f"{first} beats wrong_action by {span(found)} deviations: {more}")
    unseen = [f"{kind} {x['value']:.1f}" for kind, x in distances["exact"].items() if abs(x["value"]) <= FAR]
    said.append(f"not told from exact: {', '.join(unseen) or 'nothing'}")
    pays = [kind for first in PAIRS for kind, x in distances[first].items() if x["high"] < 0]
    said.append(f"worth more than what it was made from: {', '.join(dict.fromkeys(pays)) or 'nothing'}")
    darker = {kind: distances["dreamt"][kind] for kind in ("dreamt_dimmed", "dreamt_darkened")}
    way = "RAISES" if any(x["high"] < 0 for x in darker.values()) else "does not raise"
    below = ", ".join(f"{kind} {span(x)}" for kind, x in darker.items())
    return [*said, f"darkening a dream {way} its worth ({below} below it)"]


def span(found):
    """``2.1 (1.8, 2.5)``."""
    return "{value:.1f} ({low:.1f}, {high:.1f})".format(**found)


def table(result):
    """The result as text."""
    head = "{name}, step {step}: {clips} held-out clips of {task}, {frames} frames after the context".format(**result)
    lines = [head, *([] if result["judge"] else ["no judge of actions: its rewards are left out"])]
    for name, row in result["rewards"].items():
        best = "an error, the lowest is the best" if row["error"] else "the highest is the best"
        lines += ["", f"{name} ({best})", f"  {'':<16}{'mean':>9}{'deviation':>10}   {HEADS}"]
        for kind, of in row["kinds"].items():
            cells = [row["distances"][first].get(kind) for first in PAIRS]
            apart = "".join(f"{'' if x is None else _cell(x):<27}" for x in cells)
            lines.append(f"  {kind:<16}{of['mean']:>9.4g}{of['deviation']:>10.4g}   {apart}".rstrip())
        lines += [line for sentence in row["verdict"] for line in wrapped(sentence)]
    return "\n".join([*lines, "", *NOTE])


def _cell(found):
    return f"{span(found)} {100 * found['wins']:.0f} %"


HEADS = f"{'exact - it, deviations':<27}dreamt - it, deviations"
NOTE = (
    "Distances: by how much more the first is worth on the same clip, mean over deviation of that difference, with its",
    "95 % interval (bootstrap over clips) and the share of clips on which it is worth more.",
)
