"""What settles a study: rows taken from its differences, and the share of the mendable that each arm mended.

    share of the mendable = (theta_0 - arm) / (theta_0 - oracle)

of the mean regret over clips: 0 where an arm mended nothing, 1 where it mended what an oracle (``oracle.py``) could.
"""

import itertools

from experiments.study.sets import episodes_of, has, subsets_of
from experiments.study.settings import ORACLES
from prowl_jax.metrics.intervals import nested_interval_of_means

SETS = ("critical", "held_out", "in_distribution", "events")
METRICS = ("latent_regret", "afs_epe", "gradient_energy")


def central(differences, clips):
    """The rows that settle a study: ``{set, subset, metric, arm, against, relative, low, high, seeds, clips}``.

    Bounds are those over seeds and clips; ``seeds`` is how many have the subset, ``clips`` all of theirs together.

    Args:
      differences: as above. clips: set -> subset -> clips of each seed; other sets have no row.
    """
    rows = []
    for against, sets in differences.items():
        for name in (name for name in SETS if name in sets and name in clips):
            for metric in METRICS:
                for subset, arms in sets[name][metric].items():
                    counted = clips[name][subset]
                    size = {"seeds": sum(n > 0 for n in counted), "clips": sum(counted)}
                    for arm, (relative, _, _, low, high) in arms.items():
                        row = {"set": name, "subset": subset, "metric": metric, "arm": arm, "against": against}
                        rows.append({**row, "relative": relative, "low": low, "high": high, **size})
    return rows


def mendable(config, sets, names):
    """``oracles`` and ``mendable_share``, by what the first of them mended; nothing without any."""
    oracles = config.study.oracles
    if not oracles:
        return {}
    trained = {name: f"theta_0 fine-tuned on wide data: {ORACLES[name]}" for name in oracles}
    return {"oracles": trained, "mendable_share": mendable_share(config, sets, names, oracles[0])}


def mendable_share(config, sets, arms, oracle, frames=(1, 4, 8), metric="latent_regret"):
    """What share of the mendable each arm mended, with 95 % intervals over seeds and clips.

    Args:
      sets: set -> list of ``SeedSet``. arms: names, of other oracles too. oracle: the ceiling's name.
      frames: predicted frames told one by one, of all clips of a set.

    Returns:
      arm -> set -> subset, or ``frame_N`` -> [share, low, high]; None where it is not sure that anything is mendable.
    """
    out = {arm: {} for arm in arms}
    for name, one in sets.items():
        if oracle not in next(seed for seed in one if seed).values:
            continue
        seen = [seed for seed in one if seed]
        horizon = seen[0].values[oracle]["frame_regret"].shape[1]
        asked = [(subset, metric, None) for subset in subsets_of(one)]
        asked += [(f"frame_{h}", "frame_regret", h - 1) for h in frames if h <= horizon]
        for (title, of, frame), arm in itertools.product(asked, arms):
            subset = title if frame is None else "all"
            there = [seed for seed in seen if has(seed, subset)]
            columns = [[_column(seed, who, of, subset, frame) for seed in there] for who in ("phase1", arm, oracle)]
            out[arm].setdefault(name, {})[title] = share(*columns, config, episodes_of(there, subset))
    return out


def share(theta_0, arm, oracle, config, episodes=None):
    """[share, low, high] of lists of one float ``[n]`` a seed; None where theta_0 - oracle may be 0 or less."""
    draws = {"seed": config.seed, "resamples": config.evaluation.resamples, "episodes": episodes}
    if sum(map(len, theta_0)) < 2:
        return None
    room = nested_interval_of_means(lambda t, o: t - o, theta_0, oracle, **draws)
    if not room["low"] > 0:
        return None
    found = nested_interval_of_means(lambda t, a, o: (t - a) / (t - o), theta_0, arm, oracle, **draws)
    return [float(f"{found[k]:.5g}") for k in ("value", "low", "high")]


def _column(seed, who, metric, subset, frame):
    values = seed.values[who][metric][seed.rows[subset]]
    return values if frame is None else values[:, frame]
