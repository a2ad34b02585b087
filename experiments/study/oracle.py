"""The ceiling of a study: theta_0 fine-tuned on wide data until it no longer improves.

An ``oracle`` is no arm: it has no budget and no policy, and learns from recordings in which everything is done
(``study.oracle.kinds``) and from demonstrations, half of each batch. ``oracle`` trains what phase 2 trains, and
``oracle_all`` every parameter. Where a study begins with weights, theta_0 is the same for all seeds and so are they.
What share of what they mend an arm mends, ``central.py`` says.
"""

import contextlib

import jax
import numpy as np
from flax import traverse_util

from experiments.evaluation.dreamer import in_batches
from experiments.run.files import write_numpy
from experiments.stages import build, phase2
from experiments.stages.arms import asks_oracle
from experiments.stages.world_model import load_world_model
from experiments.study import mending
from experiments.study.recorded import drawn, mixed, record
from experiments.study.settings import ORACLES, OracleSettings
from prowl_jax.settings import read
from prowl_jax.types import Batch, Clip

ASKED = "oracle"
"""The oracle whose regret the score ``reducible`` takes off: it could learn what phase 2 can."""


def owner(run):
    """The run in which an oracle lies: that of all seeds where these share theta_0, else the seed's own."""
    return getattr(run, "shared", run) if run.config.base else run


def path_of(run, name):
    """Where the network's parameters of an oracle lie."""
    return owner(run).workdir / "oracles" / f"{name}.npz"


def train_oracle(run, name, study):
    """The stage: fine-tune, keep the parameters; returns figures."""
    config, theta_0 = run.config, load_world_model(run)
    how = read(OracleSettings, study.oracle, trainable=ORACLES[name])
    fetch, develop = data(run, how)
    mended = mending.mend(config, theta_0, fetch, how, develop, say=name)
    path = path_of(run, name)
    path.parent.mkdir(exist_ok=True)
    flat = traverse_util.flatten_dict(mended.params["dit"], sep="/")
    write_numpy(path, np.savez, **{k: np.asarray(v) for k, v in flat.items()})
    first, best = mended.looks[0][1], min(error for _, error in mended.looks)
    return {
        "updates": mended.updates, "best": mended.best, "share_trained": mended.share,
        "development_error": best, "development_error_of_theta_0": first,
    }  # fmt: skip


def load_oracle(run, name):
    """``phase2.Done`` of an oracle."""
    with np.load(path_of(run, name)) as file:
        dit = traverse_util.unflatten_dict({k: file[k] for k in file.files}, sep="/")
    return phase2.Done({**load_world_model(run), "dit": dit})


def run_asking(runs, arm, do, study):
    """``do(runs)`` of an arm: one that asks an oracle (``arms.asks_oracle``) is told of the study's own.

    Where ``phase2.oracle`` names another, that one is asked.
    """
    with contextlib.ExitStack() as stack:
        for run in runs if isinstance(runs, tuple | list) else (runs,):
            if asks_oracle(run.config, arm) and ASKED in study.oracles and not run.config.phase2.oracle:
                _name_oracle(run.config, str(path_of(run, ASKED)))
                stack.callback(_name_oracle, run.config, "")
        return do(runs, arm=arm)


def _name_oracle(config, path):
    with config.unlocked():
        config.phase2.oracle = path


def data(run, how):
    """(``f(step) -> Clip`` to learn from, ``f(params) -> error`` on development clips of the same kinds)."""
    config, model, budget = run.config, build.make_world_model(run.config), build.make_budget(run.config)
    length = model.frames_of(budget.window)
    half, each = budget.batch // 2, len(how.kinds)
    parts = [len(range(i, half, each)) for i in range(each)]
    learned = [record(config, kind, "learn", how.episodes, max(how.frames, length)) for kind in how.kinds]
    fetches = [drawn(one, length, config.seed + i) for i, one in enumerate(learned)]
    fetch = mixed(mending.demonstrations(run, length), fetches, (budget.batch - half, *parts))
    episodes = max(how.episodes // 8, 1)
    kept = [record(config, kind, "develop", episodes, max(how.frames, length)) for kind in how.kinds]
    clips = [one.spread(how.develop_clips, length)[0] for one in kept]
    clips = Clip(np.concatenate([c.frames for c in clips]), np.concatenate([c.actions for c in clips]))
    return fetch, development_error(config, clips, budget.batch)


def development_error(config, clips, rows):
    """``f(params) -> float``: the loss that is trained, on fixed clips with fixed noise, ``rows`` at a time."""
    model = build.make_world_model(config)
    loss, key = build.make_loss(config, model), build.stage_key(config, "development")

    @jax.jit
    def error(params, clip, key):
        return loss(params["dit"], Batch(model.encode(params, clip.frames), clip.actions), key)[0]

    def mean(params):
        batches = in_batches(clips, rows)
        return float(np.mean([error(params, some, jax.random.fold_in(key, start)) for start, some, _ in batches]))

    return mean
