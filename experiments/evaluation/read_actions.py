"""Whether an inverse dynamics model reads the actions off dreams, by predicted frame, with intervals over clips."""

import functools

import numpy as np

from prowl_jax.metrics import action_recovery
from prowl_jax.metrics.intervals import interval_of_means

SHOWN = ("action_f1", "camera_l1")
"""Those that stand in a table of frames."""


def add(table, spec, given, dreamt, real, resample):
    """Put ``action_f1`` and ``camera_l1`` (``metrics.action_recovery``) into the rows of a table of frames.

    A row speaks of the steps after the row before it, up to its own frame, since a single step of a few hundred
    clips holds too few of the rare actions. Beside each stands its ``_ceiling``, what is read off the real clips, and
    its ``_floor``, that held against the actions of the next clip: what a video reaches that has nothing to do with
    the actions.

    Args:
      table: frame as text -> dict of figures, in order; changed.
      spec: the ``ActionSpec``. given: int ``[B, T, A]``, the actions that led to each predicted frame.
      dreamt, real: int ``[B, T, A]``, what was read off the dreams and off the real clips.
      resample: arguments of ``interval_of_means``.
    """
    first = 0
    for frame, row in table.items():
        steps = slice(first, first := int(frame))
        true, other = given[:, steps], np.roll(given, 1, axis=0)[:, steps]
        read = {"": (true, dreamt), "_ceiling": (true, real), "_floor": (other, real)}
        for end, (actions, readings) in read.items():
            figures = figures_of(spec, actions, readings[:, steps])
            for name, (function, *values) in ((name, figures[name]) for name in SHOWN if name in figures):
                found = interval_of_means(function, *values, **resample)
                row[name + end] = found["value"]
                if not end:
                    row |= {f"{name}_low": found["low"], f"{name}_high": found["high"]}


def figures_of(spec, true, read):
    """Name -> a function of means over clips, and what they are means of, ``[B, ...]`` each.

    ``true``, ``read``: int ``[B, T, A]``. Of keys ``action_precision``, ``action_recall`` and ``action_f1``, of a
    camera ``camera_l1``, as ``action_recovery`` has them.
    """
    figures, labels = {}, action_recovery.tasks(spec, true)
    if labels:
        guesses = action_recovery.tasks(spec, read)
        tables = [_confusions(of, guesses[name][1], n) for name, (n, of) in labels.items()]
        for i, score in enumerate(("precision", "recall", "f1")):
            figures[f"action_{score}"] = functools.partial(_mean_score, i), *tables
    cameras = list(spec.camera_factors)
    if cameras:
        figures["camera_l1"] = (lambda x: x), np.abs(true[..., cameras] - read[..., cameras]).mean(axis=(1, 2))
    return figures


def _confusions(true, read, classes):
    return np.stack([action_recovery.confusion(*pair, classes) for pair in zip(true, read, strict=True)])


def _mean_score(which, *tables):
    return np.mean([action_recovery.macro_scores(table)[which] for table in tables], axis=0)
