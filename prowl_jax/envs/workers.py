"""Any single environment, made N times and stepped in worker processes.

A worker is a fresh interpreter ("spawn") that imports what its environment needs and nothing
of JAX, so it starts in well under a second. It lives in a temporary directory of its own,
does not hear Ctrl-C (the parent decides), and ends when its parent does. POSIX only.

Frames lie in memory that all share; a step is one short message to each worker and one back.
"""

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


class SingleEnv(Protocol):
    """One environment, as a worker drives it. It needs no auto-restart: the worker does that."""

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
    """N environments in worker processes; a ``HostEnv``.

    Environment i depends on its own seed and actions alone, so the frames are the same for
    every number of workers.

    Args:
      make_one: makes one ``SingleEnv``; importable by name (it is pickled), so not a lambda
        and not defined in ``__main__``, which workers do not import.
      num_envs: N.
      workers: processes, at most N are started; envs are dealt out in contiguous runs.
      spec: the factors of the actions.
      frame_shape: ``(H, W, 3)``.
      finish: what makes an environment's frame one of ``frame_shape``, such as shrinking it; picklable.
        A worker does it once all its environments have stepped: in between, engines that draw would
        drive it out of the cache each time, and it would take twice as long.
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
        timeout: float = 60.0,
    ):
        if num_envs < 1 or workers < 1:
            raise ValueError(f"num_envs and workers must be positive, got {num_envs} and {workers}")
        self.spec, self.num_envs, self.frame_shape = spec, num_envs, tuple(frame_shape)
        self._timeout, self._started = timeout, False
        self._workers = []
        self._finalizer = weakref.finalize(self, _shut_down, self._workers)
        context = multiprocessing.get_context("spawn")
        shared = context.RawArray(ctypes.c_uint8, int(num_envs * np.prod(self.frame_shape)))
        self._frames = _as_frames(shared, self.frame_shape)
        try:
            with _quiet_start():
                for indices in np.array_split(np.arange(num_envs), min(workers, num_envs)):
                    task = make_one, [int(i) for i in indices], shared, self.frame_shape, finish
                    self._workers.append(_Worker(context, *task))
            for worker in self._workers:
                self._receive(worker, "start")
        except BaseException:
            self.close()
            raise

    def reset(self, seeds) -> Step:
        """Start every environment's episode from ``seeds``, non-negative ints ``[N]``."""
        seeds = np.asarray(seeds)
        if seeds.shape != (self.num_envs,) or seeds.dtype.kind not in "iu" or (seeds < 0).any():
            raise ValueError(f"seeds must be {self.num_envs} non-negative ints, got {seeds!r}")
        self._started = True
        return self._ask("reset", seeds.tolist())

    def step(self, actions) -> Step:
        """Do ``actions`` (int32 ``[N, A]``); ValueError names a factor that is out of range."""
        if not self._started:
            raise RuntimeError("reset the environments before the first step")
        actions = self.spec.check(actions)
        if actions.shape[0] != self.num_envs or actions.ndim != 2:
            raise ValueError(f"actions must be [{self.num_envs}, A], got {actions.shape}")
        return self._ask("step", actions)

    def close(self) -> None:
        """End all workers and remove their directories. Safe to call twice."""
        self._finalizer()
        self._workers = []

    def _ask(self, command, arguments):
        if not self._workers:
            raise RuntimeError("the environments are closed")
        try:
            for worker in self._workers:
                # A dead worker breaks the pipe here; receiving then says so in one place.
                with contextlib.suppress(OSError):
                    _send(worker.pipe, (command, arguments[worker.indices[0] : worker.indices[-1] + 1]))
            answers = [self._receive(worker, command) for worker in self._workers]
        except BaseException:  # Ctrl-C among them: answers still on their way would be mixed up
            self.close()
            raise
        done, infos = zip(*answers, strict=True)
        info = {name: np.concatenate([i[name] for i in infos]) for name in infos[0]}
        return Step(self._frames.copy(), np.concatenate(done), info)

    def _receive(self, worker, command):
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

    def __init__(self, context, make_one, indices, *frames):
        self.indices = indices
        self.name = f"the worker of environments {indices[0]}..{indices[-1]}"
        self.directory = tempfile.mkdtemp(prefix="prowl-worker-")
        self.pipe, theirs = context.Pipe()
        arguments = theirs, self.directory, make_one, indices, *frames
        self.process = context.Process(target=_work, args=arguments, daemon=True)
        self.process.start()
        theirs.close()  # so that the pipe ends when the worker does
        self._news = select.poll()
        for source in (self.pipe.fileno(), self.process.sentinel):
            self._news.register(source, select.POLLIN)

    def wait(self, seconds):
        """Whether it answers, or dies, within ``seconds``."""
        return bool(self._news.poll(1000 * seconds))


