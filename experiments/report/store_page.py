"""A clip store as one page that opens from disk: pictures with what was done, actions, lags, lengths."""

import base64
import io
import pathlib

import numpy as np
from PIL import Image

from experiments.report.page_templates import template
from experiments.run.files import write_text
from prowl_jax.data.movement import LAGS, best_lag
from prowl_jax.data.overview import percent

EPISODES, FRAMES, PIXELS = 8, 8, 120
"""How many episodes are shown, of each how many frames, and how wide at most."""
BINS, VALUES = 12, 32
"""Bars of the lengths at most, and of the values of a factor."""


def write_page(path, store, seen):
    """Write the page of a ``ClipStore`` and its ``overview.Overview``, ``seen``."""
    page = template("store.html").render(
        title=f"Clip store {pathlib.Path(store.path).resolve().name}",
        episodes=len(seen.lengths),
        recordings=seen.recordings,
        frames=int(seen.lengths.sum()),
        size=seen.size,
        strips=[_strip(store, i) for i in _evenly(len(store.lengths), EPISODES)],
        shares=[(name, size, _bars(used[:VALUES]), len(used)) for name, size, used in seen.shares],
        lags=LAGS,
        table=[(name, [percent(row[lag]) for lag in LAGS], best_lag(row)) for name, row in seen.lags],
        warnings=seen.warnings,
        told=any(best_lag(row) is not None for _, row in seen.lags),
        lengths=_bars(_histogram(seen.lengths)),
    )
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, page)


def _evenly(count, most):
    """At most ``most`` of 0..count-1, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)).tolist()


def _strip(store, i):
    """Frames of an episode side by side, and what was done on seeing each."""
    clip, origin = store.episode(i), store.origins[i]
    at = _evenly(len(clip.frames), FRAMES)
    height, width = store.frame_shape[:2]
    times = max(1, PIXELS // width) if width < PIXELS else PIXELS / width
    size = (max(1, round(width * times)), max(1, round(height * times)))
    how = Image.Resampling.NEAREST if times >= 1 else Image.Resampling.BOX
    picture = Image.new("RGB", (size[0] * len(at), size[1]))
    for k, t in enumerate(at):
        picture.paste(Image.fromarray(np.asarray(clip.frames[t])).resize(size, how), (k * size[0], 0))
    content = io.BytesIO()
    picture.save(content, "WEBP", quality=80, method=4)
    return {
        "uri": "data:image/webp;base64," + base64.b64encode(content.getvalue()).decode(),
        "recording": origin.recording,
        "start": origin.start,
        "frames": len(clip.frames),
        "cells": [(t, store.spec.describe(clip.actions[t]) or "nothing") for t in at],
    }


def _histogram(lengths):
    """``(words, episodes)`` of at most ``BINS`` ranges of lengths."""
    low, high = int(lengths.min()), int(lengths.max())
    width = -(-(high - low + 1) // BINS)
    counts = np.bincount((lengths - low) // width)
    ranges = [(low + k * width, min(high, low + (k + 1) * width - 1)) for k in range(len(counts))]
    return [(str(a) if a == b else f"{a} to {b}", int(n)) for (a, b), n in zip(ranges, counts, strict=True)]


def _bars(rows):
    """(words, number, length of its bar in % of the longest)."""
    most = max((value for _, value in rows), default=1) or 1
    return [(words, value, 100 * value / most) for words, value in rows]
