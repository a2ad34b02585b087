"""Minecraft through MineRL 1.0 (https://minerl.readthedocs.io), each game in a Python of its own.

MineRL wants numpy < 1.24 and gym 0.23, which JAX does not, so its workers run in another
interpreter (``minerl_worker.py``) and speak over a pipe. Minecraft dies, hangs and breaks its
connection now and then; a game that does is ended and started anew, and the step in which it
happened is marked. docs/minerl.md tells how to install it, and what has been tried: a stub, never the game
(docs/limits.md).

Of the test beds' options only the frames' size has a meaning here: Minecraft has one look, its own clock and
a world of its own in every episode; and its demonstrations are recordings of people, of whom no ``Gaps``
can be asked. ``gaps.per_thousand`` counts what people do as well: their actions have all the factors.

This module starts processes; POSIX only.
"""

import contextlib
import dataclasses
import logging
import os
import shlex
import sys
import weakref

import numpy as np

from prowl_jax.envs.base import Step
from prowl_jax.envs.minerl_process import Fault, WorkerProcess, end_all
from prowl_jax.envs.worker_process import episode_seed
from prowl_jax.minecraft import SPEC, factors_to_minerl

FRAME_SIZE = (360, 640)
"""(H, W) at which MineRL draws."""

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Patience:
    """Seconds after which a game counts as hung.

    Attributes:
      start: for starting Minecraft, and for beginning an episode.
      step: for a step.
      silence: without a heart-beat of the worker, which beats once a second whatever the game does.
    """

    start: float = 600.0
    step: float = 60.0
    silence: float = 30.0


PATIENCE = Patience()


def make_minerl(
    task: str,
    num_envs: int,
    *,
    python: str = sys.executable,
    make: str = "minerl",
    frame_size=FRAME_SIZE,
    episode_steps: int | None = None,
    patience: Patience = PATIENCE,
    attempts: int = 3,
) -> "MineRLEnv":
    """N games of Minecraft, each in a process of its own.

    Args:
      task: name of a MineRL environment, such as ``"MineRLBasaltFindCave-v0"``.
      num_envs: N; each is a worker process and a Minecraft.
      python: command of the interpreter that has MineRL, such as ``"/opt/minerl/bin/python"`` or
        ``"xvfb-run -a /opt/minerl/bin/python"``.
      make: what makes the environment there: ``"minerl"``, ``"minestudio"``, or a function of
        the task's name, ``"module:function"`` or ``"/path/to/file.py:function"``.
      frame_size: (H, W) of the frames, by area averages of what the game draws.
      episode_steps: an episode ends after so many steps (1/20 s each); None leaves it to the task.
      patience: how long to wait before a game counts as hung.
      attempts: how often in a row a game may fail to begin an episode before that is an error.

    Raises:
      ValueError: sizes out of range, or no such interpreter.
      RuntimeError: the interpreter cannot make the environment; the worker's traceback is a note.
    """
    if num_envs < 1 or attempts < 1:
        raise ValueError(f"num_envs and attempts must be positive, got {num_envs} and {attempts}")
    if len(frame_size) != 2 or min(frame_size) < 1:
        raise ValueError(f"frame_size must be two positive ints, got {tuple(frame_size)}")
    if episode_steps is not None and episode_steps < 1:
        raise ValueError(f"episode_steps must be positive or None, got {episode_steps}")
    if not shlex.split(python):
        raise ValueError("python must name the interpreter that MineRL is installed in (docs/minerl.md)")
    if ".py:" in make:
        make = os.path.abspath(make)  # the worker runs in a folder of its own
    start = {"make": make, "task": task, "frame_size": [int(side) for side in frame_size]}
    return MineRLEnv(shlex.split(python), start, num_envs, episode_steps, patience, attempts)