def _as_frames(shared, frame_shape):
    """The shared bytes as uint8 ``[N, H, W, 3]``."""
    return np.frombuffer(shared, np.uint8).reshape(-1, *frame_shape)


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


def _work(pipe, directory, make_one, indices, shared, frame_shape, finish):
    """A worker's life: make the environments, answer until told to close or the parent is gone."""
    # A process group of its own: Ctrl-C in the terminal does not reach the worker or what it
    # starts, and the parent can end the whole group if the worker is killed.
    os.setpgrp()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that ``finally`` runs
    for fd in os.listdir("/dev/fd"):
        # An engine that inherited our end of the pipe would hide our death from the parent.
        with contextlib.suppress(OSError):
            os.set_inheritable(int(fd), int(fd) <= 2)
    os.chdir(directory)
    frames = _as_frames(shared, frame_shape)
    seats = [_Seat(index, make_one, frames[index], finish) for index in indices]
    try:
        with contextlib.suppress(EOFError, OSError):  # of the pipe alone: the parent has gone
            _send(pipe, _answer(seats, "start", seats))
            while True:
                command, arguments = _receive(pipe)
                if command == "close":
                    break
                _send(pipe, _answer(seats, command, arguments))
    finally:
        for seat in seats:
            with contextlib.suppress(Exception):
                seat.env.close()
        os.chdir(os.path.dirname(directory))
        shutil.rmtree(directory, ignore_errors=True)


class _Seat:
    """One environment in a worker, with the count of its episodes and the place of its frames."""

    def __init__(self, index, make_one, place, finish):
        self.index, self.make_one, self.place, self.finish = index, make_one, place, finish
        self.env, self.frame, self.seed, self.episode = None, None, 0, 0

    def start(self, _):
        self.env = self.make_one()

    def reset(self, seed):
        self.seed, self.episode = seed, 0
        self.frame, info = self.env.reset(seed)
        return False, info

    def step(self, action):
        self.frame, done, info = self.env.step(action)
        if done:
            self.episode += 1
            self.frame, info = self.env.reset(episode_seed(self.seed, self.episode))
        return bool(done), info

    def show(self):
        """Put the frame where the parent sees it."""
        frame = self.frame if self.finish is None else self.finish(self.frame)
        if frame.dtype != np.uint8 or frame.shape != self.place.shape:
            raise ValueError(f"a frame is {frame.dtype} {frame.shape}, not uint8 {self.place.shape}")
        self.place[...] = frame


def _answer(seats, command, arguments):
    """Do ``command`` in every seat; what the parent is told: ("ok", result) or ("error", ...)."""
    rows = []
    try:
        for seat, argument in zip(seats, arguments, strict=True):
            rows.append(getattr(seat, command)(argument))
        if command == "start":
            return "ok", None
        for seat in seats:
            seat.show()
    except Exception as error:  # noqa: BLE001 - the parent raises it
        reason = " ".join(f"{type(error).__name__}: {error}".split())  # one line
        return "error", seat.index, reason, traceback.format_exc()
    done, infos = zip(*rows, strict=True)
    info = {name: np.stack([i[name] for i in infos]) for name in infos[0]}
    return "ok", (np.array(done, bool), info)
