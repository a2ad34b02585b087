"""When does hunting pay? What PROWL gains over its control, against how much of something it was given: rows ``dose``.

    {axis, value, set, subset, metric, arm, against, relative, low, high, seeds, clips}

``axis`` is one of

  cycles        after how many, of the study's own arms (``by_cycle.py``)
  trajectories  how many a cycle (``study.dose.trajectories``)
  base          how good theta_0 is (``study.dose.bases``): ``value`` is its regret in distribution, ``base`` its name

Of the last two each dose is a study of its own, with ``study.dose.arms`` and ``study.dose.seeds``, in ``dose/`` of the
work directory, stopped and gone on with as any; where the study itself has the dose, its own rows are taken. All else
is as the study has it, the buffer's capacity too; but what is only watched is not, nor are oracles that no arm asks.
"""

import copy
import pathlib
import re

import numpy as np

from experiments.stages.arms import CONTROL, asks_oracle
from experiments.study import by_cycle
from experiments.study.sets import episodes_of, has, read_set
from prowl_jax.metrics.intervals import hierarchical_bootstrap

TOLD = (("critical", "all"), ("critical", "unseen"), ("held_out", "all"))
"""Set and subset of the rows that are taken from studies."""
METRICS = ("latent_regret", "afs_epe")


def studies(config, folder):
    """(axis, value, configuration, work directory) of every dose that is a study of its own."""
    asked = [("trajectories", "phase2", count) for count in config.study.dose.trajectories]
    asked += [("base", "", name) for name in config.study.dose.bases]
    out = []
    for axis, group, value in asked:
        if value == (config[group] if group else config)[axis]:
            continue
        own = copy.deepcopy(config)
        name = f"{axis}_{re.sub(r'[^A-Za-z0-9]+', '_', str(value)).strip('_')}"
        with own.unlocked():
            (own[group] if group else own)[axis] = value
            own.name, own.arms = f"{config.name}_{name}", arms_of(config)
            own.phase2.keep_cycles = own.study.by_cycle = ()
            own.study.dose.trajectories = own.study.dose.bases = own.study.dose.arms = ()
            own.study.update(seeds=tuple(config.study.dose.seeds), results=str(folder / "dose" / "results"))
            own.phase2.watched = ()
            if not any(asks_oracle(own, arm) for arm in own.arms):
                own.study.oracles = ()
        out.append((axis, value, own, folder / "dose" / name))
    return out


def arms_of(config):
    """The arms of every dose."""
    return tuple(config.study.dose.arms or config.arms)


def rows(config, runs, folder, own):
    """``{"dose": rows}``, of all that is done; nothing where no dose was asked for.

    Args:
      runs: seed -> run of those that were measured. folder: the study's work directory.
      own: what of the study's own results is read, ``central`` and ``sets``.
    """
    from experiments.study.results import load_results

    found, dose = _by_cycle(config, runs), config.study.dose
    for axis, value, study, _ in studies(config, folder):
        path = pathlib.Path(study.study.results) / f"{study.name}.json"
        if path.exists():
            found += _of_study(axis, value, load_results(path), arms_of(config))
    for axis, doses, value in (
        ("trajectories", dose.trajectories, config.phase2.trajectories), ("base", dose.bases, config.base)
    ):  # fmt: skip
        if value in doses:
            found += _of_study(axis, value, own, arms_of(config))
    found.sort(key=lambda row: (row["axis"], row["value"]))
    return {"dose": found} if found else {}


def _of_study(axis, value, results, arms):
    kept = [
        row for row in results["central"]
        if row["against"] == CONTROL and row["arm"] in arms and row["metric"] in METRICS
        and (row["set"], row["subset"]) in TOLD
    ]  # fmt: skip
    if axis != "base":
        return [{"axis": axis, "value": value, **row} for row in kept]
    of_theta_0 = results["sets"]["in_distribution"]["means"]["phase1"]["latent_regret"]["all"]
    quality = float(f"{np.mean([x for x in of_theta_0 if x is not None]):.5g}")
    return [{"axis": axis, "value": quality, "base": value, **row} for row in kept]


def _by_cycle(config, runs):
    """Rows of the axis ``cycles``: every arm after so many against the control after as many."""
    out, draws = [], {"seed": config.seed, "resamples": config.evaluation.resamples}
    for cycle, names in by_cycle.names_of(config).items():
        if CONTROL not in names:
            continue
        seeds = read_set(runs, by_cycle.SET, ("phase1", *names.values()))
        for arm, name in names.items():
            for subset in ("all", "unseen"):
                there = [seed for seed in seeds if has(seed, subset)]
                if arm == CONTROL or not there:
                    continue
                for metric in METRICS:
                    a, b = (_column(there, who, metric, subset) for who in (name, names[CONTROL]))
                    told = hierarchical_bootstrap(a, b, episodes=episodes_of(there, subset), **draws)
                    row = {"axis": "cycles", "value": cycle, "set": by_cycle.SET, "subset": subset, "metric": metric}
                    row |= {"arm": arm, "against": CONTROL, **_bounds(told)}
                    out.append({**row, "seeds": len(there), "clips": sum(map(len, a))})
    return out


def _column(seeds, who, metric, subset):
    return [seed.values[who][metric][seed.rows[subset]] for seed in seeds]


def _bounds(told):
    """Five digits of each; None for what is not finite."""
    return {k: float(f"{told[k]:.5g}") if np.isfinite(told[k]) else None for k in ("relative", "low", "high")}
