"""What hands do between two steps, and what a third panel shows: another arm, or the same dream under other actions."""

import numpy as np

STILL, MIRRORED = "does nothing", "mirrored"
CARRIED = 90.0
"""Degrees that a fast mouse may be ahead of the camera."""


class Hands:
    """Keys that are held, and a camera that moved: an action for every step.

    Attributes:
      stamp: the page's clock of what was heeded last.
    """

    def __init__(self, spec):
        self._spec, self.stamp = spec, 0.0
        self._held, self._turn = {}, {}
        self._moved = dict.fromkeys((spec.factors[i].name for i in spec.camera_factors), 0.0)

    def heed(self, act):
        """Take in a ``messages.Act``."""
        self._held, self._turn, self.stamp = act.held, act.turn, act.stamp
        for name, degrees in act.camera.items():
            self._moved[name] = max(-CARRIED, min(CARRIED, self._moved[name] + degrees))

    def next(self):
        """The next action, int32 ``[A]``; what the camera cannot turn in one step is left for those after it."""
        action = self._spec.null.copy()
        for name, value in self._held.items():
            action[self._spec.index(name)] = value
        for i in self._spec.camera_factors:
            factor = self._spec.factors[i]
            wanted = self._moved[factor.name] + self._turn.get(factor.name, 0.0)
            action[i] = factor.camera.encode(wanted)
            left = wanted - float(factor.camera.decode(action[i]))  # bins are coarse: what one does not turn, others do
            self._moved[factor.name] = max(-CARRIED, min(CARRIED, left))
        return action


def described_factors(spec):
    """The factors of an ``ActionSpec`` as a page must know them, JSON."""
    return [
        {"name": f.name, "labels": f.labels, "null": f.null, "degrees": f.camera.degrees if f.camera else None}
        for f in spec.factors
    ]


def thirds(played):
    """What a third panel can show, by name."""
    names = ["none", *(arm for arm in played.params if arm != played.dreamer), STILL]
    return names + [MIRRORED] * any((column != np.arange(len(column))).any() for column in _mirror(played.spec))


def third_of(played, name):
    """(arm, ``f(actions [G, A]) -> actions``) of a third panel."""
    if name == STILL:
        return played.dreamer, lambda actions: np.broadcast_to(played.spec.null, actions.shape)
    if name == MIRRORED:
        columns = _mirror(played.spec)
        return played.dreamer, lambda a: np.stack([c[a[:, i]] for i, c in enumerate(columns)], 1).astype(np.int32)
    return name, lambda actions: actions


def _mirror(spec):
    """For each factor, what its values become where left and right are exchanged.

    The camera turns sideways by the factor ``yaw``, or where none is called so, by the first that is not ``pitch``.
    """
    cameras = [spec.factors[i].name for i in spec.camera_factors]
    sideways = "yaw" if "yaw" in cameras else next((name for name in cameras if name != "pitch"), None)
    columns = []
    for factor in spec.factors:
        column = np.arange(factor.size)
        labels = list(factor.labels)
        if factor.name == sideways:
            column = column[::-1]
        elif "left" in labels and "right" in labels:
            column[[labels.index("left"), labels.index("right")]] = labels.index("right"), labels.index("left")
        columns.append(column)
    return columns
