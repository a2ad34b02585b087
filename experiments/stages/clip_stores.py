"""The clip stores of a run, one a task: opened, checked, split, and drawn from."""

import hashlib

import numpy as np

from experiments.run import processes
from experiments.run.config_file import UsageError
from experiments.stages import build
from prowl_jax.data.feeder import batch_starts
from prowl_jax.data.store import ClipStore


def tasks(config):
    """The training task and the held-out ones."""
    return (config.env.task, *config.env.held_out_tasks)


def open_store(run, task=None):
    """The clip store of ``task``, checked against the configured actions; UsageError where it is damaged."""
    try:
        return ClipStore.open(run.data(task or run.config.env.task), build.spec_of(run.config))
    except (ValueError, OSError) as error:
        raise UsageError(f"{error}; {_BEGIN_ANEW}") from None


_BEGIN_ANEW = "put it back as it was, or begin anew in another --workdir"


def verify_stores(run):
    """Read the clip stores that are there and hold them against their checksums; UsageError names what changed."""
    for task in tasks(run.config):
        if run.config.demonstrations.verify and run.data(task).exists():
            try:
                open_store(run, task).verify()
            except ValueError as error:
                raise UsageError(f"{error}; {_BEGIN_ANEW}") from None


def split(run, store):
    """(training episodes, held-out episodes) of the training task."""
    return held_out(run, store)[:2]


def held_out(run, store):
    """The ``HeldOut`` of the training task's store; UsageError where nothing can be held out."""
    config = run.config
    fraction, gap = config.demonstrations.held_out_fraction, build.shortest_episode(config)
    try:
        return store.hold_out(fraction, build.data_seed(config), gap)
    except ValueError as error:
        raise UsageError(f"{store.path}: {error} (demonstrations.episode_frames)") from None


def clip_name(clips, i):
    """A short name of clip ``i`` of several (``Clip`` or ``RealClip``) by what it shows and what is done in it."""
    content = np.ascontiguousarray(clips.frames[i]).tobytes() + np.ascontiguousarray(clips.actions[i]).tobytes()
    return hashlib.sha256(content).hexdigest()[:16]


def clip_starts(store, episodes, length, key):
    """``store.starts``; says how many episodes are too short, and UsageError names ``key`` where all are."""
    short = int((store.lengths[episodes] < length).sum())
    if short == len(episodes):
        raise UsageError(f"all {short} training episodes of {store.path} are shorter than {key}={length}; lower it")
    if short:
        print(f"{store.path}: {short} of {len(episodes)} episodes are shorter than {key}={length}: no clips of them")
    return store.starts(episodes, length)


def own_starts(config, step, starts, rows, in_order=False):
    """Where this process's clips of a step begin; ``in_order`` for a faster read of single frames."""
    all_starts = batch_starts(config.seed, step, starts, rows)
    return (np.sort(all_starts) if in_order else all_starts)[processes.own_rows(rows)]
