"""A toy environment whose frames are a function of its seed and its actions, and which can fail on purpose."""

import os
import time

import numpy as np

from prowl_jax.actions import ActionSpec, choice

SPEC = ActionSpec((choice("move", "forward", "back"),))
FRAME_SHAPE = (4, 4, 3)
FAULTS = ("die", "raise", "hang", "shape", "nan")
FAULTY = 1000  # a seed of FAULTY + i begins an episode with FAULTS[i] in its third step


def frame_of(seed, moves):
    """The frame after ``moves``, a list of what was done since the reset."""
    return np.full(FRAME_SHAPE, (seed + sum((i + 1) * m for i, m in enumerate(moves))) % 256, np.uint8)


class Toy:
    """A ``worker_process.SingleEnv``."""

    def reset(self, seed):
        self.seed, self.moves = seed, []
        return self._see()

    def step(self, action):
        self.moves.append(int(action[0]))
        fault = FAULTS[self.seed - FAULTY] if 0 <= self.seed - FAULTY < len(FAULTS) and len(self.moves) == 3 else ""
        if fault == "die":
            os._exit(7)
        if fault == "raise":
            raise OSError("the engine has gone")
        if fault == "hang":
            time.sleep(600)
        frame, info = self._see()
        if fault == "shape":
            frame = frame[:2]
        if fault == "nan":
            info = {"pose": np.float32(np.nan)}
        return frame, False, info

    def close(self):
        pass

    def _see(self):
        return frame_of(self.seed, self.moves), {"pose": np.float32(len(self.moves))}