class MineRLEnv:
    """A ``HostEnv``; made by ``make_minerl``.

    ``info`` of a step:
      broken: bool ``[N]``, True where the game died, hung, raised or lost its connection in this
        step. Such a step is also ``done``, and its frame is the first one of the next episode, in
        a new game: nothing of a broken game is ever shown. What was collected of the episode
        before is real, but what its last action led to is unknown.
      pose: float32 ``[N, 3]``, (east, north, degrees to the left of east) in blocks, NaN where
        the task does not tell it, as those of BASALT do not.

    Each episode's seed is given to the game; how far it determines what happens there was not tried.

    Attributes:
      faults: one line for every game that broke so far.

    Raises (any method): RuntimeError of one line when a game failed to begin an episode
    ``attempts`` times in a row; all games are then ended.
    """

    def __init__(self, command, start, num_envs, episode_steps, patience, attempts):
        self.spec, self.num_envs = SPEC, num_envs
        self.frame_shape = (*start["frame_size"], 3)
        self.faults = []
        self._command, self._start, self._steps_limit = command, start, episode_steps
        self._patience, self._attempts = patience, attempts
        self._seeds = None
        self._episodes, self._steps = np.zeros(num_envs, int), np.zeros(num_envs, int)
        self._frames = np.zeros((num_envs, *self.frame_shape), np.uint8)
        self._poses = np.full((num_envs, 3), np.nan, np.float32)
        self._workers = [None] * num_envs
        self._finalizer = weakref.finalize(self, end_all, self._workers)
        with self._closing_on_error():
            for i in range(num_envs):
                self._launch(i)
            for worker in self._workers:
                try:
                    worker.receive("start", patience.start, patience.silence)
                except Fault as fault:  # no Minecraft was started yet: the installation is at fault
                    words = f"{shlex.join(command)} cannot make {start['task']!r}: {fault} (see docs/minerl.md)"
                    raise _noted(words, fault.trace or worker.log_tail()) from None

    def reset(self, seeds) -> Step:
        """Start every environment's episode from ``seeds``, non-negative ints ``[N]``."""
        seeds = np.asarray(seeds)
        if seeds.shape != (self.num_envs,) or seeds.dtype.kind not in "iu" or (seeds < 0).any():
            raise ValueError(f"seeds must be {self.num_envs} non-negative ints, got {seeds!r}")
        with self._closing_on_error():
            self._seeds = seeds.tolist()
            self._episodes[:] = 0
            self._begin(range(self.num_envs))
        none = np.zeros(self.num_envs, bool)
        return self._step(none, none)

    def step(self, actions) -> Step:
        """Do ``actions`` (int32 ``[N, A]``); ValueError names a factor that is out of range."""
        if self._seeds is None:
            raise RuntimeError("reset the environments before the first step")
        actions = self.spec.check(actions)
        if actions.shape[0] != self.num_envs or actions.ndim != 2:
            raise ValueError(f"actions must be [{self.num_envs}, A], got {actions.shape}")
        done, broken = np.zeros(self.num_envs, bool), np.zeros(self.num_envs, bool)
        with self._closing_on_error():
            for worker, command in zip(self._workers, _commands(actions), strict=True):
                worker.send(command)
            self._steps += 1
            for i in range(self.num_envs):
                try:
                    done[i] = self._take(i, "step", self._patience.step)
                except Fault as fault:
                    done[i] = broken[i] = True
                    self._drop(i, "step", fault)
            if self._steps_limit is not None:
                done |= self._steps >= self._steps_limit
            self._episodes += done
            self._begin(np.flatnonzero(done).tolist())
        return self._step(done, broken)

    def close(self) -> None:
        """End all games and remove what they wrote. Safe to call twice."""
        self._finalizer()

    def _step(self, done, broken):
        return Step(self._frames.copy(), done.copy(), {"pose": self._poses.copy(), "broken": broken.copy()})

    def _begin(self, indices):
        """Begin the current episode in these environments, all at once, with new games where needed."""
        waiting = list(indices)
        for _ in range(self._attempts):
            for i in waiting:
                self._steps[i] = 0
                if self._workers[i] is None:
                    self._launch(i)
                seed = episode_seed(self._seeds[i], self._episodes[i])
                # 31 bits, as the seed goes through C, Python and Java on its way.
                self._workers[i].send({"command": "reset", "seed": seed & 0x7FFFFFFF})
            failed = {}
            for i in waiting:
                try:
                    worker = self._workers[i]
                    if not worker.started:
                        worker.receive("start", self._patience.start, self._patience.silence)
                    self._take(i, "reset", self._patience.start)
                except Fault as fault:
                    failed[i] = fault, self._drop(i, "reset", fault)
            waiting = list(failed)
            if not waiting:
                return
        last, log = failed[waiting[0]]
        words = f"environment {waiting[0]} failed to begin an episode {self._attempts} times: {last}"
        raise _noted(words, last.trace + log)

    def _take(self, i, command, seconds):
        """Store what environment i answers; returns whether its episode ended. Raises Fault."""
        header, body = self._workers[i].receive(command, seconds, self._patience.silence)
        if header["done"]:
            return True
        self._frames[i] = np.frombuffer(body, np.uint8).reshape(header["shape"])
        self._poses[i] = header["pose"] or np.nan
        return False

    def _launch(self, i):
        self._workers[i] = WorkerProcess(self._command)
        self._workers[i].send({"command": "start", **self._start})

    def _drop(self, i, command, fault):
        """End a game that broke; returns the end of what it printed."""
        self.faults.append(f"environment {i} broke in {command}: {fault}")
        _log.warning("%s; starting it anew", self.faults[-1])
        worker, self._workers[i] = self._workers[i], None
        log = worker.log_tail()
        worker.end()
        return log

    @contextlib.contextmanager
    def _closing_on_error(self):
        """End all games on any way out but the good one: answers still on their way would be mixed up."""
        if not self._finalizer.alive:
            raise RuntimeError("the environments are closed")
        try:
            yield
        except BaseException:  # Ctrl-C among them
            self.close()
            raise


def _noted(words, note):
    error = RuntimeError(words)
    error.add_note(note)
    return error


def _commands(actions):
    """One message an environment: the names of the pressed keys, and degrees."""
    action = factors_to_minerl(actions)
    camera = action.pop("camera").tolist()
    for i, turn in enumerate(camera):
        pressed = [key for key, value in action.items() if value[i]]
        yield {"command": "step", "pressed": pressed, "camera": turn}
