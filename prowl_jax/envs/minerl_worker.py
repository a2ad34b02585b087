"""Drives one Minecraft for ``envs/minerl.py``, in another Python: MineRL wants numpy < 1.24 and gym 0.23.

A script, started as ``python minerl_worker.py DIRECTORY`` and never imported by prowl_jax. It and
``area_average.py`` beside it need the standard library and numpy only, Python 3.8 or later.

Messages go over standard input and output, each a pair of little-endian uint32 (bytes of the
header, bytes of the body), the header as JSON, and the body: a frame, uint8 row by row, or nothing.

  to the worker     {"command": "start", "make", "task", "frame_size"}, {"command": "reset", "seed"},
                    {"command": "step", "pressed": [keys], "camera": [pitch, yaw]}, {"command": "close"}
  from the worker   {"kind": "beat"} once a second while a command is being done, then one of
                    {"kind": "ok", "done", "shape", "pose"} with a frame as the body (none if done),
                    {"kind": "broken", "reason"}: the environment itself says that what it shows is noise,
                    {"kind": "error", "reason", "trace"}: it raised

What Minecraft and its libraries print goes to DIRECTORY/log.txt, which is also where they run.
"""

import importlib
import importlib.util
import json
import os
import shutil
import signal
import struct
import sys
import threading
import time
import traceback

import numpy as np
from area_average import AreaAverage

# Beside this script lies a ``minerl.py`` that is not MineRL.
_HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [path for path in sys.path if os.path.abspath(path) != _HERE]

BEAT_SECONDS = 1.0
CLOSE_SECONDS = 20.0
_LENGTHS = struct.Struct("<II")


def minerl(task):
    """MineRL 1.0: ``gym.make`` of a registered environment, such as MineRLBasaltFindCave-v0."""
    gym = importlib.import_module("gym")
    importlib.import_module("minerl")  # registers the environments
    return gym.make(task)


def minestudio(task):
    """MineStudio's simulator on its fork of MineRL; the task is a biome to start in, or ""."""
    simulator = importlib.import_module("minestudio.simulator")
    return simulator.MinecraftSim(action_type="env", preferred_spawn_biome=task or None)


def factory(name):
    """What makes an environment: "minerl", "minestudio", "module:function" or "file.py:function"."""
    if name in ("minerl", "minestudio"):
        return globals()[name]
    place, _, function = name.rpartition(":")
    if not place or not function:
        raise ValueError(f"make must be minerl, minestudio, module:function or file.py:function, not {name!r}")
    if not place.endswith(".py"):
        return getattr(importlib.import_module(place), function)
    spec = importlib.util.spec_from_file_location("environment_factory", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, function)


class Broken(Exception):
    """The environment says that its observation is not to be used."""


class Game:
    """An environment of MineRL's interface, with the differences between its forks evened out."""

    def __init__(self, env, frame_size):
        self.env, self.frame_size, self.shrink = env, tuple(frame_size), None

    def reset(self, seed):
        """Start the episode of ``seed``: (header, frame). MineRL forgets its seed at every reset."""
        arguments = {}
        if callable(getattr(self.env, "seed", None)):
            self.env.seed(seed)
        elif callable(getattr(getattr(self.env, "env", None), "seed", None)):
            self.env.env.seed(seed)  # MineStudio's simulator has a number under this name
        else:
            arguments = {"seed": seed}
        result = self.env.reset(**arguments)
        observation, info = result if isinstance(result, tuple) else (result, {})
        return self._see(observation, info, False)

    def step(self, pressed, camera):
        """One step with the keys of ``pressed`` down: (header, frame)."""
        result = self.env.step(self._action(pressed, camera))
        observation, done, info = result[0], any(result[2:-1]), result[-1]  # a 4-tuple or a 5-tuple
        return self._see(observation, info, done)

    def _action(self, pressed, camera):
        """The environment's own null action, filled in. ESC ends an episode and is never pressed."""
        no_op = getattr(self.env, "noop_action", None) or self.env.action_space.no_op
        action = dict(no_op())
        action.update({key: 1 for key in pressed if key in action})
        action["camera"] = np.array(camera, np.float32)
        if "ESC" in action:
            action["ESC"] = 0
        return action

    def _see(self, observation, info, done):
        if "error" in info:  # the observation is a random sample of its space
            raise Broken(str(info["error"]))
        if done:
            return {"kind": "ok", "done": True}, b""
        frame = observation.get("pov", info.get("pov", observation.get("image")))
        frame = np.asarray(frame)
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise ValueError(f"pov must be uint8 [H, W, 3], got {frame.dtype} {frame.shape}")
        if frame.shape[:2] != self.frame_size:
            if self.shrink is None or self.shrink.columns.shape[1] != frame.shape[1]:
                self.shrink = AreaAverage(frame.shape[:2], self.frame_size)
            frame = self.shrink(frame)
        header = {"kind": "ok", "done": False, "shape": frame.shape, "pose": _pose(observation, info)}
        return header, np.ascontiguousarray(frame).tobytes()

    def close(self):
        self.env.close()


