"""Composite action modes of the arms: which ones only the adversary found, and how the models do on them.

The references are the demonstrations of every task, at every step where a window can begin, and, likewise, all that
arms found whose policy rests; what was found are the scored steps of another arm's buffer.
"""

import jax
import numpy as np

from experiments.stages import build
from experiments.stages.clip_stores import open_store, tasks
from prowl_jax.metrics import modes


def add_novel_sets(run, sets, values, resting):
    """Find the strictly novel modes; the clips that hold one become sets ``novel_modes/<arm>``.

    Args:
      sets: name -> clips (``RealClip``), and values: (model, set) -> rows; both gain the new sets, whose
        rows are those of ``buffer/<arm>``.
      resting: the arms whose policy is never updated, of those with a buffer.

    Returns:
      arm -> (its modes int ``[clips, windows]``, the strictly novel ones); empty where no policy rests, to compare
      with, and where the actions have none of the movements of which modes are made.
    """
    spec, rule = build.spec_of(run.config), build.make_mode_rule(run.config)
    if not resting or not modes.tell_apart(spec):
        return {}
    found_at_rest = [
        modes.modes_of(spec, sets[f"buffer/{arm}"].actions[:, :-1], rule, stride=1) for arm in resting
    ]
    references, found = [*found_at_rest, *_demonstrated(run, spec, rule)], {}
    for name in [name for name in sets if name.startswith("buffer/")]:
        arm, items = name.removeprefix("buffer/"), sets[name]
        if arm in resting:
            continue
        scored = items.flow.shape[1]
        of_clips = modes.modes_of(spec, items.actions[:, -scored - 1 : -1], rule)
        novel = modes.strictly_novel(of_clips, *references)
        found[arm] = of_clips, novel
        rows = np.flatnonzero(modes.clips_with(of_clips, novel))
        if len(rows):
            sets[f"novel_modes/{arm}"] = jax.tree.map(lambda x, r=rows: x[r], items)
            for model, _ in [key for key in values if key[1] == name]:
                of_buffer = values[model, name]
                values[model, f"novel_modes/{arm}"] = {metric: v[rows] for metric, v in of_buffer.items()}
    return found


def _demonstrated(run, spec, rule):
    """The modes of every episode of every task, as an iterator of int ``[W]``."""
    for task in tasks(run.config):
        store = open_store(run, task)
        for episode, length in enumerate(store.lengths):
            if length >= rule.window:
                yield modes.modes_of(spec, store.episode(episode).actions, rule, stride=1)


def mode_tables(found, values, metrics):
    """What ``add_novel_sets`` found, for ``evaluation.json``.

    Returns:
      arm -> dict: ``windows``; ``composite`` and ``strictly_novel``, mode in words -> number of windows; and
      ``metrics``, model -> composite mode -> ``{"clips", metric: mean}``, on that arm's buffer.
    """
    tables = {}
    for arm, (of_clips, novel) in found.items():
        often = {mode: n for mode, n in modes.counts(of_clips).items() if modes.is_composite(mode)}
        models = [model for model, name in values if name == f"buffer/{arm}"]
        tables[arm] = {
            "windows": int(of_clips.size),
            "composite": {modes.names(mode): n for mode, n in often.items()},
            "strictly_novel": {modes.names(mode): n for mode, n in often.items() if mode in novel},
            "metrics": {
                model: {
                    modes.names(mode): row
                    for mode, row in modes.means_per_mode(
                        of_clips, {m: values[model, f"buffer/{arm}"][m] for m in metrics}
                    ).items()
                    if mode in often
                }
                for model in models
            },
        }
    return tables
