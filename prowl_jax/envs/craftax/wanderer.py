"""Who shows what the actions of Craftax do: a walk that stops at what is in the way, and tries things."""

import numpy as np

WALKS = ("left", "right", "up", "down")


class Wanderer:
    """Walks stretches of a few steps; hits, drinks or digs what it bumps into; places and makes things now and then.

    It knows where it stands (the pose) and nothing else: most of what it tries to place or make comes to nothing, as it
    does for somebody who is new to the game. It seldom sleeps: that lasts long, and shows little.

    Args:
      spec: of one factor, whose labels are Craftax's actions.
    """

    def __init__(self, spec):
        self._value = {label: i for i, label in enumerate(spec.factors[0].labels)}
        self._things = [label for label in self._value if label.startswith(("place_", "make_"))]
        self.reset(0)

    def reset(self, seed):
        """Begin an episode."""
        self._rng, self._plan, self._stood, self._walked = np.random.default_rng(seed), [], None, False

    def act(self, pose, frame=None):
        """The next action, int32 ``[1]``; ``pose`` is x, y and the direction."""
        bumped = self._walked and self._stood is not None and (pose[:2] == self._stood).all()
        if bumped and self._rng.random() < 0.7:
            self._plan = ["do"] * int(self._rng.integers(1, 6))
        elif bumped or not self._plan:
            self._plan = self._something()
        what = self._plan.pop(0)
        self._stood, self._walked = np.array(pose[:2]), what in WALKS
        return np.array([self._value[what]], np.int32)

    def _something(self):
        kind = self._rng.random()
        if kind < 0.7:
            return [str(self._rng.choice(WALKS))] * int(self._rng.integers(1, 9))
        if kind < 0.8:
            return ["do"] * int(self._rng.integers(1, 4))
        if kind < 0.93:
            return [str(self._rng.choice(self._things))]
        return ["sleep"] if kind < 0.933 else ["noop"] * int(self._rng.integers(1, 4))
