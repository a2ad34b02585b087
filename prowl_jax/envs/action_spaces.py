"""Any Gymnasium action space as factors: what a world model is told and a policy draws.

``Discrete``, ``MultiDiscrete``, ``MultiBinary`` and ``Dict`` or ``Tuple`` of them have whole numbers already. Each
dimension of a ``Box`` is cut into bins, by equal steps or by the mu-law (VPT, arXiv 2206.11795), fine near zero.
Imported by environment workers: it knows no JAX, and Gymnasium only where a space is looked at.
"""

import dataclasses

import numpy as np

from prowl_jax.actions import NOTHING, ActionSpec, Camera, Factor, camera
from prowl_jax.settings import NOT_NEGATIVE, Check, one_of, setting

MOST_AXES = 64
"""More dimensions than this are a picture or a table, not what somebody presses."""
MU = 10.0  # as VPT's

_ODD = Check(lambda v: v >= 3 and v % 2 == 1 and v <= 255, "is not an odd number within 3..255")
_PAIRS = Check(
    lambda v: len(v) % 2 == 0 and all(low < high for low, high in zip(v[::2], v[1::2], strict=True)),
    "is not pairs of a number and a larger one, such as (-1.0, 1.0)",
)


@dataclasses.dataclass(frozen=True)
class ActionSettings:
    """How an action space becomes an ``ActionSpec``."""

    bins: int = setting(5, "of each dimension of a Box, odd; of a camera 11 are VPT's", _ODD)
    law: str = setting("uniform", "how a Box's bins lie", one_of(("uniform", "mu_law")))
    limits: tuple = setting((), "(low, high) of all dimensions of Boxes, or a pair each; empty: the space's", _PAIRS)
    camera: tuple = setting((), "names of one or two dimensions of a Box that turn the camera; mu-law bins")
    camera_degrees: float = setting(0.0, "a step at a camera's limit; 0: its numbers are degrees", NOT_NEGATIVE)
    names: tuple = setting(
        (), "factors in this order, each OLD, OLD=NEW or OLD=NEW:LABEL,LABEL; others rest; empty: all as they are"
    )
    sticky: bool = setting(False, "choices without a value that does nothing get one more: as before")


@dataclasses.dataclass(frozen=True)
class Axis:
    """One number of an action: its factor, and what the environment is given for each value.

    Attributes:
      factor: of the ``ActionSpec``.
      values: numbers; None for "as before".
    """

    factor: Factor
    values: tuple


class Actions:
    """From int32 ``[A]`` to what ``env.step`` takes. It remembers the last action where there is "as before".

    Args:
      space: of ``gymnasium.spaces``.
      settings: ``ActionSettings``.
      labels: what the values of a ``Discrete`` space mean, None where nobody says. An environment that takes only the
        first of its actions (MiniWorld's mazes) may name all.

    Attributes:
      spec: the factors.

    Raises:
      ValueError: a space that cannot be cut into factors, or settings that do not fit it; one line with the cure.
    """

    def __init__(self, space, settings: ActionSettings, labels=None):
        self._axes, self._build = _walk(space, "", settings, labels)
        if not self._axes or len(self._axes) > MOST_AXES:
            raise ValueError(f"the action space has {len(self._axes)} numbers; 1..{MOST_AXES} can be factors")
        if settings.limits and not any(isinstance(axis, _Interval) for axis in self._axes):
            raise ValueError("limits are for the dimensions of a Box, and the action space has none")
        self._axes = _bin(self._axes, settings)
        old = [axis.factor.name for axis in self._axes]
        self._columns, factors = _chosen(self._axes, settings.names)
        if unknown := [name for name in settings.camera if name not in old]:
            raise ValueError(f"camera={unknown[0]} is no factor; there are {', '.join(old)}")
        self.spec = ActionSpec(tuple(factors))
        self._rest = np.array([axis.factor.null for axis in self._axes])
        self.reset()

    def reset(self):
        """Begin an episode: nothing was done before."""
        self._before = [1 if axis.values[0] is None else 0 for axis in self._axes]

    def __call__(self, action):
        """What ``env.step`` takes for int32 ``[A]``."""
        whole = self._rest.copy()
        whole[self._columns] = action
        values = []
        for i, (axis, index) in enumerate(zip(self._axes, whole.tolist(), strict=True)):
            if axis.values[index] is not None:
                self._before[i] = index
            values.append(axis.values[self._before[i]])
        return self._build(iter(values))


