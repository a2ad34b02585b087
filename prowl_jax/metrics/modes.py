"""Composite action modes: combinations of movements, and those that nobody showed (PROWL, arXiv 2605.18803).

The paper counts 27 composite modes that its adversary found and that occur neither in the
demonstrations nor in the frozen reference's buffer; it does not say how a mode is delimited. Here the
mode of a window of steps is the set of primitives (``PRIMITIVES`` and ``ROTATE``) in it: a movement
that is made in at least a share of the steps, and turning, where the mean of ``|dyaw| + |dpitch|`` is
above a bound. A mode of two primitives or more is composite. An int with one bit a primitive stands
for a mode, so that modes of different environments are comparable.

numpy only, for actions of any ``ActionSpec`` whose factors have these labels.
"""

import dataclasses

import numpy as np

from prowl_jax.settings import COUNT, NOT_NEGATIVE, SOME_SHARE, check, setting

PRIMITIVES = {
    "forward": ("forward",),
    "back": ("back",),
    "strafe": ("left", "right"),
    **{name: (name,) for name in ("jump", "sneak", "sprint", "attack", "use")},
}
"""Primitive -> the labels of factor values that count as it; bit i of a mode is the i-th of them."""
ROTATE = "rotate"
"""Turning the camera: the bit after those of ``PRIMITIVES``."""


@dataclasses.dataclass(frozen=True)
class ModeRule:
    """Where a mode begins and ends.

    Attributes:
      window: steps of a window, at least 1; 12 are a chunk of the paper, 0.6 s of Minecraft.
      share: of the window's steps in which a primitive must be active to be in its mode, in (0, 1].
      degrees: of the camera, both axes together; a window whose mean a step is above it rotates.

    Raises:
      ValueError: one of them is out of range.
    """

    window: int = setting(
        12, "steps of a composite mode; at most phase2.horizon are taken", COUNT, source="a chunk of the paper: 12"
    )
    share: float = setting(0.25, "of the steps in which a movement belongs to the mode", SOME_SHARE)
    degrees: float = setting(1.0, "a step, above which the camera rotates", NOT_NEGATIVE)

    def __post_init__(self):
        check(self)


def tell_apart(spec):
    """Whether an ``ActionSpec`` has any of the movements of which modes are made, or a camera."""
    labels = {label for factor in spec.factors if not factor.camera for label in factor.labels}
    return bool(spec.camera_factors) or any(labels & set(names) for names in PRIMITIVES.values())


def modes_of(spec, actions, rule=ModeRule(), stride=None):
    """The mode of every window of actions.

    Args:
      spec: the ``ActionSpec``.
      actions: int ``[..., T, A]``, consecutive steps; T at least ``rule.window``.
      rule: the ``ModeRule``.
      stride: steps from one window to the next: the window's length by default, so that each step is
        in one window and a rest shorter than that in none; 1 to miss nothing in a reference.

    Returns:
      int64 ``[..., W]``, modes of ``W = (T - window) // stride + 1`` windows.

    Raises:
      ValueError: too few steps, actions that do not fit ``spec``, or a spec without any primitive.
    """
    actions = spec.check(actions)
    steps = actions.shape[-2]
    if steps < rule.window:
        raise ValueError(f"{steps} steps hold no window of {rule.window}; give longer clips or a shorter window")
    active = _active(spec, actions)
    starts = np.arange(0, steps - rule.window + 1, stride or rule.window)
    # Counts are compared as whole numbers: a share of 0.25 of 12 steps is 3 of them.
    needed = np.ceil(rule.share * rule.window - 1e-9)
    modes = np.zeros((*actions.shape[:-2], len(starts)), np.int64)
    for bit, per_step in enumerate(active):
        modes |= (_sums(per_step, starts, rule.window) >= needed).astype(np.int64) << bit
    mean_turn = _sums(_turning(spec, actions), starts, rule.window) / rule.window
    return modes | (mean_turn > rule.degrees).astype(np.int64) << len(active)


def _active(spec, actions):
    """Which steps make each of ``PRIMITIVES``: a list of bool ``[..., T]``."""
    if not tell_apart(spec):
        raise ValueError(
            f"the factors {', '.join(spec.names)} have none of the movements {', '.join(PRIMITIVES)} and no camera; "
            "turn joint actions into factors first"
        )
    active = []
    for names in PRIMITIVES.values():
        made = np.zeros(actions.shape[:-1], bool)
        for i, factor in enumerate(spec.factors):
            values = [v for v, label in enumerate(factor.labels) if label in names and not factor.camera]
            made |= np.isin(actions[..., i], values)
        active.append(made)
    return active


def _turning(spec, actions):
    """Degrees of all camera axes together: ``[..., T, A] -> [..., T]``."""
    turning = np.zeros(actions.shape[:-1])
    for i in spec.camera_factors:
        turning += np.abs(spec.factors[i].camera.decode(actions[..., i]))
    return turning


def _sums(per_step, starts, window):
    """Sums over the windows at ``starts``: ``[..., T] -> [..., W]``."""
    windows = np.lib.stride_tricks.sliding_window_view(per_step, window, axis=-1)
    return windows[..., starts, :].sum(axis=-1)


def names(mode):
    """The primitives of one mode in words, such as ``"forward+jump+rotate"``; ``"rest"`` for none."""
    all_names = (*PRIMITIVES, ROTATE)
    return "+".join(sorted(name for bit, name in enumerate(all_names) if int(mode) >> bit & 1)) or "rest"


def is_composite(modes):
    """Whether modes hold two primitives or more: int ``[...]`` -> bool ``[...]``."""
    return np.bitwise_count(np.asarray(modes, np.int64)) >= 2


def counts(modes):
    """How often each mode occurs: int ``[...]`` -> dict of ints, ``{mode: windows}``, most frequent first."""
    found, times = np.unique(np.asarray(modes, np.int64), return_counts=True)
    order = np.argsort(-times, kind="stable")
    return dict(zip(found[order].tolist(), times[order].tolist(), strict=True))


def strictly_novel(modes, *references):
    """The composite modes that occur in ``modes`` and in no reference, each int ``[...]``.

    In the paper the references are the demonstrations and the frozen reference's buffer. Returns sorted
    int64 ``[M]``.
    """
    found = np.unique(np.asarray(modes, np.int64))
    seen = np.concatenate([np.zeros(0, np.int64), *(np.asarray(r, np.int64).ravel() for r in references)])
    return np.setdiff1d(found[is_composite(found)], seen)


def clips_with(modes, wanted):
    """Which clips have a window of one of these modes: int ``[B, W]``, int ``[M]`` -> bool ``[B]``."""
    return np.isin(modes, wanted).any(axis=-1)


def means_per_mode(modes, values):
    """Metrics of the clips that hold a mode.

    Args:
      modes: int ``[B, W]``. values: metric name -> float ``[B]``. A clip counts once for each of its modes.

    Returns:
      ``{mode: {"clips": int, metric name: mean}}``, the modes by the clips that hold them, most first.
    """
    table = {}
    for mode in np.unique(modes).tolist():
        rows = clips_with(modes, [mode])
        table[mode] = {"clips": int(rows.sum())} | {m: float(np.mean(v[rows])) for m, v in values.items()}
    return dict(sorted(table.items(), key=lambda entry: -entry[1]["clips"]))
