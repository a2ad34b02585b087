"""Behaviours that press keys and hold them, whatever there is to see: the control and the wide one.

``control`` does with a calm camera what ``Gaps`` have left out of the demonstrations, one thing after the
other: where a world model errs there, it errs about actions. ``wide`` holds keys drawn uniformly from all
actions, with calm or fast turns: what a model that shall know everything trains on. Both are chords as
numpy arrays, which the voxel world's demonstrators (``voxel/held_keys.py``) read as well.
"""

from typing import NamedTuple

import numpy as np

from prowl_jax.actions import ActionSpec
from prowl_jax.envs.gaps import BACK, THINGS, Gaps, slow_bins

PLANTED = ("strafe", "back", "jump")
"""What ``control`` does where it is not told any gaps: those of them that there are factors for."""
CALM, STROKE = 2.0, 3  # degrees a step, and most steps of one movement of the hand
LEVEL, DOWN, STEEP = 15.0, 45.0, 75.0  # degrees; from here on the gaze only comes back


class Chords(NamedTuple):
    """What may be pressed together; arrays, C chords, A factors of at most V values.

    Attributes:
      values: float32 ``[C, A, V]``, each factor's chance of each value.
      share: float32 ``[C]``, each chord's chance.
      stroke: int32 ``[C]``, most steps after which the camera's axes are drawn anew; at least 1 passes.
      level: float32 ``[C]``, degrees up or down beyond which the gaze only comes back.
      hold: int32 ``[2]``, least and most steps until another chord is drawn.
      minds: bool, whether it is drawn at once at a wall, and swims out of water.
    """

    values: np.ndarray
    share: np.ndarray
    stroke: np.ndarray
    level: np.ndarray
    hold: np.ndarray
    minds: np.ndarray


def control(spec: ActionSpec, gaps: Gaps | None = None) -> Chords:
    """What ``gaps`` leave out, each equally often, and a quarter of the time a walk ahead.

    Raises:
      ValueError: gaps that leave nothing out, or for which ``spec`` has no factor.
    """
    if gaps is None:
        gaps = Gaps(**{thing: 0.0 for thing in PLANTED if set(THINGS[thing]) <= set(spec.names)})
    things = gaps.check(spec).planted
    if not things:
        raise ValueError("a control does what the gaps leave out, and they leave nothing out")
    chords = [_chord(spec, **_pressed(spec, thing, gaps)) for thing in things]
    walk = _chord(spec, move=(1,))
    far = [
        LEVEL,
        *({"look_far": STEEP, "look_down": STEEP, "attack": DOWN, "use": DOWN}.get(thing, LEVEL) for thing in things),
    ]
    turns = [
        STROKE,
        *(99 if thing in ("fast_turn", "strafe_turning", "look_far", "look_down") else STROKE for thing in things),
    ]
    share = [0.25, *[0.75 / len(things)] * len(things)]
    return _stack([walk, *chords], share, turns, far, hold=(6, 18), minds=True)


def wide(spec: ActionSpec, gaps: Gaps | None = None) -> Chords:
    """Every key's values equally often; half of the time calm turns, half of the time any turn, held.

    It knows no gaps: any that are planted are a ValueError.
    """
    if gaps is not None and gaps.planted:
        raise ValueError(f"the wide behaviour does everything and takes no gaps, got gaps.{gaps.planted[0]}")
    keys = {f.name: range(f.size) for f in spec.factors if not f.camera}
    turns = {spec.factors[i].name: range(spec.factors[i].size) for i in spec.camera_factors}
    chords = [_chord(spec, **keys), _chord(spec, **keys, **turns)]
    return _stack(chords, [0.5, 0.5], [STROKE, 8], [STEEP, STEEP], hold=(4, 20), minds=False)


KINDS = {"control": control, "wide": wide}


def _pressed(spec, thing, gaps):
    """The values of the factors that make a thing; those left out do nothing, a camera's turn calmly."""
    if thing in ("fast_turn", "strafe_turning"):
        yaw = spec.factors[spec.index("yaw")]
        slow = slow_bins(yaw.camera, gaps.fast_degrees if thing == "fast_turn" else CALM)
        turns = {"yaw": [b for b in range(yaw.size) if abs(b - yaw.null) > slow]}
        return turns | ({"strafe": (1, 2)} if thing == "strafe_turning" else {})
    if thing == "look_far":
        pitch = spec.factors[spec.index("pitch")]
        return {"pitch": [b for b in range(pitch.size) if 2 <= abs(b - pitch.null) <= 3]}
    if thing == "look_down":
        pitch = spec.factors[spec.index("pitch")]
        return {"pitch": [pitch.null + step for step in (0, 1, 2)]}
    if thing in ("attack", "use"):
        pitch = {"pitch": spec.index("pitch")} if "pitch" in spec.names else {}
        down = {name: [spec.factors[i].null + step for step in (0, 1, 2)] for name, i in pitch.items()}
        return {thing: (1,)} | down
    return {
        "strafe": {"strafe": (1, 2)},
        "back": {"move": (BACK,)},
        "jump": {"jump": (1,), "move": (0, 1)},
        "sneak": {"sneak": (1,), "move": (0, 1)},
        "sprint": {"sprint": (1,), "move": (1,)},
        "jump_moving": {"jump": (1,), "move": (1, 2)},
        "sprint_jump": {"sprint": (1,), "jump": (1,), "move": (1,)},
    }[thing]


def _chord(spec, **values):
    """Chances ``[A, V]``: uniform over the named factors' ``values``, nothing elsewhere, calm turns of the camera."""
    chances = np.zeros((len(spec.factors), max(spec.sizes)), np.float32)
    for row, factor in zip(chances, spec.factors, strict=True):
        if factor.name in values:
            row[list(values[factor.name])] = 1
        elif factor.camera:
            slow = slow_bins(factor.camera, CALM)
            row[factor.null - slow : factor.null + slow + 1] = 1
            row[factor.null] = max(2 * slow, 1)  # the hand rests half of the time
        else:
            row[factor.null] = 1
    return chances / chances.sum(axis=1, keepdims=True)


def _stack(chords, share, stroke, level, hold, minds):
    return Chords(
        np.stack(chords),
        np.array(share, np.float32),
        np.array(stroke, np.int32),
        np.array(level, np.float32),
        np.array(hold, np.int32),
        np.bool_(minds),
    )