def words(spec):
    """A spec in one line: ``"steer (-1.00, +0.00, +1.00), brake (off, on)"``; what does nothing in brackets."""
    return ", ".join(f"{f.name} ({_values(f)})" for f in spec.factors)


def _short(factor):
    """Its labels; those of recordings (``data.columns``) without the name that they begin with."""
    return [label.removeprefix(f"{factor.name} ") for label in factor.labels]


def _values(factor):
    if factor.camera:
        return f"camera, {factor.size} bins to {factor.camera.max_degrees:g} degrees"
    still = factor.null if factor.rests else None
    shown = [f"[{label or 'nothing'}]" if i == still else label for i, label in enumerate(_short(factor))]
    return ", ".join([*shown[:8], "...", shown[-1]] if len(shown) > 10 else shown)


@dataclasses.dataclass(frozen=True)
class _Interval:
    """A dimension of a Box, not cut yet."""

    name: str
    low: float
    high: float


def _walk(space, name, settings, labels):
    """(axes of a space, function that makes its action of an iterator over their values)."""
    from gymnasium import spaces

    if isinstance(space, spaces.Discrete):
        return [_choice(name or "action", space.n, space.start, settings, labels)], lambda v: space.dtype.type(next(v))
    if isinstance(space, (spaces.Dict, spaces.Tuple)):
        keyed = list(space.spaces.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces))
        parts = [(key, *_walk(part, f"{name}_{key}" if name else str(key), settings, None)) for key, part in keyed]
        axes = [axis for _, part, _ in parts for axis in part]
        if isinstance(space, spaces.Dict):
            return axes, lambda v: {key: build(v) for key, _, build in parts}
        return axes, lambda v: tuple(build(v) for _, _, build in parts)
    if isinstance(space, spaces.MultiBinary):
        axes = [Axis(Factor(n, ("", n)), (0, 1)) for n in _numbered(name or "button", space.shape)]
    elif isinstance(space, spaces.MultiDiscrete):
        starts = np.broadcast_to(space.start, space.shape).ravel()
        sizes = zip(_numbered(name or "action", space.shape), space.nvec.ravel(), starts, strict=True)
        axes = [_choice(n, size, start, settings, None) for n, size, start in sizes]
    elif isinstance(space, spaces.Box):
        limits = zip(_numbered(name or "axis", space.shape), space.low.ravel(), space.high.ravel(), strict=True)
        axes = [_Interval(n, float(low), float(high)) for n, low, high in limits]
    else:
        raise ValueError(
            f"an action space {type(space).__name__} cannot be cut into factors; wrap the environment so that it takes "
            "Discrete, MultiDiscrete, MultiBinary, Box, or a Dict of these, and name a function that makes it"
        )
    return axes, lambda v: np.array([next(v) for _ in axes], space.dtype).reshape(space.shape)


def _numbered(name, shape):
    count = int(np.prod(shape))
    return [name] if count == 1 else [f"{name}_{i}" for i in range(count)]


def _choice(name, size, start, settings, labels):
    """The axis of one whole number."""
    size, start = int(size), int(start)
    words = [str(label) for label in labels or ()][: size if start == 0 else None]
    if len(words) != size or len(set(words)) != size:
        words = [str(start + i) for i in range(size)]
    values = tuple(range(start, start + size))
    still = _still(words)
    if still is None and settings.sticky:
        return Axis(Factor(name, ("as before", *words)), (None, *values))
    return Axis(Factor(name, tuple(words), still=still or 0), values)


def _still(words):
    """Which of the values does nothing by what they are called, None where none is called so."""
    named = [word.lower() for word in words]
    return next((named.index(word) for word in NOTHING if word in named), None)


