"""The actions that an inverse dynamics model reads off the dream, beside those that were told it."""

import collections

import jax
import numpy as np

from prowl_jax.rl import categorical

WINDOW = 8
"""Dreamt frames that it is shown."""
SURE = slice(1, 6)
"""Steps of a window with two frames before and two after them: what it reads there is kept."""


def make_reader(played):
    """``f(frames uint8 [WINDOW, H, W, 3]) -> int [WINDOW - 1, A]``; None where there is no such model."""
    if played.judge is None:
        return None
    model, params = played.judge
    read = jax.jit(lambda params, frames: categorical.mode(model.apply(params, frames[None])[0], model.sizes))
    return lambda frames: np.asarray(read(params, frames))


class Strip:
    """The last dreamt frames of one person, and what was read off them."""

    def __init__(self):
        self.begin()

    def begin(self):
        """Another dream begins."""
        self._shown, self._read, self._upto = collections.deque(maxlen=WINDOW), [], 0

    def show(self, tick, frame):
        """A dreamt frame ``[H, W, 3]``, of a tick."""
        self._shown.append((tick, frame))

    def due(self):
        """Whether there is a window with steps that are not read yet."""
        return len(self._shown) == WINDOW and self._shown[SURE.stop][0] > self._upto

    def read(self, reader):
        """Read the newest window; may run beside the next tick."""
        ticks, frames = zip(*list(self._shown), strict=True)
        actions = reader(np.stack(frames))
        rows = [(tick, action.tolist()) for tick, action in zip(ticks[1:][SURE], actions[SURE], strict=True)]
        self._read += [row for row in rows if row[0] > self._upto]
        self._upto = max(self._upto, rows[-1][0])

    def take(self):
        """What was read since the last call: [(tick, action), ...]; the action led to the frame of its tick."""
        read, self._read = self._read, []
        return read
