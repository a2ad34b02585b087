"""Any single environment, made N times and stepped in worker processes.

A worker is a fresh interpreter ("spawn") that imports what its environment needs and nothing
of JAX, so it starts in well under a second. It lives in a temporary directory of its own,
does not hear Ctrl-C (the parent decides), and ends when its parent does. POSIX only.

Frames, actions, ends of episodes and infos lie in memory that all share; a step is one short message to
each worker and one back. The environments are dealt in groups of which every worker has a share: while the
caller looks at one group, the workers step the other, and none of them waits.
"""

import collections
import contextlib
import ctypes
import multiprocessing
import os
import pickle
import select
import shutil
import signal
import sys
import tempfile
import threading
import traceback
import types
import weakref
from collections.abc import Callable
from typing import Protocol

import numpy as np

from prowl_jax.actions import ActionSpec
from prowl_jax.envs.base import Step

INFO_BYTES = 1024  # of shared memory for the info of one environment


class SingleEnv(Protocol):
    """One environment, as a worker drives it. It needs no auto-restart: the worker does that.

    Every info has the same names, shapes and types as that of the first reset, and at most ``INFO_BYTES``.
    """

    def reset(self, seed: int):
        """Start the episode of ``seed``: returns (frame uint8 ``[H, W, 3]`` or what ``finish`` makes one of, info dict)."""

    def step(self, action):
        """Do int32 ``[A]``: returns (frame, done, info); frame and info are ignored if done."""

    def close(self) -> None:
        """End what the environment started."""


def episode_seed(seed, episode):
    """Seed of the ``episode``-th episode (0 is the first) of an environment reset with ``seed``."""
    if episode == 0:
        return int(seed)
    return int(np.random.SeedSequence([int(seed), int(episode)]).generate_state(1)[0])


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

    Raises (any method): RuntimeError of one line naming the environment, with the worker's
    traceback as a note, when an environment raises, when a worker dies or does not answer;
    all workers are then ended.
    """

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
    ):
        if num_envs < 1 or workers < 1 or groups < 1:
            raise ValueError(
                f"num_envs, workers and groups must be positive, got {num_envs}, {workers} and {groups}"
            )
        self.spec, self.num_envs, self.frame_shape = spec, num_envs, tuple(frame_shape)
        self._timeout, self._started = timeout, False
        self._sent = collections.deque()  # groups whose answer has not been received
        self._workers = []
        self._finalizer = weakref.finalize(self, _shut_down, self._workers)
        context = multiprocessing.get_context("spawn")
        memory = self._memory = _Memory(context, num_envs, self.frame_shape, len(spec.sizes))
        self._frames, self._actions, self._done = memory.arrays()
        self._infos = {}
        self.groups, shares = _deal(num_envs, min(workers, num_envs), groups)
        try:
            with _quiet_start():
                for share, core in zip(shares, _cores(len(shares)), strict=True):
                    self._workers.append(_Worker(context, core, make_one, share, memory, finish))
            for worker in self._workers:
                self._answer(worker, "start")
        except BaseException:
            self.close()
            raise

    def reset(self, seeds) -> Step:
        """Start every environment's episode from ``seeds``, non-negative ints ``[N]``."""
        seeds = np.asarray(seeds)
        if seeds.shape != (self.num_envs,) or seeds.dtype.kind not in "iu" or (seeds < 0).any():
            raise ValueError(f"seeds must be {self.num_envs} non-negative ints, got {seeds!r}")
        self._check_open()
        while self._sent:
            self._answers("step", self._sent[0])
        for group in range(len(self.groups)):
            self._ask("reset", group, seeds)
        layout, *others = [said for group in range(len(self.groups)) for said in self._answers("reset", group)]
        if any(other != layout for other in others):
            self.close()
            raise RuntimeError(f"environments disagree about their infos: {[layout, *others]}")
        self._infos = self._memory.infos_as(layout)
        self._started = True
        return self._seen(slice(None))

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
            for worker in self._workers:
                arguments = [] if seeds is None else [seeds[worker.share[group]].tolist()]
                # A dead worker breaks the pipe here; receiving then says so in one place.
                with contextlib.suppress(OSError):
                    _send(worker.pipe, (command, group, *arguments))
        except BaseException:
            self.close()
            raise

    def _answers(self, command, group):
        """What every worker says of its share of the group that was asked first."""
        try:
            answers = [self._answer(worker, command) for worker in self._workers]
            self._sent.popleft()
        except BaseException:  # Ctrl-C among them: answers still on their way would be mixed up
            self.close()
            raise
        return answers

    def _seen(self, rows):
        info = {name: field[rows].copy() for name, field in self._infos.items()}
        return Step(self._frames[rows].copy(), self._done[rows].copy(), info)

    def _answer(self, worker, command):
        """The answer of one worker, or a RuntimeError that names it."""
        note = None
        try:
            if worker.wait(self._timeout):
                kind, *answer = _receive(worker.pipe)
                if kind == "ok":
                    return answer[0]
                env, reason, note = answer
                message = f"environment {env} failed in {command}: {reason}"
            else:
                message = f"{worker.name} did not answer {command} in {self._timeout:g} s"
        except (EOFError, OSError):
            worker.process.join(1.0)
            message = f"{worker.name} died in {command} (exit code {worker.process.exitcode})"
        error = RuntimeError(message)
        if note:
            error.add_note(note)
        raise error


