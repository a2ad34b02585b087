"""Actions as named int factors: the one codec that environments, data and models share.

An action is an int32 vector ``[..., A]``; factor ``i`` takes values in ``0..sizes[i]-1``.
Environment adapters and dataset readers produce it, the world model embeds it, and a
policy is a product of one categorical per factor. Camera factors are mu-law bins of
degrees (VPT, arXiv 2206.11795, appendix on action discretisation), fine near zero.

This module needs numpy only, so that environment workers start fast.
"""

import dataclasses
import re

import numpy as np


@dataclasses.dataclass(frozen=True)
class Camera:
    """A camera axis cut into an odd number of mu-law bins; the middle bin is 0 degrees.

    Attributes:
      max_degrees: the outermost bin, in degrees a step; larger moves are clipped.
      bins: number of bins, odd.
      mu: mu-law constant; larger is finer near zero.
    """

    max_degrees: float = 10.0
    bins: int = 11
    mu: float = 10.0

    def __post_init__(self):
        if self.bins < 3 or self.bins % 2 == 0:
            raise ValueError(f"camera bins must be odd and at least 3, not {self.bins}")
        if not self.max_degrees > 0 or not self.mu > 0:
            raise ValueError("camera max_degrees and mu must be positive")

    def encode(self, degrees):
        """Degrees, any shape -> int32 bins in ``0..bins-1`` (half to even, as in VPT)."""
        x = np.clip(np.asarray(degrees, np.float64) / self.max_degrees, -1.0, 1.0)
        y = np.sign(x) * np.log1p(self.mu * np.abs(x)) / np.log1p(self.mu)
        return np.round((y + 1.0) / 2.0 * (self.bins - 1)).astype(np.int32)

    def decode(self, bins):
        """Int bins, any shape -> degrees (float64) at the centres of the bins, VPT's to the last bit."""
        y = (np.asarray(bins) * 2.0 - (self.bins - 1)) / (self.bins - 1)
        return np.sign(y) * (1.0 / self.mu) * ((1.0 + self.mu) ** np.abs(y) - 1.0) * self.max_degrees

    @property
    def degrees(self):
        """Degrees of every bin: a tuple of ``bins`` floats."""
        return tuple(float(d) for d in self.decode(np.arange(self.bins)))


@dataclasses.dataclass(frozen=True)
class Factor:
    """One factor of an action: a choice among ``labels``, or a camera axis.

    Attributes:
      name: for example ``"move"`` or ``"yaw"``.
      labels: what each value means.
      camera: the camera axis, where this factor is one.
      still: the value that does nothing, where this factor is no camera axis.
    """

    name: str
    labels: tuple
    camera: Camera | None = None
    still: int = 0

    @property
    def size(self):
        """Number of values."""
        return len(self.labels)

    @property
    def null(self):
        """The value that does nothing: ``still``, or the middle bin of a camera axis."""
        return self.camera.bins // 2 if self.camera else self.still

    @property
    def rests(self):
        """Whether ``null`` does nothing as far as its label tells; where not, it is one of several that all do."""
        label = self.labels[self.null].lower()
        numbers = re.findall(r"[+-][\d.]+", label)
        zero = numbers and not any(number.strip("+-0.") for number in numbers)
        return bool(self.camera or zero or label in ("", "as before", *NOTHING))

    def said(self, value):
        """A value's label, and of which factor it is a number."""
        label = self.labels[value]
        return f"{self.name} {label}" if self.camera or re.fullmatch(r"[+-]?[\d.]+", label) else label


NOTHING = ("noop", "no-op", "no_op", "nop", "nothing", "none", "idle", "still", "stay", "done")
"""What values that do nothing are called; ``done`` in MiniGrid and MiniWorld."""


def choice(name, *labels):
    """A factor whose value 0 is "nothing" and whose further values are ``labels``."""
    return Factor(name, ("", *labels))


def camera(name, axis=Camera()):
    """A camera factor; its labels are the signed degrees of its bins."""
    return Factor(name, tuple(f"{d:+.1f}" for d in axis.degrees), axis)


@dataclasses.dataclass(frozen=True)
class ActionSpec:
    """The factors of an environment's actions, in order.

    Two environments can share a world model or a policy when their specs are equal.
    """

    factors: tuple

    @property
    def names(self):
        """Names of the factors."""
        return tuple(f.name for f in self.factors)

    @property
    def sizes(self):
        """Number of values of each factor, ``A`` ints."""
        return tuple(f.size for f in self.factors)

    @property
    def null(self):
        """The action that does nothing, int32 ``[A]``."""
        return np.array([f.null for f in self.factors], np.int32)

    @property
    def camera_factors(self):
        """Indices of the factors that turn the camera."""
        return tuple(i for i, f in enumerate(self.factors) if f.camera)

    def index(self, name):
        """Position of the factor called ``name``; KeyError names those there are."""
        if name not in self.names:
            raise KeyError(f"no action factor {name!r}; there are {', '.join(self.names)}")
        return self.names.index(name)

    def check(self, actions):
        """Return ``actions`` as int32 ``[..., A]``; ValueError names the factor that is off."""
        actions = np.asarray(actions)
        if actions.shape[-1:] != (len(self.factors),) or actions.dtype.kind not in "iu":
            raise ValueError(
                f"actions must be ints [..., {len(self.factors)}], got {actions.dtype} {actions.shape}"
            )
        off = (actions < 0) | (actions >= np.array(self.sizes))
        if off.any():
            i = int(off.reshape(-1, len(self.factors)).any(axis=0).argmax())
            factor, column = self.factors[i], actions[..., i]
            raise ValueError(
                f"action factor {factor.name!r} must be in 0..{factor.size - 1}, "
                f"got {column.min()}..{column.max()}"
            )
        return actions.astype(np.int32)

    def camera_speed(self, actions):
        """Degrees a step, ``sqrt(dpitch^2 + dyaw^2)``: int ``[..., A]`` -> float ``[...]``.

        The tripwire of PROWL's figure 2c is the mean of this over steps.
        """
        actions = np.asarray(actions)
        squares = np.zeros(actions.shape[:-1])
        for i in self.camera_factors:
            squares = squares + self.factors[i].camera.decode(actions[..., i]) ** 2
        return np.sqrt(squares)

    def describe(self, action):
        """One action ``[A]`` as words, such as ``"forward, yaw +3.2"``; "" for none."""
        pairs = zip(self.factors, np.asarray(action).tolist(), strict=True)
        return ", ".join(factor.said(value) for factor, value in pairs if value != factor.null or not factor.rests)

    def to_json(self):
        """A JSON-able list from which ``from_json`` makes an equal spec."""
        return [dataclasses.asdict(f) for f in self.factors]

    @classmethod
    def from_json(cls, rows):
        """The inverse of ``to_json``."""
        return cls(
            tuple(
                Factor(
                    r["name"],
                    tuple(r["labels"]),
                    Camera(**r["camera"]) if r["camera"] else None,
                    r.get("still", 0),  # a store may leave it out
                )
                for r in rows
            )
        )
