"""Whether an inverse dynamics model reads the actions off dreams, by predicted frame, with intervals over clips."""

import numpy as np

from prowl_jax.metrics import action_recovery
from prowl_jax.metrics.intervals import interval_of_means


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
            for name, (function, *values) in _figures(spec, actions, readings[:, steps]).items():
                found = interval_of_means(function, *values, **resample)
                row[name + end] = found["value"]
                if not end:
                    row |= {f"{name}_low": found["low"], f"{name}_high": found["high"]}


def _figures(spec, true, read):
    """Name -> a function of means over clips, and what they are means of, ``[B, ...]`` each."""
    figures, labels = {}, action_recovery.tasks(spec, true)
    if labels:
        guesses = action_recovery.tasks(spec, read)
        figures["action_f1"] = _mean_f1, *(_confusions(of, guesses[name][1], n) for name, (n, of) in labels.items())
    cameras = list(spec.camera_factors)
    if cameras:
        figures["camera_l1"] = (lambda x: x), np.abs(true[..., cameras] - read[..., cameras]).mean(axis=(1, 2))
    return figures


def _confusions(true, read, classes):
    return np.stack([action_recovery.confusion(*pair, classes) for pair in zip(true, read, strict=True)])


def _mean_f1(*tables):
    return np.mean([action_recovery.macro_scores(table)[2] for table in tables], axis=0)