def _bin(axes, settings):
    """``axes`` with every dimension of a Box cut."""
    open_ = [axis for axis in axes if isinstance(axis, _Interval)]
    pairs = list(zip(settings.limits[::2], settings.limits[1::2], strict=True))
    if len(pairs) not in (0, 1, len(open_)):
        raise ValueError(f"limits has {len(pairs)} pairs; give one, or {len(open_)}: one a dimension of the Box")
    pairs = pairs * len(open_) if len(pairs) == 1 else pairs
    given = dict(zip((axis.name for axis in open_), pairs, strict=False))
    return [_cut(axis, given.get(axis.name), settings) if isinstance(axis, _Interval) else axis for axis in axes]


def _cut(axis, limits, settings):
    low, high = limits or (axis.low, axis.high)
    if not (np.isfinite([low, high]).all() and abs(low) < 1e6 and abs(high) < 1e6 and low < high):
        raise ValueError(
            f"the dimension {axis.name} of the action space goes from {low:g} to {high:g} and cannot be binned; "
            "give limits=(LOW, HIGH)"
        )
    if not (axis.low - 1e-6 <= low and high <= axis.high + 1e-6):
        raise ValueError(f"limits {low:g}..{high:g} of {axis.name} leave the space's {axis.low:g}..{axis.high:g}")
    if axis.name in settings.camera:
        if not np.isclose(low, -high):
            raise ValueError(f"camera={axis.name} goes from {low:g} to {high:g}; a camera needs as much to both sides")
        turn = Camera(settings.camera_degrees or high, settings.bins, MU)
        return Axis(camera(axis.name, turn), tuple(float(d) * high / turn.max_degrees for d in turn.degrees))
    values = levels(low, high, settings.bins, settings.law)
    return Axis(Factor(axis.name, _signed(values), still=int(np.argmin(np.abs(values)))), tuple(values.tolist()))


def _signed(values):
    """As few digits as tell them apart."""
    for digits in (2, 3, 6):
        labels = tuple(f"{value:+.{digits}f}" for value in values)
        if len(set(labels)) == len(labels):
            break
    return labels


def levels(low, high, bins, law):
    """The values of ``bins`` bins from ``low`` to ``high``, both included: float64 ``[bins]``, rising.

    ``uniform`` bins lie equally far apart. Those of ``mu_law`` lie closer around zero, which is one of them where it
    lies between the limits, and at the limit nearer to it where it does not.
    """
    if law == "uniform":
        values = np.linspace(low, high, bins)
        return np.where(np.abs(values) < 1e-9 * (high - low), 0.0, values)
    if low < 0 < high:
        shape = Camera(1.0, bins, MU).decode(np.arange(bins))
        return np.where(shape < 0, -shape * low, shape * high)
    shape = Camera(1.0, 2 * bins - 1, MU).decode(np.arange(bins - 1, 2 * bins - 1))
    return low + (high - low) * shape if low >= 0 else high - (high - low) * shape[::-1]


def _chosen(axes, names):
    """(columns of the axes that are factors, the factors in order, under their new names)."""
    old = [axis.factor.name for axis in axes]
    if not names:
        return list(range(len(axes))), [axis.factor for axis in axes]
    columns, factors = [], []
    for text in names:
        name, _, new = text.partition("=")
        new, _, labels = new.partition(":")
        if name not in old:
            raise ValueError(f"names: there is no factor {name!r}; there are {', '.join(old)}")
        columns.append(old.index(name))
        factor = axes[columns[-1]].factor
        given = tuple(labels.split(",")) if labels else factor.labels
        if len(given) != factor.size:
            raise ValueError(f"names: {name} has {factor.size} values, and {text!r} names {len(given)}")
        still = _still(given) if labels and not factor.camera else None
        still = factor.still if still is None else still
        factors.append(dataclasses.replace(factor, name=new or name, labels=given, still=still))
    new = [factor.name for factor in factors]
    if len(set(columns)) < len(columns) or len(set(new)) < len(new):
        raise ValueError(f"names={tuple(names)} has a factor twice")
    return columns, factors
