"""Can the actions be read off a video? MineWorld's action metric (arXiv 2504.08388, section 4).

An inverse dynamics model says which action led from frame to frame of a generated video; its answers
are held against the actions that the video was generated from. Keys are tasks of two or three classes,
scored by macro precision, recall and F1; the camera by the distance of its bins. What the same model
reaches on real video is the ceiling: a figure means little without it.
"""

import numpy as np

EXCLUDED = ("hotbar", "inventory", "swapHands", "pickItem")
"""Factors of Minecraft that the metric leaves out."""
GAIT = ("sneak", "sprint")
"""Two keys that are one task of three classes; both pressed count as none."""


def tasks(spec, actions):
    """The tasks of actions: int ``[..., A]`` -> ``{task: (classes, int [...])}``.

    Every factor but the camera and ``EXCLUDED`` is a task; sneak and sprint, where there are both, are
    one. For Minecraft these are MineWorld's seven.
    """
    actions, found = np.asarray(actions), {}
    together = GAIT if set(GAIT) <= set(spec.names) else ()
    for i, factor in enumerate(spec.factors):
        if not factor.camera and factor.name not in (*EXCLUDED, *together):
            found[factor.name] = (factor.size, actions[..., i])
    if together:
        sneak, sprint = (actions[..., spec.index(name)] > 0 for name in together)
        found["_".join(together)] = (3, np.where(sneak != sprint, sneak + 2 * sprint, 0))
    return found


def confusion(true, predicted, classes):
    """How often class i was taken for class j: two int ``[...]`` -> int64 ``[classes, classes]``. They add up."""
    true, predicted = np.ravel(true), np.ravel(predicted)
    return np.bincount(true * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def macro_scores(table):
    """``(precision, recall, f1)`` of confusion tables ``[..., C, C]``: means over the classes that occur, ``[...]``.

    A class occurs where it is true or predicted at least once; a ratio of nothing is 0 (scikit-learn's
    ``average="macro", zero_division=0``, which MineWorld uses). NaN for an empty table. Counts, or their means.
    """
    hits = np.diagonal(table, axis1=-2, axis2=-1).astype(float)
    true, predicted = np.sum(table, axis=-1), np.sum(table, axis=-2)
    occurs = np.sum(true + predicted > 0, axis=-1)

    def mean(of):
        with np.errstate(divide="ignore", invalid="ignore"):
            # A class that does not occur has no hits and adds nothing.
            return np.sum(np.where(of > 0, hits / of, 0.0), axis=-1) / occurs

    return mean(predicted), mean(true), mean((true + predicted) / 2)


def action_recovery(spec, true, predicted):
    """MineWorld's action metric.

    Args:
      spec: the ``ActionSpec``.
      true: int ``[..., A]``, the actions that were given. predicted: the same, what was read off the video.

    Returns:
      dict: ``action_precision``, ``action_recall``, ``action_f1`` in 0..1, means over the tasks, and
      ``camera_l1``, mean distance of camera bins over all axes; those a spec has nothing for are left
      out. And ``tasks``: task -> dict of precision, recall, f1 and accuracy.

    Raises:
      ValueError: shapes that differ, no action, or values out of range.
    """
    true, predicted = spec.check(true), spec.check(predicted)
    if true.shape != predicted.shape or not true.size:
        raise ValueError(f"actions {true.shape} and recovered ones {predicted.shape} are no pairs")
    per_task, guesses = {}, tasks(spec, predicted)
    for name, (classes, labels) in tasks(spec, true).items():
        table = confusion(labels, guesses[name][1], classes)
        scores = dict(zip(("precision", "recall", "f1"), macro_scores(table), strict=True))
        per_task[name] = scores | {"accuracy": float(np.trace(table) / table.sum())}
    result = {"tasks": per_task}
    for score in ("precision", "recall", "f1") if per_task else ():
        result[f"action_{score}"] = float(np.mean([scores[score] for scores in per_task.values()]))
    cameras = list(spec.camera_factors)
    if cameras:
        result["camera_l1"] = float(np.abs(true[..., cameras] - predicted[..., cameras]).mean())
    return result
