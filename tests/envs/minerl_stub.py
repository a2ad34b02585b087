"""A stub of MineRL 1.0: it copies the published contract and has nothing of Minecraft in it.

What is copied, from MineRL's public code and documentation: the dict of 23 keys and the camera; the
observation ``{"pov": uint8 (360, 640, 3)}``; ``seed`` before ``reset``, which forgets it; the 4-tuple
of ``step``; ``ESC`` ending an episode; that stepping a finished episode raises; that a broken
connection ends the episode with a random observation and ``info["error"]``; and a game process in a
session of its own, which outlives a worker that is killed. ``location_stats`` are as in MineRL's
survival environments. Standard library and numpy only, as it runs in the worker's Python.

The task's name says how it misbehaves, ``NAME?fault=...&at=STEP&seed=SEED&marker=FILE``: in step
``at`` of an episode of ``seed``; with ``marker`` only as long as this file does not exist.
"""

import os
import signal
import subprocess
import sys
import time
import urllib.parse

import numpy as np

KEYS = ["ESC", "attack", "back", "drop", "forward", *(f"hotbar.{i}" for i in range(1, 10)), "inventory",
        "jump", "left", "pickItem", "right", "sneak", "sprint", "swapHands", "use"]  # fmt: skip
MARK = 7  # the colour of a corner of every true frame
MINUTE = 1200


def make(task):
    """The factory: 4-tuples, or with ``Studio`` in the name what MineStudio's simulator returns."""
    name, _, query = task.partition("?")
    options = dict(urllib.parse.parse_qsl(query))
    if name == "unknown":
        raise KeyError("no environment\nof this name")
    return Studio(options) if "Studio" in name else Stub(options)


class ActionSpace:
    def no_op(self):
        return {**dict.fromkeys(KEYS, 0), "camera": np.zeros(2, np.float32)}


class ObservationSpace:
    def sample(self):
        return {"pov": np.random.randint(100, 256, (360, 640, 3)).astype(np.uint8)}


class Stub:
    def __init__(self, options):
        self.options = options
        self.action_space, self.observation_space = ActionSpace(), ObservationSpace()
        self.next_seed, self.done, self.game = None, True, None
        self.length = int(options.get("length", 3 * MINUTE))

    def seed(self, seed):
        assert isinstance(seed, int), "Seed must be an int!"
        self.next_seed = seed

    def reset(self):
        if self.game is None:
            self.game = subprocess.Popen(["sleep", "600"], start_new_session=True)
            print("a game that talks", self.game.pid, flush=True)
        self.world = self.next_seed if self.next_seed is not None else int.from_bytes(os.urandom(3), "little")
        self.next_seed = None
        rng = np.random.RandomState(self.world)
        self.x, self.z, self.yaw = rng.uniform(-50, 50), rng.uniform(-50, 50), rng.uniform(-180, 180)
        self.pitch, self.steps, self.done = 0.0, 0, False
        self.texture = np.repeat(np.repeat(rng.randint(20, 250, (36, 64, 3)), 10, 0), 10, 1).astype(np.uint8)
        if self.struck("reset"):
            os._exit(9)
        return self.see()

    def step(self, action):
        if self.done:
            raise RuntimeError("Attempted to step an environment server with done=True")
        assert set(action) == {*KEYS, "camera"}, sorted(action)
        assert action["camera"].shape == (2,) and np.abs(action["camera"]).max() <= 180
        self.steps += 1
        for fault in ("die", "hang", "freeze", "raise", "error"):
            if self.struck(fault):
                return getattr(self, fault)()
        self.pitch = float(np.clip(self.pitch + action["camera"][0], -90, 90))
        self.yaw = (self.yaw + float(action["camera"][1]) + 180) % 360 - 180
        ahead = action["forward"] - action["back"]
        self.x -= 0.2 * ahead * np.sin(np.radians(self.yaw))
        self.z += 0.2 * ahead * np.cos(np.radians(self.yaw))
        self.told = action
        self.done = action["ESC"] == 1 or self.steps >= self.length
        return self.see(), 0.0, self.done, {}

    def struck(self, fault):
        o = self.options
        if o.get("fault") != fault or self.steps != int(o.get("at", 0)) or self.world != int(o.get("seed", self.world)):
            return False
        if "marker" in o:
            if os.path.exists(o["marker"]):
                return False
            open(o["marker"], "w").close()
        return True

    def die(self):
        os._exit(7)

    def hang(self):
        time.sleep(600)

    def freeze(self):
        os.kill(os.getpid(), signal.SIGSTOP)

    def error(self):
        self.done = True
        return self.observation_space.sample(), 0, True, {"error": "Connection timed out!"}

    def __getattr__(self, name):
        if name == "raise":
            raise RuntimeError("the connection\nis gone")
        raise AttributeError(name)

    def see(self):
        pov = np.roll(self.texture, (int(2 * self.pitch), -int(2 * self.yaw)), (0, 1))
        pov[300:, 200:440] = np.uint8(self.steps % 200)
        pov[:40, :40] = MARK
        stats = {"xpos": np.array(self.x), "zpos": np.array(self.z), "yaw": np.array(self.yaw), "pitch": self.pitch}
        if "blind" in self.options:  # as in BASALT
            return {"pov": pov}
        if "tell" in self.options:  # about the process, for the tests
            here = "prowl_jax" in sys.modules or any(p.endswith("prowl_jax/envs") for p in sys.path)
            stats["xpos"], stats["zpos"] = int(here), -int(os.environ.get("PYTHONPATH", "") != "")
        if "echo" in self.options and self.steps:  # which keys are down, as bits, and the camera
            pitch, yaw = self.told["camera"]
            stats = {"xpos": sum(self.told[key] << i for i, key in enumerate(KEYS)), "zpos": -pitch, "yaw": -90 - yaw}
        return {"pov": pov, "location_stats": stats}

    def close(self):
        if self.game is not None:
            self.game.kill()
            self.game.wait()


class Studio:
    """MineStudio's simulator: 5-tuples, a number called ``seed``, the true picture in the info."""

    def __init__(self, options):
        self.env, self.seed = Stub(options), 0
        self.noop_action = self.env.action_space.no_op

    def reset(self):
        observation = self.env.reset()
        return {"image": observation["pov"][::2, ::2]}, dict(observation)

    def step(self, action):
        observation, reward, done, info = self.env.step(action)
        return {"image": observation["pov"][::2, ::2]}, reward, done, done, {**info, **observation}

    def close(self):
        self.env.close()