def _pose(observation, info):
    """[east, north, degrees to the left of east] where the environment tells, else None.

    Minecraft's x runs east and its z south; its yaw is 0 to the south and grows to the right.
    """
    stats = observation.get("location_stats", info.get("location_stats"))
    if stats is None:
        return None
    x, z, yaw = (float(np.asarray(stats[name]).reshape(-1)[0]) for name in ("xpos", "zpos", "yaw"))
    return [x, -z, (-yaw - 90.0) % 360.0]


class Pipe:
    """Messages, each way; two threads may send."""

    def __init__(self, reading, writing):
        self.reading, self.writing = os.fdopen(reading, "rb"), os.fdopen(writing, "wb")
        self.lock = threading.Lock()

    def receive(self):
        """The next header, or None when the parent has gone."""
        lengths = self.reading.read(_LENGTHS.size)
        if len(lengths) < _LENGTHS.size:
            return None
        header = self.reading.read(_LENGTHS.unpack(lengths)[0])  # commands have no body
        return json.loads(header.decode()) if header else None

    def send(self, header, body=b""):
        text = json.dumps(header).encode()
        with self.lock:
            self.writing.write(_LENGTHS.pack(len(text), len(body)) + text + body)
            self.writing.flush()


def beat(pipe, busy):
    """A thread's life: say once a second that the process lives, while a command is being done."""
    while True:
        busy.wait()
        try:
            pipe.send({"kind": "beat"})
        except OSError:  # the parent has gone, and a command may never end
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(CLOSE_SECONDS)
            os._exit(1)
        time.sleep(BEAT_SECONDS)


def serve(pipe):
    """Answer until told to close, or until the parent is gone."""
    busy, game = threading.Event(), None
    threading.Thread(target=beat, args=(pipe, busy), daemon=True).start()
    try:
        while True:
            message = pipe.receive()
            command = message.pop("command") if message else "close"
            if command == "close":
                break
            busy.set()
            try:
                if command == "start":
                    game = Game(factory(message["make"])(message["task"]), message["frame_size"])
                    reply = {"kind": "ok"}, b""
                else:
                    reply = getattr(game, command)(**message)
            except Broken as error:
                reply = {"kind": "broken", "reason": str(error)}, b""
            except Exception as error:  # noqa: BLE001 - the parent decides
                reason = f"{type(error).__name__}: {error}"
                reply = {"kind": "error", "reason": reason, "trace": traceback.format_exc()}, b""
            busy.clear()
            pipe.send(*reply)
    except OSError:  # of the pipe: the parent has gone
        pass
    finally:
        if game is not None:
            game.close()


def main(directory):
    """Take standard input and output for the messages, and give what prints a log."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that ``finally`` runs
    os.chdir(directory)
    pipe = Pipe(os.dup(0), os.dup(1))
    log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for standard, other in ((0, os.open(os.devnull, os.O_RDONLY)), (1, log), (2, log)):
        os.dup2(other, standard)
    try:
        serve(pipe)
    finally:
        os.chdir("/")
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1])
