"""Be the adversary: the last second scored as PROWL scores a trajectory, and the best of what a person found.

    score(tau) = z(l_regret) + lambda_AFS z(l_AFS)          as ``pat.score``, Delta = 0 for what is new

z is over an arm's buffer where the run has one; else over a yardstick, what the demonstrator or pi_ref does
(``yardstick``); where there is neither, over what this person has shown so far. The leader board has those who went
before, pi_ref and the adversary, once they are measured (``yardstick.Rivals``).
"""

import dataclasses
import datetime
import threading

import jax
import numpy as np

from experiments.live import yardstick
from experiments.stages import build, trajectory_file
from experiments.stages.trajectory_file import Trajectories
from prowl_jax.rewards import REWARDS
from prowl_jax.rewards.dream import make_dream, make_observe, make_score
from prowl_jax.types import RealClip

KEPT = 16
LEAST_SEEN = 8
"""Seconds that a person must have shown before they are a measure of themselves."""


def length(played):
    """T, frames of what is scored."""
    return played.programs.world_model.frames_of(played.programs.context + played.horizon)


def make_scorer(played):
    """``f(frames [B, T, H, W, 3], actions [B, T, A]) -> {raw: float [B]}``, compiled once for each B."""
    programs = played.programs
    flow = build.make_flow(played.config)
    observe = make_observe(programs.world_model, programs.context, flow)
    dream = make_dream(programs.world_model, programs.context, flow, common_noise=True)
    score = make_score(dream, REWARDS, 8)
    params = played.params[played.dreamer]

    def scored(frames, actions):
        clip = observe(params, RealClip(latents=None, actions=actions, frames=frames))
        return jax.device_get(score(params, clip))

    return scored


@dataclasses.dataclass(frozen=True)
class Find:
    """A scored second of somebody's.

    Attributes:
      frames: uint8 ``[T, H, W, 3]``. actions: int32 ``[T, A]``. raw: name -> raw score. when: ISO 8601.
    """

    frames: np.ndarray
    actions: np.ndarray
    raw: dict
    when: str


class Hunt:
    """One person's.

    Args:
      scorer: of ``make_scorer``, shared by all. rivals: ``yardstick.Rivals``, shared as well, or None.
    """

    def __init__(self, played, scorer, rivals=None):
        self._played, self._scorer, self._lock, self._rivals = played, scorer, threading.Lock(), rivals
        self._finds, self._raw = [], []

    def look(self, frames, actions):
        """Score the last second of a clip: what to tell the page, or None where there is not that much of one."""
        t = length(self._played)
        if len(frames) < t:
            return None
        frames, actions = frames[-t:], actions[-t:]
        raw = {name: float(value[0]) for name, value in self._scorer(frames[None], actions[None]).items()}
        with self._lock:
            self._raw.append(raw)
            del self._raw[:-3600]
            kept = self._keep(Find(frames, actions, raw, _now()))
            mine = [self.score(found.raw) for found in self._finds]
            return {
                "score": self.score(raw), **raw, "kept": kept, "measure": self._says(), "best": mine[:KEPT],
                "board": self._board(max((score for score in mine if score is not None), default=None)),
            }  # fmt: skip

    def score(self, raw):
        """The composite score of raw scores; None where there is nothing to measure them by yet."""
        measure = yardstick.measure_of(self._played, self._met)
        if measure is None:
            if len(self._raw) < LEAST_SEEN:
                return None
            columns = {name: np.array([r[name] for r in self._raw]) for name in raw}
            measure = {n: {"mean": float(c.mean()), "std": float(c.std())} for n, c in columns.items()}
        return float(yardstick.composite(raw, measure))

    def as_bytes(self):
        """The finds as a ``trajectory_file``; None where there are none."""
        trajectories = self._trajectories()
        return trajectories and trajectory_file.as_bytes(trajectories)

    def write(self, path):
        """Write the finds to ``path``."""
        with self._lock:
            trajectories = self._trajectories()
            if trajectories:
                trajectory_file.write(path, trajectories)

    def _trajectories(self):
        finds = list(self._finds)
        if not finds:
            return None
        played = self._played
        about = [
            {"by": "a person", "when": f.when, "raw": f.raw, "score": self.score(f.raw), "in": played.title,
             "weights": played.weights, "measured by": self._says()}
            for f in finds
        ]  # fmt: skip
        environment = {**build.environment_of(played.config), "env.task": played.task}
        return Trajectories(
            np.stack([f.frames for f in finds]), np.stack([f.actions for f in finds]), played.spec, environment, about
        )

    def _keep(self, found):
        """Put a find among the best by regret first known; returns whether it stays."""
        self._finds.append(found)
        self._finds.sort(key=lambda f: -_order(self.score(f.raw), f.raw))
        out = self._finds[KEPT:]
        del self._finds[KEPT:]
        return not any(f is found for f in out)

    def _board(self, best):
        mine = [r["regret"] for r in self._raw]
        me = {"who": "you", "regret": float(np.mean(mine)), "best": best, "seconds": len(mine)}
        rows = [*yardstick.rows(self._played, self._met), me]
        return sorted(rows, key=lambda row: -row["regret"])

    def _says(self):
        return yardstick.says(self._played, self._met) or "your own seconds so far"

    @property
    def _met(self):
        return self._rivals.raw if self._rivals else {}


def _order(score, raw):
    return raw["regret"] if score is None else score


def _now():
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
