"""The worker's side of ``workers``: one process, the environments it steps, and what it shares with the parent.

It imports nothing of JAX, so that it starts in well under a second.
"""

import contextlib
import ctypes
import os
import pickle
import shutil
import signal
import sys
import traceback
from typing import Protocol

import numpy as np

INFO_BYTES = 1024  # of shared memory for the info of one environment


class SingleEnv(Protocol):
    """One environment, as a worker drives it. It needs no auto-restart: the worker does that.

    Every info has the same names, shapes and types as that of the first reset, and at most ``INFO_BYTES``.
    """

    def reset(self, seed: int):
        """Start the episode of ``seed``: (frame uint8 ``[H, W, 3]`` or what ``finish`` makes one of, info dict)."""

    def step(self, action):
        """Do int32 ``[A]``: returns (frame, done, info); frame and info are ignored if done."""

    def close(self) -> None:
        """End what the environment started."""


def episode_seed(seed, episode):
    """Seed of the ``episode``-th episode (0 is the first) of an environment reset with ``seed``."""
    if episode == 0:
        return int(seed)
    return int(np.random.SeedSequence([int(seed), int(episode)]).generate_state(1)[0])


class SharedMemory:
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


def send(pipe, message):
    """What ``pipe.send`` does, but with the plain pickler: in a third of the time."""
    pipe.send_bytes(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))


def receive(pipe):
    """The next message, once it is there; EOFError where the other side has gone."""
    return pickle.loads(pipe.recv_bytes())


def work(pipe, directory, stderr, core, make_one, share, memory, finish):
    """A worker's life: make the environments, answer until asked to close or the parent is gone."""
    with open(stderr, "ab") as file:  # its engines' as well; the parent tells the end of it if they fail
        os.dup2(file.fileno(), 2)
    os.unlink(stderr)
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
            send(pipe, _do(seats, "start"))
            while True:
                command, group, *arguments = receive(pipe)
                if command == "close":
                    break
                send(pipe, _do(groups[group], command, *arguments))
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
            if not np.isfinite(value).all():
                raise ValueError(f"the info {name!r} is not finite: {value}")
            self.fields[name][self.index] = value

    def show(self):
        """Put the frame where the parent sees it."""
        frame = self.frame if self.finish is None else self.finish(self.frame)
        if frame.dtype != np.uint8 or frame.shape != self.place.shape:
            raise ValueError(f"a frame is {frame.dtype} {frame.shape}, not uint8 {self.place.shape}")
        self.place[...] = frame


def _do(seats, command, *arguments):
    """Do ``command`` in every seat, with its own of each of ``arguments``.

    Returns the answer: ("ok", what the last seat returned) or ("error", ...).
    """
    try:
        for seat, *mine in zip(seats, *arguments, strict=True):
            answer = getattr(seat, command)(*mine)
        if command != "start":
            for seat in seats:
                seat.show()
    except Exception as error:  # noqa: BLE001 - the parent raises it
        reason = " ".join(f"{type(error).__name__}: {error}".split())  # one line
        return "error", seat.index, reason, traceback.format_exc()
    return "ok", answer
