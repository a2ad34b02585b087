"""Any single environment, made N times and stepped in worker processes.

A worker (``worker_process``) is a fresh interpreter ("spawn") that imports what its environment needs and nothing
of JAX, so it starts in well under a second. It lives in a temporary directory of its own,
does not hear Ctrl-C (the parent decides), and ends when its parent does. POSIX only.

Frames, actions, ends of episodes and infos lie in memory that all share; a step is one short message to
each worker and one back. The environments are dealt in groups of which every worker has a share: while the
caller looks at one group, the workers step the other, and none of them waits.
"""

import collections
import contextlib
import multiprocessing
import sys
import weakref
from collections.abc import Callable

import numpy as np

from prowl_jax.actions import ActionSpec
from prowl_jax.envs.base import Step
from prowl_jax.envs.worker_handle import WorkerHandle, cores, deal, environments_of, quiet_start, shut_down
from prowl_jax.envs.worker_process import SharedMemory, SingleEnv, receive, send
from prowl_jax.spans import span

START_SECONDS = 60.0  # at least so long a worker may take to start, however short its answers shall be


class EnvironmentFailure(RuntimeError):
    """Environments do not work and are not started again; a note holds what they said."""


class ProcessVectorEnv:
    """N environments in worker processes; a ``GroupedEnv``.

    Environment i depends on its own seed and actions alone, so the frames are the same for
    every number of workers.

    Args:
      make_one: makes one ``SingleEnv``; importable by name (it is pickled), so not a lambda
        and not defined in ``__main__``, which workers do not import.
      num_envs: N.
      workers: processes, at most N are started; each group is dealt out in contiguous runs.
      spec: the factors of the actions.
      frame_shape: ``(H, W, 3)``.
      finish: what makes an environment's frame one of ``frame_shape``, such as shrinking it; picklable.
        A worker does it once all its environments have stepped: in between, engines that draw would
        drive it out of the cache each time, and it would take twice as long.
      groups: how many to deal the environments in, at most so many that every worker has its share of
        each. Frames do not depend on it.
      timeout: seconds that a worker may take for one answer.
      restarts: a worker whose environment raises, that dies or does not answer, is ended, and started
        again with the next ``reset``. Until then its environments rest: ``info["broken"]`` (bool ``[N]``) and
        ``done`` are true for them and their frames mean nothing. 0 restarts none.

    Raises (any method): EnvironmentFailure of one line naming the environment, with the worker's
    traceback or the end of its stderr as a note, when an environment raises, when a worker dies or does
    not answer; with ``restarts`` only when that has befallen all workers so often in a row. All workers are
    then ended.
    """

    @span("environments")
    def __init__(
        self,
        make_one: Callable[[], SingleEnv],
        num_envs: int,
        workers: int,
        spec: ActionSpec,
        frame_shape: tuple,
        *,
        finish: Callable | None = None,
        groups: int = 2,
        timeout: float = 60.0,
        restarts: int = 0,
    ):
        if num_envs < 1 or workers < 1 or groups < 1:
            raise ValueError(
                f"num_envs, workers and groups must be positive, got {num_envs}, {workers} and {groups}"
            )
        self.spec, self.num_envs, self.frame_shape = spec, num_envs, tuple(frame_shape)
        self._timeout, self._started = timeout, False
        self._restarts, self._deaths = restarts, 0  # how often in a row no worker was left
        self._broken = np.zeros(num_envs, bool)
        self._sent: collections.deque = collections.deque()  # groups whose answer has not been received
        self._workers: list[WorkerHandle] = []
        self._finalizer = weakref.finalize(self, shut_down, self._workers)
        context = multiprocessing.get_context("spawn")
        memory = self._memory = SharedMemory(context, num_envs, self.frame_shape, len(spec.sizes))
        self._frames, self._actions, self._done = memory.arrays()
        self._infos: dict = {}
        self.groups, shares = deal(num_envs, min(workers, num_envs), groups)
        try:
            with quiet_start():
                for share, core in zip(shares, cores(len(shares)), strict=True):
                    self._workers.append(WorkerHandle(context, core, make_one, share, memory, finish))
            for worker in self._workers:
                self._answer(worker, "start")
        except BaseException:
            self.close()
            raise

    @span("environments")
    def reset(self, seeds) -> Step:
        """Start every environment's episode from ``seeds``, non-negative ints ``[N]``."""
        seeds = np.asarray(seeds)
        if seeds.shape != (self.num_envs,) or seeds.dtype.kind not in "iu" or (seeds < 0).any():
            raise ValueError(f"seeds must be {self.num_envs} non-negative ints, got {seeds!r}")
        self._check_open()
        while self._sent:
            self._answers("step", self._sent[0])
        layouts: list = []
        while not layouts:
            self._revive()
            for group in range(len(self.groups)):
                self._ask("reset", group, seeds)
            said = [self._answers("reset", group) for group in range(len(self.groups))]
            layouts = [layout for answers in said for layout in answers]
        layout, *others = layouts
        if any(other != layout for other in others):
            self.close()
            raise RuntimeError(f"environments disagree about their infos: {layouts}")
        self._infos = self._memory.infos_as(layout)
        self._started = True
        return self._seen(slice(None))

    @span("environments")
    def step(self, actions) -> Step:
        """Do ``actions`` (int32 ``[N, A]``); ValueError names a factor that is out of range."""
        actions = self._checked(actions, self.num_envs)
        if self._sent:
            self._check_unsent(self._sent[0])
        for group, rows in enumerate(self.groups):
            self._actions[rows] = actions[rows]
            self._ask("step", group)
        for group in range(len(self.groups)):
            self._answers("step", group)
        return self._seen(slice(None))

    def send(self, actions, group) -> None:
        """Begin to do ``actions`` (int32 ``[n, A]``) in the n environments of ``groups[group]``.

        Raises:
          RuntimeError: the group's last step has not been received.
        """
        rows = self._rows(group)
        actions = self._checked(actions, rows.stop - rows.start)
        self._check_unsent(group)
        self._actions[rows] = actions
        self._ask("step", group)

    @span("environments")
    def receive(self, group) -> Step:
        """The step that ``send`` began, once all workers have done their share of it.

        Raises:
          RuntimeError: nothing was sent to the group, or something to another one before.
        """
        rows = self._rows(group)
        self._check_open()
        if group not in self._sent:
            raise RuntimeError(f"nothing to receive: group {group} was sent no actions")
        if self._sent[0] != group:
            raise RuntimeError(f"group {self._sent[0]} was sent actions before group {group}: receive it first")
        self._answers("step", group)
        return self._seen(rows)

    @span("environments")
    def close(self) -> None:
        """End all workers and remove their directories. Safe to call twice."""
        self._finalizer()
        self._workers = []

    def _check_open(self):
        if not self._workers:
            raise RuntimeError("the environments are closed")

    def _check_unsent(self, group):
        if group in self._sent:
            raise RuntimeError(f"group {group} has been sent actions already: receive its step first")

    def _checked(self, actions, n):
        """``actions`` where they may be done now."""
        if not self._started:
            raise RuntimeError("reset the environments before the first step")
        self._check_open()
        actions = self.spec.check(actions)
        if actions.shape[0] != n or actions.ndim != 2:
            raise ValueError(f"actions must be [{n}, A], got {actions.shape}")
        return actions

    def _rows(self, group):
        if group not in range(len(self.groups)):
            raise ValueError(f"there is no group {group!r} in {len(self.groups)}")
        return self.groups[group]

    def _ask(self, command, group, seeds=None):
        """Tell every worker to do ``command`` in its share of a group."""
        self._sent.append(group)
        try:
            for worker in self._alive():
                arguments = [] if seeds is None else [seeds[worker.share[group]].tolist()]
                # A dead worker breaks the pipe here; receiving then says so in one place.
                with contextlib.suppress(OSError):
                    send(worker.pipe, (command, group, *arguments))
        except BaseException:
            self.close()
            raise

    def _answers(self, command, group):
        """What every worker that is left says of its share of the group that was asked first."""
        answers = []
        try:
            for worker in self._alive():
                try:
                    answers.append(self._answer(worker, command))
                except EnvironmentFailure as failure:
                    self._give_up(worker, failure)
            self._sent.popleft()
        except BaseException:  # Ctrl-C among them: answers still on their way would be mixed up
            self.close()
            raise
        return answers

    def _alive(self):
        return [worker for worker in self._workers if worker.failure is None]

    def _give_up(self, worker, failure):
        """End a worker that failed; its environments are broken until the next reset."""
        if not self._restarts:
            raise failure
        worker.failure = failure
        worker.kill()
        for indices in worker.share:
            self._broken[indices] = True
        whose = environments_of(worker.share)
        print(f"{failure}; {whose} start again with the next trajectories", file=sys.stderr, flush=True)

    def _revive(self):
        """Start the workers again that failed; EnvironmentFailure where none was left too often in a row."""
        if self._alive():
            self._deaths = 0
        else:
            self._deaths += 1
            if self._deaths >= self._restarts:
                last = self._workers[0].failure
                self.close()
                error = EnvironmentFailure(
                    f"all environments failed {self._deaths} times in a row, the last time: {last}"
                )
                for note in getattr(last, "__notes__", ()):
                    error.add_note(note)
                raise error
        self._broken[:] = False
        failed = [i for i, worker in enumerate(self._workers) if worker.failure is not None]
        with quiet_start():
            for i in failed:
                self._workers[i] = self._workers[i].again()
        for i in failed:
            try:
                self._answer(self._workers[i], "start")
            except EnvironmentFailure as failure:
                self._give_up(self._workers[i], failure)

    def _seen(self, rows):
        info = {name: field[rows].copy() for name, field in self._infos.items()}
        if self._restarts:
            info["broken"] = self._broken[rows].copy()
        return Step(self._frames[rows].copy(), self._done[rows] | self._broken[rows], info)

    def _answer(self, worker, command):
        """The answer of one worker, or an EnvironmentFailure that names it."""
        note, patience = None, max(self._timeout, START_SECONDS) if command == "start" else self._timeout
        try:
            if worker.wait(patience):
                kind, *answer = receive(worker.pipe)
                if kind == "ok":
                    return answer[0]
                env, reason, note = answer
                message = f"environment {env} failed in {command}: {reason}"
            else:
                message = f"{worker.name} did not answer {command} in {patience:g} s"
        except (EOFError, OSError):
            worker.process.join(1.0)
            message = f"{worker.name} died in {command} (exit code {worker.process.exitcode})"
        error = EnvironmentFailure(message)
        for said in (note, worker.last_words()):
            if said:
                error.add_note(said)
        raise error