class _Worker:
    """The parent's side of one process: its pipe, its directory, and which envs it runs."""

    def __init__(self, context, core, make_one, share, memory, finish):
        self.share = share
        self.name = f"the worker of environments {_runs(share)}"
        self.directory = tempfile.mkdtemp(prefix="prowl-worker-")
        self.pipe, theirs = context.Pipe()
        arguments = theirs, self.directory, core, make_one, share, memory, finish
        self.process = context.Process(target=_work, args=arguments, daemon=True)
        self.process.start()
        theirs.close()  # so that the pipe ends when the worker does
        self._news = select.poll()
        for source in (self.pipe.fileno(), self.process.sentinel):
            self._news.register(source, select.POLLIN)

    def wait(self, seconds):
        """Whether it answers, or dies, within ``seconds``."""
        return bool(self._news.poll(1000 * seconds))


class _Memory:
    """What parent and workers share; picklable while a process starts."""

    def __init__(self, context, num_envs, frame_shape, factors):
        self.num_envs, self.frame_shape = num_envs, frame_shape
        self.frames = context.RawArray(ctypes.c_uint8, int(num_envs * np.prod(frame_shape)))
        self.actions = context.RawArray(ctypes.c_int32, num_envs * factors)
        self.done = context.RawArray(ctypes.c_bool, num_envs)
        self.infos = context.RawArray(ctypes.c_uint8, num_envs * INFO_BYTES)

    def arrays(self):
        """Frames uint8 ``[N, H, W, 3]``, actions int32 ``[N, A]`` and done bool ``[N]``."""
        return (
            np.frombuffer(self.frames, np.uint8).reshape(-1, *self.frame_shape),
            np.frombuffer(self.actions, np.int32).reshape(self.num_envs, -1),
            np.frombuffer(self.done, np.bool_),
        )

    def infos_as(self, layout):
        """The infos as arrays with leading axis N, by name; ``layout`` is a list of (name, type, shape)."""
        if not layout:
            return {}
        names, *_ = zip(*layout, strict=True)
        formats = [(kind, shape) for _, kind, shape in layout]
        records = np.frombuffer(self.infos, {"names": names, "formats": formats, "itemsize": INFO_BYTES})
        return {name: records[name] for name in names}


