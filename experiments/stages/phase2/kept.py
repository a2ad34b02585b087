"""An arm after some of its cycles, kept small beside its checkpoints, of which only the last ones stay.

``cycles/ARM/0004.npz`` in the run's directory holds what of the world model is trained, averaged, and the policy.
"""

import jax
import numpy as np
from flax import traverse_util

from experiments.run.files import write_numpy
from experiments.stages.phase2 import parts
from prowl_jax.train.state import merge


def path_of(run, arm, cycle):
    """Where an arm lies as it was after so many cycles."""
    return run.workdir / "cycles" / arm / f"{cycle:04}.npz"


def keep(run, arm, method, state, cycle):
    """Keep the arm's ``state`` after ``cycle`` cycles, if it is one of ``phase2.keep_cycles``."""
    if cycle not in run.config.phase2.keep_cycles:
        return
    path, policy = path_of(run, arm, cycle), method.policy(state)
    path.parent.mkdir(parents=True, exist_ok=True)
    flat = traverse_util.flatten_dict({"trained": state.theta.ema, "policy": policy or {}}, sep="/")
    write_numpy(path, np.savez, **{name: np.asarray(leaf) for name, leaf in flat.items()})


def load(run, arm, cycle):
    """``parts.Done`` of an arm after so many cycles, with neither finds nor the judge's weights."""
    with np.load(path_of(run, arm, cycle)) as file:
        kept = traverse_util.unflatten_dict({name: file[name] for name in file.files}, sep="/")
    start = parts.starting_point(run)
    dit = jax.tree.map(np.asarray, merge(kept["trained"], start.fixed["dit"]))
    return parts.Done({**start.fixed, "dit": dit}, kept.get("policy"), cycles=cycle)
