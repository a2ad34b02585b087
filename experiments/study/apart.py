"""What theta_0's error on what each policy found is made of: what can be mended, what nobody knows, what is left.

``gate`` takes an error apart where theta_0 was fine-tuned on one kind of data; here the fine-tuned model is a study's
first oracle, and the clips are those that an arm's buffer holds (``buffer/ARM``). In ``values/buffer.ARM/apart.npz``
lie, a number a clip, the squared errors of theta_0 and of the oracle, the spread of the oracle's own dreams of a clip
and of theta_0's, and the autoencoder's floor.
"""

import numpy as np

from experiments.evaluation.evaluate import thinned
from experiments.run.files import write_numpy
from experiments.study.gate import PARTS, make_scorer
from prowl_jax.metrics.intervals import nested_interval_of_means
from prowl_jax.types import Clip

CLIPS, DREAMS = 32, 4
"""Of each buffer, at most; and of each clip."""
FILE = "apart.npz"


def measure(run, found, sets, study, folder_of):
    """Write what is not there yet; nothing where the study has no oracle.

    Args:
      found: a ``measure.Found``. sets: name -> ``RealClip``. folder_of: ``f(set) -> folder`` of its values.
    """
    if not study.oracles:
        return
    score = make_scorer(run.config, DREAMS)
    for name, items in sets.items():
        path = folder_of(name) / FILE
        if not name.startswith("buffer/") or path.exists():
            continue
        some = thinned(items, CLIPS)
        before, after = (
            score(found.arms[who].params, Clip(some.frames, some.actions)) for who in ("phase1", study.oracles[0])
        )
        write_numpy(
            path, np.savez, before=before["square"], after=after["square"], spread=after["spread"],
            floor=after["floor"], own_spread=before["spread"],
        )  # fmt: skip


def found_apart(config, runs):
    """``{"found_apart": arm -> part -> [share of theta_0's squared error, low, high]}``; nothing without an oracle.

    Intervals of 95 % over seeds and clips. Beside ``PARTS`` there is ``error``, theta_0's mean squared error itself.

    Args:
      runs: seed -> run of those that are done.
    """
    files = {}
    for run in runs.values():
        for arm in config.arms:
            path = run.workdir / "values" / f"buffer.{arm}" / FILE
            if path.exists():
                files.setdefault(arm, []).append(dict(np.load(path)))
    if not config.study.oracles or not files:
        return {}
    draws = {"seed": config.seed, "resamples": config.evaluation.resamples}

    def told(function, seeds, *names):
        values = nested_interval_of_means(function, *([seed[name] for seed in seeds] for name in names), **draws)
        return [float(f"{values[k]:.5g}") if np.isfinite(values[k]) else None for k in ("value", "low", "high")]

    return {
        "found_apart": {
            arm: {name: told(of, seeds, "before", "after", "spread", "floor") for name, of in PARTS.items()}
            | {"spread_of_theta_0": told(lambda own, before: own / before, seeds, "own_spread", "before")}
            | {"error": told(lambda before: before, seeds, "before")}
            for arm, seeds in files.items()
        }
    }