def _deal(num_envs, workers, groups):
    """Environments to groups, and each group to workers.

    Returns:
      the groups as slices, and for each worker the indices of its share of every group.
    """
    parts = np.array_split(np.arange(num_envs), min(groups, num_envs // workers))
    shares = []
    for i, part in enumerate(parts):
        lengths = [len(run) for run in np.array_split(part, workers)]
        lengths = lengths[:: -1 if i % 2 else 1]  # so that who has more of one group has less of the next
        shares.append([run.tolist() for run in np.split(part, np.cumsum(lengths)[:-1])])
    return tuple(slice(int(p[0]), int(p[-1]) + 1) for p in parts), list(zip(*shares, strict=True))


def _runs(share):
    """``[[0, 1], [4]]`` -> "0..1 and 4..4"."""
    runs = []
    for indices in share:
        if runs and runs[-1][-1] + 1 == indices[0]:
            runs[-1] = runs[-1] + indices
        else:
            runs.append(indices)
    return " and ".join(f"{run[0]}..{run[-1]}" for run in runs)


def _cores(workers):
    """The core that each worker and its engines keep to; None where the system places them.

    They take turns, so that they lose nothing on one core, while moving to another costs each turn some
    of its caches. Only where every core gets as many workers: else cores might stay idle.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if not cores or workers % len(cores):
        return [None] * workers
    return [cores[i % len(cores)] for i in range(workers)]


def _send(pipe, message):
    """What ``pipe.send`` does, but with the plain pickler: in a third of the time."""
    pipe.send_bytes(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))


def _receive(pipe):
    return pickle.loads(pipe.recv_bytes())


def _shut_down(workers):
    for worker in workers:
        with contextlib.suppress(OSError):
            _send(worker.pipe, ("close", None))
    for worker in workers:
        worker.process.join(2.0)
        if worker.process.is_alive():
            worker.process.terminate()
            worker.process.join(2.0)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        if worker.process.exitcode != 0:  # it could not end what it had started
            with contextlib.suppress(OSError):
                os.killpg(worker.process.pid, signal.SIGKILL)
        worker.pipe.close()
        shutil.rmtree(worker.directory, ignore_errors=True)
    workers.clear()


@contextlib.contextmanager
def _quiet_start():
    """Start processes that ignore SIGINT from birth, use one BLAS thread, and skip ``__main__``.

    Spawned processes import the parent's ``__main__`` again, which in a training script means
    JAX: seconds and hundreds of MB for each worker. An empty stand-in avoids it.
    """
    main, threads = sys.modules["__main__"], ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")
    saved = {name: os.environ.get(name) for name in threads}
    in_main_thread = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN) if in_main_thread else None
    sys.modules["__main__"] = types.ModuleType("__main__")
    os.environ.update(dict.fromkeys(threads, "1"))
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        for name, value in saved.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value
        if in_main_thread:
            signal.signal(signal.SIGINT, handler)


def _work(pipe, directory, core, make_one, share, memory, finish):
    """A worker's life: make the environments, answer until told to close or the parent is gone."""
    # A process group of its own: Ctrl-C in the terminal does not reach the worker or what it
    # starts, and the parent can end the whole group if the worker is killed.
    os.setpgrp()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that ``finally`` runs
    for fd in os.listdir("/dev/fd"):
        # An engine that inherited our end of the pipe would hide our death from the parent.
        with contextlib.suppress(OSError):
            os.set_inheritable(int(fd), int(fd) <= 2)
    if core is not None:
        os.sched_setaffinity(0, {core})  # engines inherit it
    os.chdir(directory)
    arrays = memory.arrays()
    groups = [[_Seat(index, make_one, finish, memory, *arrays) for index in indices] for indices in share]
    seats = [seat for group in groups for seat in group]
    try:
        with contextlib.suppress(EOFError, OSError):  # of the pipe alone: the parent has gone
            _send(pipe, _do(seats, "start"))
            while True:
                command, group, *arguments = _receive(pipe)
                if command == "close":
                    break
                _send(pipe, _do(groups[group], command, *arguments))
    finally:
        for seat in seats:
            with contextlib.suppress(Exception):
                seat.env.close()
        os.chdir(os.path.dirname(directory))
        shutil.rmtree(directory, ignore_errors=True)


class _Seat:
    """One environment in a worker, with the count of its episodes and its places in the shared memory."""

    def __init__(self, index, make_one, finish, memory, frames, actions, done):
        self.index, self.make_one, self.finish, self.memory = index, make_one, finish, memory
        self.layout, self.fields = None, {}
        self.place, self.action, self.done = frames[index], actions[index], done[index : index + 1]
        self.env, self.frame, self.seed, self.episode = None, None, 0, 0

    def start(self):
        self.env = self.make_one()

    def reset(self, seed):
        self.seed, self.episode = seed, 0
        self.done[0] = False
        self.frame, info = self.env.reset(seed)
        if self.layout is None:
            arrays = {name: np.asarray(value) for name, value in info.items()}
            self.layout = [(name, array.dtype.str, array.shape) for name, array in arrays.items()]
            self.fields = self.memory.infos_as(self.layout)
        self.tell(info)
        return self.layout

    def step(self):
        self.frame, done, info = self.env.step(self.action.copy())
        self.done[0] = done
        if done:
            self.episode += 1
            self.frame, info = self.env.reset(episode_seed(self.seed, self.episode))
        self.tell(info)

    def tell(self, info):
        """Put the info where the parent sees it."""
        if info.keys() != self.fields.keys():
            raise ValueError(f"an info has {sorted(info)}, not {sorted(self.fields)}")
        for name, value in info.items():
            self.fields[name][self.index] = value

    def show(self):
        """Put the frame where the parent sees it."""
        frame = self.frame if self.finish is None else self.finish(self.frame)
        if frame.dtype != np.uint8 or frame.shape != self.place.shape:
            raise ValueError(f"a frame is {frame.dtype} {frame.shape}, not uint8 {self.place.shape}")
        self.place[...] = frame


def _do(seats, command, *arguments):
    """Do ``command`` in every seat, with its own of each of ``arguments``.

    Returns what the parent is told: ("ok", what the last seat returned) or ("error", ...).
    """
    try:
        for seat, *mine in zip(seats, *arguments, strict=True):
            told = getattr(seat, command)(*mine)
        if command != "start":
            for seat in seats:
                seat.show()
    except Exception as error:  # noqa: BLE001 - the parent raises it
        reason = " ".join(f"{type(error).__name__}: {error}".split())  # one line
        return "error", seat.index, reason, traceback.format_exc()
    return "ok", told
