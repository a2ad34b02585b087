"""What a person's seconds are measured by: how wrong the dream is where the demonstrator, pi_ref or the adversary goes.

For shipped weights it lies in ``yardsticks/NAME.json``, made by ``python -m experiments.play --yardstick=FILE`` and
valid for these very weights alone. The policies of a run act their seconds when the first person hunts (``Rivals``).
"""

import contextlib
import functools
import json
import pathlib
import threading

import jax
import numpy as np

from experiments.stages import build
from prowl_jax.methods.acting import collect, make_act
from prowl_jax.methods.prowl import Composite
from prowl_jax.pat import score as scores

AWAY = 40
"""Steps from where an episode starts to where a second begins."""

SECONDS = 16
"""That each policy of a run is measured on."""
TOGETHER = 8
"""Environments that a policy acts in at once."""

PI_REF, ADVERSARY = "pi_ref", "the adversary"
FOLDER = pathlib.Path(__file__).parent / "yardsticks"


@functools.cache
def _kept(folder):
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


def stored(played):
    """The yardstick of these weights and this task, or None."""
    for known in _kept(FOLDER):
        if (known["weights"], known["task"], known["horizon"]) == (played.weights, played.task, played.horizon):
            return known
    return None


def measure_of(played, rivals=None):
    """raw score -> {"mean", "std"} to standardise by: of the buffer, the yardstick, or pi_ref's seconds; else None."""
    if played.buffer is not None:
        mean, std = played.buffer["mean"], played.buffer["std"]
        return {name: {"mean": mean[name], "std": std[name]} for name in mean}
    known = stored(played)
    return known["raw"] if known else _moments((rivals or {}).get(PI_REF))


def rows(played, rivals=None):
    """Rows of the leader board for those who went before: ``regret`` in the mean, ``best`` score.

    Args:
      rivals: who -> raw scores of their seconds, of ``Rivals``.
    """
    board, measure = [], measure_of(played, rivals)
    if played.buffer is not None:
        board.append({"who": "the adversary's buffer", "regret": played.buffer["mean"]["regret"], "best": None})
    known = stored(played)
    if known is not None:
        board.append({"who": known["who"], "regret": known["raw"]["regret"]["mean"], "best": known["best"]})
    for who, raw in (rivals or {}).items():
        best = float(composite(raw, measure).max()) if measure else None
        board.append({"who": who, "regret": float(raw["regret"].mean()), "best": best})
    return board


def says(played, rivals=None):
    """Whose seconds they are, in words; empty where there are none."""
    if played.buffer is not None:
        return "the buffer"
    known = stored(played)
    if known:
        return f"{known['seconds']} seconds of {known['who']}"
    return f"{len(rivals[PI_REF]['regret'])} seconds of {PI_REF}" if PI_REF in (rivals or {}) else ""


def composite(raw, measure):
    """The composite score of raw scores (numbers, or arrays of one shape), standardised by ``measure``."""
    weights, _ = Composite().weights
    z = {name: scores.z_score(raw[name], measure[name]["mean"], measure[name]["std"]) for name in weights}
    return np.asarray(sum(weight * np.asarray(z[name]) for name, weight in weights.items()))


class Rivals:
    """The policies of what is ``played``, measured once for all who hunt: ``raw`` has who -> raw score -> ``[n]``.

    Args:
      scorer: of ``hunt.make_scorer``.
    """

    def __init__(self, played, scorer):
        self._played, self._scorer, self._lock = played, scorer, threading.Lock()
        self._left, self.raw = list(played.policies), {}

    def meet(self, wanted=lambda: True):
        """Let each act, once; takes time the first time, and ends, to be begun anew, where it is no longer ``wanted``.

        One whose environment breaks is left out.
        """

        def check():
            if not wanted():
                raise _Unwanted

        with self._lock, contextlib.suppress(_Unwanted):
            while self._left:
                who = self._left[0]
                try:
                    acted = _seconds_of(self._played, who, SECONDS, seed=1, check=check)
                    raw = _scored(self._scorer, *acted, check) if len(acted[0]) else None
                except _Unwanted:
                    raise
                except Exception as error:  # noqa: BLE001 - whatever an environment raises: who hunts hunts on
                    print(f"{who} could not be measured: {type(error).__name__}: {error}".splitlines()[0])
                    raw = None
                self.raw = {**self.raw, who: raw} if raw else self.raw
                self._left = self._left[1:]


class _Unwanted(Exception):
    """Nobody waits for it any more."""


def measured(played, scorer, seconds=64, seed=1):
    """The yardstick of ``played``: seconds of pi_ref, where it is there, else of the demonstrator, scored.

    Args:
      scorer: as in ``Rivals``.
    """
    who = PI_REF if PI_REF in played.policies else "the demonstrator"
    acted = _seconds_of(played, who, seconds, seed) if who == PI_REF else _demonstrated(played, seconds, seed)
    raw = _scored(scorer, *acted)
    known = _moments(raw)
    return {
        "who": who, "weights": played.weights, "task": played.task, "horizon": played.horizon, "seconds": seconds,
        "seed": seed, "raw": known, "best": float(composite(raw, known).max()),
    }  # fmt: skip


def _moments(raw):
    return raw and {name: {"mean": float(x.mean()), "std": float(x.std())} for name, x in raw.items()}


def _scored(scorer, frames, actions, check=None):
    """Raw score -> ``[n]``; scored one by one, as a person's seconds are, so that nothing more is compiled."""
    rows = []
    for i in range(len(frames)):
        if check is not None:
            check()
        rows.append(scorer(frames[i : i + 1], actions[i : i + 1]))
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def _frames(played):
    return played.programs.world_model.frames_of(played.programs.context + played.horizon)


@functools.lru_cache(maxsize=2)
def _act_of(policy):
    return make_act(policy)


def _seconds_of(played, who, seconds, seed, check=None):
    """What a policy does: frames ``[n, T, H, W, 3]``, actions ``[n, T, A]``; n is less where episodes ended.

    ``check`` as of ``collect``.
    """
    config, (policy, params) = played.config, played.policies[who]
    to_env, _ = build.action_maps(config)
    env, rows = build.make_env(config, played.task, min(TOGETHER, seconds)), []
    try:
        for start in range(0, seconds, TOGETHER):
            seeds = np.arange(start, start + env.num_envs) + seed
            one, _ = collect(
                env, _act_of(policy), policy, params, jax.random.key(seed + start), seeds=seeds,
                length=_frames(played), warm_up=AWAY, warm_up_params=params, to_env=to_env, check=check,
            )  # fmt: skip
            actions = one.actions if to_env is None else np.asarray(to_env(one.actions))
            rows.append((np.asarray(one.frames)[one.valid], np.asarray(actions)[one.valid]))
    finally:
        env.close()
    return tuple(np.concatenate(column) for column in zip(*rows, strict=True))


def _demonstrated(played, seconds, seed):
    """What the demonstrator does, as ``_seconds_of``."""
    config, length = played.config, _frames(played)
    environment, gaps = build.make_environment(config), build.gaps_of(config, played.task)
    episodes = environment.record(played.task, AWAY + length, seconds, seed, gaps=gaps, num_envs=TOGETHER)
    clips = [(frames[AWAY : AWAY + length], actions[AWAY : AWAY + length]) for frames, actions in episodes]
    frames, actions = (np.stack([np.asarray(x) for x in column]) for column in zip(*clips, strict=True))
    return frames, actions
