"""The values of a study's sets, read from the files of its seeds.

A set is a list of one ``SeedSet`` a seed, None where the seed has not this set.
"""

import dataclasses

import numpy as np

from experiments.evaluation.evaluate import METRICS, action_dense, subsets
from experiments.study.measure import values_path


@dataclasses.dataclass(frozen=True)
class SeedSet:
    """One set of one seed.

    Attributes:
      rows: subset -> its row numbers.
      values: arm -> metric -> float ``[n, ...]``, one a clip.
      of_set: arm -> metric -> float, where a metric belongs to the whole set.
      real_frames: metric -> float, what the real frames of the set reach.
      amounts: ``evaluate.action_amounts`` of its clips; empty where they were not noted.
      episodes: names of the recorded episodes that its clips were cut from; None where each clip stands for itself.
    """

    rows: dict
    values: dict
    of_set: dict
    real_frames: dict
    amounts: dict
    episodes: np.ndarray | None = None


def read_sets(runs, arms):
    """Set -> list of ``SeedSet``; ``held_out`` is all held-out tasks together."""
    folders = sorted({folder.name for run in runs.values() for folder in (run.workdir / "values").iterdir()})
    names = [folder.replace(".", "/") for folder in folders]
    sets = {name: read_set(runs, name, arms) for name in names}
    sets = {name: seeds for name, seeds in sets.items() if any(seeds)}
    tasks = [seeds for name, seeds in sets.items() if name.startswith("held_out/")]
    if tasks:
        sets["held_out"] = [pooled(parts) for parts in zip(*tasks, strict=True)]
    return sets


def read_set(runs, name, arms):
    """The list of ``SeedSet`` of one set, in which the named arms are."""
    return [_read(run, name, arms) for run in runs.values()]


def pooled(parts):
    """Several sets of a seed as one: its subsets chosen anew, means of what belongs to whole sets.

    What every part has of every arm is there, what is told of each frame too.
    """
    arms = parts[0].values
    names = sorted(set.intersection(*(set(values) for part in parts for values in part.values.values())))
    values = {arm: {m: np.concatenate([part.values[arm][m] for part in parts]) for m in names} for arm in arms}
    of_set = {arm: _means([part.of_set[arm] for part in parts]) for arm in arms}
    real_frames = _means([part.real_frames for part in parts])
    noted = [part.amounts for part in parts]
    amounts = {name: np.concatenate([one[name] for one in noted]) for name in noted[0]} if all(noted) else {}
    episodes = [part.episodes for part in parts]
    episodes = None if any(one is None for one in episodes) else np.concatenate(episodes)
    return SeedSet(_subsets(values, amounts), values, of_set, real_frames, amounts, episodes)


def largest_groups(one, number):
    """The set with no more than ``number`` of its groups: those with the most clips in all seeds together."""
    sizes = {group: sum(len(seed.rows[group]) for seed in one if has(seed, group)) for group in subsets_of(one)}
    del sizes["all"]
    kept = {"all", *sorted(sizes, key=sizes.get, reverse=True)[:number]}
    return [
        seed and dataclasses.replace(seed, rows={g: rows for g, rows in seed.rows.items() if g in kept}) for seed in one
    ]


def metrics_of(one):
    """Names of the metrics of a clip that every seed has of every arm: ``METRICS``, LPIPS where it was measured."""
    there = [set(values) for seed in one if seed for values in seed.values.values()]
    return (*METRICS, *sorted(name for name in set.intersection(*there) if name.startswith("lpips_")))


def subsets_of(one):
    """Names of the subsets that any seed has."""
    return list(dict.fromkeys(subset for seed in one if seed for subset in seed.rows))


def episodes_of(seeds, subset="all"):
    """``hierarchical_bootstrap``'s ``episodes`` of a subset of ``SeedSet``s; None where they are not known of all."""
    if any(seed.episodes is None for seed in seeds):
        return None
    return [seed.episodes[seed.rows[subset]] for seed in seeds]


def has(seed, subset):
    """Whether a seed has the set, and clips of this subset."""
    return seed is not None and subset in seed.rows


def _read(run, name, arms):
    paths = {arm: values_path(run, name, arm) for arm in arms}
    if not all(path.exists() for path in paths.values()):
        return None  # of an arm that is no longer asked for
    values, of_set = {}, {}
    for arm, path in paths.items():
        values[arm], of_set[arm] = _divided(path)
    folder = paths["phase1"].parent
    groups = {g: np.flatnonzero(mask) for g, mask in np.load(folder / "groups.npz").items()}
    amounts, real_frames = _divided(folder / "amounts.npz")[0], _divided(folder / "real_frames.npz")[1]
    clips = len(values["phase1"]["latent_regret"])
    rows = {"all": np.arange(clips), **groups} if groups else _subsets(values, amounts)
    path = folder / "episodes.npy"
    return SeedSet(rows, values, of_set, real_frames, amounts, np.load(path) if path.exists() else None)


def _subsets(values, amounts):
    """All clips, those hardest for theta_0, and those with the most action where that was noted."""
    hardest = subsets(values["phase1"]["latent_regret"])
    return hardest | ({"action_dense": action_dense(amounts)} if amounts else {})


def _divided(path):
    """(what a file has of every clip, what it has of the whole set); nothing where there is none."""
    there = dict(np.load(path)) if path.exists() else {}
    return {k: v for k, v in there.items() if v.ndim}, {k: float(v) for k, v in there.items() if not v.ndim}


def _means(parts):
    """The means of what all of them have."""
    return {name: float(np.mean([part[name] for part in parts])) for name in parts[0] if all(name in p for p in parts)}
