"""A random policy that moves like a hand: keys are held for a while, a camera is moved in strokes.

Where nobody has written a demonstrator for a game, this shows what its actions do. Values drawn anew in every step
would average out before anything has happened, and a world model would learn that actions do little.
"""

import dataclasses

import numpy as np

from prowl_jax.actions import ActionSpec
from prowl_jax.settings import SHARE, Check, setting

_STEPS = Check(
    lambda v: len(v) == 2 and 1 <= v[0] <= v[1] and all(isinstance(n, int) for n in v),
    "is not (least, most) steps, at least 1",
)


@dataclasses.dataclass(frozen=True)
class HandSettings:
    """How long and how often something is pressed."""

    hold: tuple = setting((2, 16), "least and most steps that a value is held, log-uniform", _STEPS)
    stroke: tuple = setting((2, 8), "least and most steps of one movement of a camera", _STEPS)
    rest: float = setting(0.3, "chance that a factor then does nothing, where it has a value for that", SHARE)


class Hands:
    """Each factor by itself: a value drawn and held, or a rest; a camera's axis: a stroke that swells and fades.

    The length of a hold is log-uniform over ``hold``; the speed of a stroke follows half a sine (the bell of a hand's
    velocity, Flash and Hogan 1985, is close to it) up to a peak drawn uniformly over the camera's bins.

    Args:
      spec: any factors.
      settings: ``HandSettings``.
    """

    def __init__(self, spec: ActionSpec, settings: HandSettings = HandSettings()):
        self.spec, self.settings = spec, settings
        self.reset(0)

    def reset(self, seed):
        """Begin an episode, all keys up."""
        self.rng = np.random.default_rng(seed)
        self.plans = [[] for _ in self.spec.factors]

    def act(self, pose=None, frame=None):
        """The next action, int32 ``[A]``; it depends on nothing that is seen."""
        for plan, factor in zip(self.plans, self.spec.factors, strict=True):
            if not plan:
                plan += self._stroke(factor) if factor.camera else self._hold(factor)
        return np.array([plan.pop(0) for plan in self.plans], np.int32)

    def _hold(self, factor):
        values = list(range(factor.size))
        if factor.size > 1 and factor.rests:
            values.remove(factor.null)
            values = [factor.null] if self.rng.random() < self.settings.rest else values
        return [int(self.rng.choice(values))] * self._steps(self.settings.hold)

    def _stroke(self, factor):
        steps = self._steps(self.settings.stroke)
        if self.rng.random() < self.settings.rest:
            return [factor.null] * steps
        peak = factor.camera.degrees[self.rng.integers(factor.size)]
        speed = np.sin(np.pi * (np.arange(steps) + 0.5) / steps)
        return factor.camera.encode(peak * speed / speed.max()).tolist()

    def _steps(self, bounds):
        low, high = bounds
        return int(np.exp(self.rng.uniform(np.log(low), np.log(high + 1))))


class Restless:
    """All values equally likely in every step, whatever was before: not how anybody plays."""

    def __init__(self, spec: ActionSpec):
        self.spec = spec
        self.reset(0)

    def reset(self, seed):
        """Begin an episode."""
        self.rng = np.random.default_rng(seed)

    def act(self, pose=None, frame=None):
        """The next action, int32 ``[A]``."""
        return self.rng.integers(0, self.spec.sizes).astype(np.int32)
