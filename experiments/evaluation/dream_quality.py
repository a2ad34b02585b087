"""How good a world model's dreams are, frame by frame, beside what they must beat and what they cannot.

docs/world_model.md says what each figure is. All of it is measured on frames as they are seen, 8-bit.
``measure_dreams`` knows a world model, its parameters and clips, and nothing of a run; ``measure_run`` takes the
three from one, finished or not.
"""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from experiments.evaluation import read_actions
from experiments.evaluation.contact_sheet import Sheet, write_sheet
from experiments.evaluation.dreamer import Dreamer, compare, pixel_frames, spread_clips
from experiments.evaluation.evaluate import BATCH, exchange_actions
from experiments.run.config_file import UsageError
from experiments.run.files import write_json
from experiments.run.progress import Progress
from experiments.stages import build
from experiments.stages.clip_stores import open_store, split
from experiments.stages.inverse_dynamics import judge_of, with_judge
from experiments.stages.world_model import load_last_checkpoint
from prowl_jax import zoo
from prowl_jax.metrics import stability
from prowl_jax.metrics.intervals import interval_of_means
from prowl_jax.metrics.retrieval import retrieved
from prowl_jax.metrics.sample_scores import energy_score, spread_corrected_regret
from prowl_jax.train.inverse_dynamics import make_recover
from prowl_jax.types import Clip

