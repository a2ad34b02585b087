"""A first look at a world model: a moving picture of held-out clips, real beside dreamt, chosen by a rule."""

import numpy as np

from experiments.evaluation.dreamer import Dreamer, compare, pixel_frames, spread_clips
from experiments.report.page import Reel
from experiments.report.reels import save_stacked
from experiments.stages import build
from experiments.stages.clip_stores import open_store, split
from experiments.stages.world_model import load_world_model

CLIPS, FRAMES, SHOWN = 32, 24, 4
"""Clips that are dreamt at most, the frames of each, and how many of them are shown."""


def first_look(run):
    """The stage: write ``report/first_look.webp`` and say where it is."""
    path = run.workdir / "report" / "first_look.webp"
    figures = draw(run, path)
    print(f"first look, real beside dreamt: {path}", flush=True)
    return figures


def draw(run, path, frames=FRAMES):
    """Dream held-out clips of a run and show the middling ones; returns what they are like.

    Args:
      run: a ``Run`` with demonstrations and a world model. path: the WebP file.
      frames: predicted frames, if the episodes are as long.
    """
    config, model = run.config, build.make_world_model(run.config)
    context, store = build.make_budget(config).context, open_store(run)
    held_out = split(run, store)[1]
    reach = [n for n in range(1, frames + 1) if pixel_frames(model, context, n) <= store.lengths[held_out].max()]
    frames = reach[-1]
    count = min(CLIPS, config.evaluation.clips)
    clips = spread_clips(store, held_out, count, pixel_frames(model, context, frames), config.seed)
    key = build.stage_key(config, "first look")
    dreamer = Dreamer(model, load_world_model(run), context, key, lambda: None, len(clips.actions))
    real, dreamt = dreamer.real(clips, frames), dreamer.dream(clips, frames)
    regret = compare(dreamt, real)["regret"].mean(axis=1)
    rows, seen, spec = middling(regret, SHOWN), dreamer.seen, build.spec_of(config)
    reels = []
    for row in rows:
        whole = clips.frames[row, : seen + frames]
        predicted = {"dream": np.concatenate([whole[:seen], dreamt[row]])}
        words = [spec.describe(action) for action in clips.actions[row, : seen + frames]]
        reels.append(Reel(whole, predicted, seen, words, {}))
    save_stacked(path, reels, columns=2)
    return {"frames": frames, "median_regret": float(np.median(regret)), "shown_regret": float(regret[rows].mean())}


def middling(regret, count):
    """Row numbers of the ``count`` clips in the middle of all by their regret, the lower first."""
    order = np.argsort(regret, kind="stable")
    begin = max(0, (len(order) - count) // 2)
    return order[begin : begin + count]
