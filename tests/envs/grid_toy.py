"""A toy single environment: a walker on a line, drawn as a bright column; it ends at the edge.

It can also misbehave on purpose, to test what the workers do about it.
"""

import os
import sys
import time

import numpy as np

from prowl_jax.actions import ActionSpec, Camera, camera, choice

SPEC = ActionSpec((choice("move", "forward", "back"), camera("yaw", Camera())))
FRAME_SHAPE = (4, 16, 3)


def left_half(frame):
    """To finish frames with."""
    return frame[:, :8]


class Line:
    """Starts at a place in 3..8 given by the seed; ends at 0 and at 15."""

    def reset(self, seed):
        self.seed = seed
        self.x, self.angle = int(np.random.default_rng(seed).integers(3, 9)), seed % 360
        return self._see()

    def step(self, action):
        self.x += (0, 1, -1)[action[0]]
        self.angle = (self.angle - SPEC.factors[1].camera.decode(action[1])) % 360
        frame, info = self._see()
        return frame, self.x in (0, 15), info

    def close(self):
        pass

    def _see(self):
        frame = np.zeros(FRAME_SHAPE, np.uint8)
        frame[:, self.x] = 50 + self.seed % 200
        return frame, {"pose": np.array([self.x, 0, self.angle], np.float32)}


class Faulty(Line):
    """Misbehaves in its first step after a reset with the seed 13, as ``fault`` says."""

    def __init__(self, fault):
        self.fault = fault
        if fault == "start":
            raise OSError("no engine here")

    def step(self, action):
        if self.seed != 13:
            return super().step(action)
        if self.fault == "raise":
            raise ValueError("the walls\nare closing in")
        if self.fault == "die":
            os._exit(7)
        if self.fault == "hang":
            time.sleep(60)
        return super().step(action)


class Talkative(Line):
    """Its info holds more than a pose; with the seed 13 it forgets to say ``event_home``, or says too much."""

    def _see(self):
        frame, info = super()._see()
        info |= {"event_home": np.bool_(self.x == 8), "ways": np.arange(6, dtype=np.int64).reshape(2, 3) + self.x}
        if self.seed == 13:
            del info["event_home"]
        if self.seed == 14:
            info["ways"] = np.zeros(200)
        return frame, info


class Introspective(Line):
    """Its pose tells about the process: is JAX or pytest imported, is it in the directory given."""

    def _see(self):
        frame, _ = super()._see()
        with open("litter.txt", "w") as file:
            file.write("an engine leaves files behind")
        facts = ["jax" in sys.modules, "pytest" in sys.modules, "prowl-worker-" in os.getcwd()]
        return frame, {"pose": np.array(facts, np.float32)}