FRAMES = (1, 2, 4, 8, 16, 20, 32, 100)
"""Predicted frames that have figures; those within reach of the clips."""
RETRIEVAL_FRAME, CANDIDATES = 20, 16


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much is dreamt. A part with 0 clips is left out, and so is what lies beyond the episodes' length.

    Attributes:
      clips, frames: of the main set, which has every figure but those below.
      long_clips, long_frames: longer ones, for the last of ``FRAMES``, stability and the contact sheet.
      dreams, dream_clips, dream_frames: several dreams of a clip, for the energy score and the corrected regret.
      factor_clips, factor_frames: the exchange of one action factor at a time.
      resamples: of the bootstrap.
    """

    clips: int = 256
    frames: int = 32
    long_clips: int = 64
    long_frames: int = 100
    dreams: int = 8
    dream_clips: int = 64
    dream_frames: int = 20
    factor_clips: int = 64
    factor_frames: int = 8
    resamples: int = 2000


QUICK = Sizes(clips=64, frames=20, long_clips=0, dream_clips=16, factor_clips=0, resamples=500)
"""For a look during training, and for the report of a run."""

LOOK = dataclasses.replace(QUICK, clips=32, frames=24, dream_clips=0)
"""For a run that begins with weights, whose card has the whole table; its first look has compiled the same program."""


def limited(sizes, config):
    """``sizes`` with no more clips than the evaluation of a run takes of a set, and a quarter of them dreamt often."""
    clips = min(sizes.clips, config.evaluation.clips)
    return dataclasses.replace(sizes, clips=clips, dream_clips=min(sizes.dream_clips, -(-clips // 4)))


def measure_quality(run):
    """The stage: a quick look at the finished world model, with which the report opens."""
    figures, sheet = measure_run(run, limited(LOOK if run.config.base else QUICK, run.config))
    path = run.workdir / "dream_quality.json"
    write_json(path, figures)
    write_sheet(path, sheet)
    told = ("floor_relative_error", "sharpness_over_real", "exchanged_over_true")
    frame, row = list(figures["frames"].items())[-1]
    return {f"{name}_at_{frame}": row[name] for name in told}


def measure_run(run, sizes):
    """(figures, contact sheet) of the world model of a run as its last checkpoint has it, on held-out episodes.

    Args:
      run: a ``Run``, which is only read. sizes: ``Sizes``.

    Raises:
      UsageError: no held-out episode is long enough for a single predicted frame.
    """
    config, model = run.config, build.make_used_world_model(run.config)
    context, store = build.make_budget(config).context, open_store(run)
    held_out = split(run, store)[1]
    sizes = within(sizes, model, context, int(store.lengths[held_out].max()))
    clips = spread_clips(store, held_out, sizes.clips, pixel_frames(model, context, sizes.frames), config.seed)
    long = None
    if sizes.long_clips:
        frames = pixel_frames(model, context, sizes.long_frames)
        long = spread_clips(store, held_out, sizes.long_clips, frames, config.seed)
    params, step = load_last_checkpoint(run)
    judge = judge_of(run)
    recover = None if judge is None else functools.partial(make_recover(judge[0]), judge[1])
    key, spec = build.stage_key(config, "dream quality"), build.spec_of(config)
    params = with_judge(run, params)
    figures, sheet = measure_dreams(model, params, context, spec, clips, long, sizes, key, recover)
    name, steps, finished = config.name, config.world_model.steps, "world_model" in run.stages()
    if config.base:
        name, steps, finished = config.base, zoo.read_card(config.base).get("of_steps", step), True
    head = {"name": name, "task": config.env.task, "step": step, "steps": steps, "finished": finished}
    return {**head, **figures}, sheet


def within(sizes, model, context, longest):
    """``sizes`` cut to episodes of ``longest`` frames; UsageError where these hold no prediction."""
    reach = [h for h in range(1, longest) if pixel_frames(model, context, h) <= longest]
    if not reach:
        raise UsageError(f"episodes of at most {longest} frames are too short: a dream starts from {context} latents")
    frames = min(sizes.frames, reach[-1])
    shorter = {name: min(getattr(sizes, name), frames) for name in ("dream_frames", "factor_frames")}
    long = sizes.long_clips if sizes.long_frames <= reach[-1] else 0
    return dataclasses.replace(sizes, frames=frames, long_clips=long, **shorter)


def measure_dreams(model, params, context, spec, clips, long, sizes, key, recover=None):
    """Every figure of dreams, and their contact sheet.

    Args:
      model, params: a world model. context: S, latents that a dream begins from.
      spec: the ``ActionSpec`` of the clips' actions.
      clips: a ``Clip`` of numpy arrays ``[B, T, ...]`` that hold the context and ``sizes.frames`` frames.
      long: the same for ``sizes.long_frames``, or None.
      sizes: ``Sizes``. key: of all noise.
      recover: ``f(frames uint8 [B, T, H, W, 3]) -> int32 [B, T - 1, A]``, an inverse dynamics model; or None.

    Returns:
      (dict for ``dream_quality.json``, ``Sheet``).
    """
    n, several = len(clips.actions), min(sizes.dream_clips, len(clips.actions))
    factors = min(sizes.factor_clips, n)
    rows = (2 * n, factors * (1 + len(spec.factors)), several * sizes.dreams, len(long.actions) if long else 0)
    done = itertools.count(1)
    resample = {"resamples": sizes.resamples}
    batch = min(BATCH, n)
    with Progress("dream quality", sum(-(-r // batch) for r in (n, n, *rows[1:]))) as progress:
        dreamer = Dreamer(model, params, context, key, lambda: progress.update(next(done)), batch)
        table, dreamt = frame_table(dreamer, clips, sizes.frames, recover, spec, resample)
        if factors:
            add_factors(table, dreamer, _first(clips, factors), sizes.factor_frames, spec, resample)
        if several:
            add_several(table, dreamer, _first(clips, several), sizes, resample)
        shown, of, end = clips, dreamt, {}
        if long:
            more, of = frame_table(dreamer, long, sizes.long_frames, recover, spec, resample, exchanged=False)
            table |= {frame: row for frame, row in more.items() if int(frame) > sizes.frames}
            end, shown = ending(of, dreamer.real(long, sizes.long_frames), sizes.long_frames, resample), long
    counted = {"clips": n, "long_clips": len(long.actions) if long else 0, "dreams": sizes.dreams if several else 0}
    figures = {**counted, "dream_clips": several, "factor_clips": factors, "frames": table}
    figures |= retrieval(dreamer, clips, dreamt, resample) | end
    return figures, Sheet.of(dreamer.last_seen(shown), dreamer.real(shown, of.shape[1]), of, FRAMES, RETRIEVAL_FRAME)


def _first(clips, count):
    return Clip(clips.frames[:count], clips.actions[:count])


def frame_table(dreamer, clips, frames, recover, spec, resample, exchanged=True):
    """(predicted frame as text -> its figures, the dreams): one dream a clip, and what it is held against."""
    real, dreamt, decoded = dreamer.real(clips, frames), dreamer.dream(clips, frames), dreamer.decode(clips, frames)
    values = {"dream": compare(dreamt, real), "decoded": compare(decoded, real)}
    values["repeat"] = compare(np.broadcast_to(dreamer.last_seen(clips), real.shape), real)
    values["real"] = compare(real, real)
    if exchanged:
        other = dreamer.dream(exchange_actions(clips, dreamer.seen), frames)
        values["exchanged"] = compare(other, real)
    table = {}
    for h in (h for h in FRAMES if h <= frames):
        row = {"clips": len(real)}
        for name, (function, *columns) in COLUMNS.items():
            if all(who in values for who, _ in columns):
                add(row, name, function, *(values[who][what][:, h - 1] for who, what in columns), **resample)
        table[str(h)] = row
    if recover is not None:
        before = dreamer.last_seen(clips)
        read = [_in_batches(recover, np.concatenate([before, shown], axis=1)) for shown in (dreamt, real)]
        read_actions.add(table, spec, dreamer.led(clips, frames), *read, resample)
    return table, dreamt


def ratio(a, b):
    """A ratio of means."""
    return a / b


def mean(a):
    """A mean."""
    return a


def from_floor(dream, floor, repeat):
    """0 at the floor, 1 where repeating the last frame is as good."""
    return (dream - floor) / (repeat - floor)


COLUMNS = {
    "floor_relative_error": (from_floor, ("dream", "regret"), ("decoded", "regret"), ("repeat", "regret")),
    "sharpness_over_real": (ratio, ("dream", "energy"), ("real", "energy")),
    "sharpness_over_decoded": (ratio, ("dream", "energy"), ("decoded", "energy")),
    "decoded_sharpness_over_real": (ratio, ("decoded", "energy"), ("real", "energy")),
    "exchanged_over_true": (ratio, ("exchanged", "regret"), ("dream", "regret")),
    **{
        f"{name}{of}": (mean, (who, what))
        for name, what in (("psnr_db", "psnr"), ("regret", "regret"))
        for who, of in (("dream", ""), ("repeat", "_of_repeat"), ("decoded", "_of_decoded"))
    },
}
"""Name of a figure -> a function of means over clips, and of what: (whose frames, which value)."""


def add(row, name, function, *values, **resample):
    """Put a figure and the ends of its interval, ``name``, ``name_low`` and ``name_high``, into a row of figures."""
    found = interval_of_means(function, *values, **resample)
    for end, key in (("", "value"), ("_low", "low"), ("_high", "high")):
        row[name + end] = found[key] if np.isfinite(found[key]) else None


def _in_batches(recover, frames):
    """``recover`` of any number of clips, in one compiled shape."""
    out, batch = [], min(BATCH, len(frames))
    for start in range(0, len(frames), batch):
        out.append(np.asarray(recover(frames[np.arange(start, start + batch) % len(frames)]))[: len(frames) - start])
    return np.concatenate(out)


def add_factors(table, dreamer, clips, frames, spec, resample):
    """``exchanged_by_factor``: the error with one action factor exchanged over the true one's.

    Of the clips in which that factor was another up to the frame; a factor that never was has none.
    """
    real, seen = dreamer.real(clips, frames), dreamer.seen
    true, led = compare(dreamer.dream(clips, frames), real)["regret"], dreamer.led(clips, frames)
    for i, name in enumerate(spec.names):
        other = exchange_actions(clips, seen, i)
        changed = dreamer.led(other, frames)[..., i] != led[..., i]
        if not changed.any():
            continue
        regret = compare(dreamer.dream(other, frames), real)["regret"]
        for h in (h for h in FRAMES if h <= frames):
            rows = changed[:, :h].any(axis=1)
            if rows.any():
                cell = table[str(h)].setdefault("exchanged_by_factor", {})[name] = {"clips": int(rows.sum())}
                add(cell, "exchanged_over_true", ratio, regret[rows, h - 1], true[rows, h - 1], **resample)


def add_several(table, dreamer, clips, sizes, resample):
    """Scores of ``sizes.dreams`` dreams of each clip, beside repeating the last frame."""
    n, frames = len(clips.actions), sizes.dream_frames
    rows = np.repeat(np.arange(n), sizes.dreams)
    dreamt = dreamer.dream(Clip(clips.frames[rows], clips.actions[rows]), frames)
    dreamt = dreamt.reshape(n, sizes.dreams, frames, -1)
    real, last = dreamer.real(clips, frames).reshape(n, frames, -1), dreamer.last_seen(clips).reshape(n, -1)
    for h in (h for h in FRAMES if h <= frames):
        scores = [_scores(dreamt[i, :, h - 1], real[i, h - 1], last[i]) for i in range(n)]
        energy, corrected, repeat = (np.array(x) for x in zip(*scores, strict=True))
        row = table[str(h)]
        add(row, "energy_score", mean, energy, **resample)
        add(row, "energy_score_over_repeat", ratio, energy, repeat, **resample)
        add(row, "spread_corrected_regret", mean, corrected, **resample)
        add(row, "spread_corrected_over_repeat", ratio, corrected, repeat**2, **resample)


@jax.jit
def _scores(dreamt, real, last):
    dreamt, real, last = (x.astype(jnp.float32) / 255.0 for x in (dreamt, real, last))
    repeat = jnp.sqrt(jnp.mean(jnp.square(last - real)))
    return energy_score(dreamt, real), spread_corrected_regret(dreamt, real), repeat


def retrieval(dreamer, clips, dreamt, resample):
    """Whether the dreamt frame 20 is nearest to its own real one of 16, and the last seen frame beside it."""
    figures, h = {}, RETRIEVAL_FRAME
    if dreamt.shape[1] < h or len(dreamt) < CANDIDATES:
        return {f"retrieval_of_{CANDIDATES}_at_{h}": None}
    real = dreamer.real(clips, h)[:, -1]
    for name, shown in (("", dreamt[:, h - 1]), ("_of_repeat", dreamer.last_seen(clips)[:, 0])):
        found = retrieved(shown, real, CANDIDATES)
        add(figures, f"retrieval_of_{CANDIDATES}_at_{h}{name}", mean, found, **resample)
    return figures


def ending(dreamt, real, frames, resample):
    """Shares of the dreams that live to their end, and of those with each of the faults of ``metrics.stability``."""
    found, control = stability.faults(dreamt, real), stability.faults(real, real)
    figures = {}
    add(figures, f"share_stable_at_{frames}", mean, ~np.any(list(found.values()), axis=0), **resample)
    figures[f"share_stable_at_{frames}_of_real"] = float(np.mean(~np.any(list(control.values()), axis=0)))
    return figures | {f"share_{name}_at_{frames}": float(values.mean()) for name, values in found.items()}
