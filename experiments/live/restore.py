"""The states of the environment in which clips of the PAT buffer began, made again.

A buffer keeps what was seen, not the environment's state. But all chance of a cycle is known: the seeds that its
environments were reset from, and the key that the warm-up's policy, pi_ref, drew from. So the warm-up of the cycle in
which a clip was found is acted again; the row whose first frame is the clip's is where it began.
"""

import functools
import threading

import jax
import numpy as np

from experiments.live.session import Place
from experiments.stages import build
from experiments.stages.phase2 import env_seeds, starting_point
from prowl_jax.methods.acting import collect, make_act


class Beginnings:
    """What acts the warm-ups of a run's cycles again: compiled once, used by one at a time.

    Args:
      run: a ``Run`` whose environment is a program on the device.
    """

    def __init__(self, run):
        self._config, config = run.config, run.config
        self.shared = build.make_method(config, next(iter(build.arms(config)))).shared
        self._act, self._reference = make_act(self.shared.policy), starting_point(run).reference
        self._env = build.make_env(config, config.env.task, config.phase2.trajectories)
        self._lock = threading.Lock()

    def of(self, cycle):
        """(first frames uint8 ``[N, H, W, 3]``, states of the environment with leaves ``[N, ...]``) of a cycle."""
        config, shared, reference = self._config, self.shared, self._reference
        key, _ = jax.random.split(jax.random.fold_in(build.stage_key(config, "phase2"), cycle))
        with self._lock:
            trajectory, _ = collect(
                self._env, self._act, shared.policy, reference, key, seeds=env_seeds(config, cycle), length=1,
                warm_up=shared.budget.warm_up, warm_up_params=reference, to_env=shared.to_env,
            )  # fmt: skip
            return trajectory.frames[:, 0], self._env.state


beginnings = functools.lru_cache(maxsize=2)(Beginnings)
"""``Beginnings`` of a run, kept: who plays from one card soon plays from another."""


def starts(run, cycle):
    """``Beginnings.of`` a cycle; None where the environment is in a process."""
    if not build.make_environment(run.config).on_device():
        return None
    return beginnings(run).of(cycle)


def row_of(frames, clip):
    """The row of ``starts`` in which a clip (frames ``[T, H, W, 3]``) began, or None.

    None as where a cycle was drawn anew after numbers that were not finite, or where a person found it elsewhere.
    """
    rows = np.flatnonzero((frames == clip.frames[0]).all(axis=(1, 2, 3)))
    return int(rows[0]) if len(rows) else None


def place_of(run, clip, cycle):
    """The ``Place`` of a clip (frames ``[T, H, W, 3]``, actions ``[T, A]``) found in ``cycle``; None: it has none."""
    made = starts(run, cycle)
    row = None if made is None else row_of(made[0], clip)
    if row is None:
        return None
    shared = beginnings(run).shared
    seen = shared.world_model.frames_of(shared.budget.context)
    return Place(jax.tree.map(lambda x: x[row], made[1]), np.asarray(clip.actions[:seen], np.int32))


def events_of(run, clips, cycles):
    """What happened in clips, acted again from where they began.

    Args:
      clips: ``RealClip`` with leaves ``[n, ...]``. cycles: int ``[n]``, in which each was found.

    Returns:
      n tuples of names of events, as of ``info["event_..."]``; None for a clip whose beginning cannot be made.
    """
    happened, env = [None] * len(cycles), None
    for cycle in sorted({int(cycle) for cycle in cycles}):
        made = starts(run, cycle)
        if made is None:
            continue
        env = env or build.make_device_env(run.config, run.config.env.task)
        actions = np.zeros((len(made[0]), *clips.actions.shape[1:]), np.int32)
        rows = {}
        for i in np.flatnonzero(np.asarray(cycles) == cycle):
            row = row_of(made[0], jax.tree.map(lambda x, i=i: x[i], clips))
            if row is not None:
                rows[i], actions[row] = row, clips.actions[i]
        events = jax.device_get(_events(env, made[1], actions[:, :-1]))
        for i, row in rows.items():
            happened[i] = tuple(name for name, whether in events.items() if whether[row])
    return happened


@jax.jit
def _events(env, states, actions):
    """name -> bool ``[N]``: whether it happened in the steps ``actions`` int32 ``[N, T, A]`` from ``states``."""

    def run(state, actions):
        def step(state, action):
            state, after = env.step(state, action)
            return state, {n.removeprefix("event_"): x for n, x in after.info.items() if n.startswith("event_")}

        _, events = jax.lax.scan(step, state, actions)
        return {name: x.any() for name, x in events.items()}

    return jax.vmap(run)(states, actions)
