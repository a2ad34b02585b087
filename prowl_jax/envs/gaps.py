"""Gaps planted in demonstrations: what demonstrators never or seldom do, and a table that shows it.

What a world model gets wrong because an action was never shown can be mended where it is conditioned on
actions; what it gets wrong because a place was never seen cannot. A study that must tell the two apart
plants gaps of the first kind. This module needs numpy alone; its functions of actions take JAX's arrays too.
"""

import dataclasses

import numpy as np

from prowl_jax.actions import ActionSpec
from prowl_jax.settings import POSITIVE, SHARE, check, setting

BACK = 2  # of the factor "move", in every environment's ActionSpec


@dataclasses.dataclass(frozen=True)
class Gaps:
    """How much is left of each thing: chances 0..1 by which a demonstrator's own are multiplied.

    Whether an activity (a walk, a look around, a side-step) may contain a thing is drawn when it is planned
    and holds until it is over. So 0 is never, not even by mistake, and 1 is as the behaviour is. What is left
    out is replaced by nothing: who may not strafe stands still for as long.

    Attributes:
      strafe, back, jump, sneak, sprint, attack, use: the key. Who may not jump takes a step of one block for
        a wall, and keeps away from water, out of which one must swim. No demonstrator sneaks.
      strafe_turning: yaw while strafing; the turn waits until the strafing is over.
      sprint_jump: sprint while jumping.
      jump_moving: jump while walking or strafing; as without ``jump`` it keeps off steps and water.
      fast_turn: a turn (yaw) of more than ``fast_degrees`` in a step; it takes more steps.
      look_far: a gaze of more than ``far_degrees`` up or down; it stops there.
      look_down: likewise, down alone.
      fast_degrees, far_degrees: these limits.

    Raises:
      ValueError: a chance outside 0..1, or a limit that is not positive.
    """

    strafe: float = setting(1.0, "how often demonstrators strafe, of what they would", SHARE)
    back: float = setting(1.0, "walk back", SHARE)
    jump: float = setting(1.0, "jump", SHARE)
    sneak: float = setting(1.0, "sneak", SHARE)
    sprint: float = setting(1.0, "sprint", SHARE)
    attack: float = setting(1.0, "attack", SHARE)
    use: float = setting(1.0, "use", SHARE)
    strafe_turning: float = setting(1.0, "turn while strafing", SHARE)
    sprint_jump: float = setting(1.0, "jump while sprinting", SHARE)
    fast_turn: float = setting(1.0, "turn by more than fast_degrees a step", SHARE)
    look_far: float = setting(1.0, "look up or down by more than far_degrees", SHARE)
    jump_moving: float = setting(1.0, "jump while walking or strafing", SHARE)
    look_down: float = setting(1.0, "look down by more than far_degrees", SHARE)
    fast_degrees: float = setting(6.0, "what a fast turn is more than", POSITIVE)
    far_degrees: float = setting(20.0, "what a far look is more than", POSITIVE)

    def __post_init__(self):
        check(self, "gaps")

    @property
    def chances(self):
        """Every thing's chance: a dict in the order of ``THINGS``."""
        return {thing: getattr(self, thing) for thing in THINGS}

    @property
    def planted(self):
        """Names of the things that are done less than the behaviour would."""
        return tuple(thing for thing, chance in self.chances.items() if chance < 1)

    def check(self, spec: ActionSpec):
        """Return self; ValueError names a planted thing for which ``spec`` has no factor."""
        for thing in self.planted:
            for factor in THINGS[thing]:
                if factor not in spec.names:
                    raise ValueError(
                        f"gaps.{thing} needs the action factor {factor!r}; there are {', '.join(spec.names)}"
                    )
        return self


THINGS = {
    "strafe": ("strafe",),
    "back": ("move",),
    "jump": ("jump",),
    "sneak": ("sneak",),
    "sprint": ("sprint",),
    "attack": ("attack",),
    "use": ("use",),
    "strafe_turning": ("strafe", "yaw"),
    "sprint_jump": ("sprint", "jump"),
    "fast_turn": ("yaw",),
    "look_far": ("pitch",),
    "jump_moving": ("move", "jump"),
    "look_down": ("pitch",),
}
"""What can be planted, and the factors each thing is made of."""


def slow_bins(camera, degrees):
    """How many bins to either side of the middle turn by at most ``degrees`` a step."""
    return sum(0 < d <= degrees + 1e-6 for d in camera.degrees)


def happens(spec: ActionSpec, actions, gaps: Gaps = Gaps(), pitch=None):
    """In which steps each thing happens.

    Args:
      spec: of the actions.
      actions: int ``[..., A]``, of numpy or JAX.
      gaps: for its limits.
      pitch: degrees (+ down) ``[...]`` of the gaze on which the action is done; without it ``look_far`` and
        ``look_down`` are left out, as an action tells a turn and not where one looks.

    Returns:
      A dict, thing -> bool ``[...]``, of those for which ``spec`` has the factors.
    """
    value = {factor.name: actions[..., i] for i, factor in enumerate(spec.factors)}
    known = [thing for thing, factors in THINGS.items() if all(name in value for name in factors)]
    shown = {thing: value[thing] > 0 for thing in known if thing in value}
    if "back" in known:
        shown["back"] = value["move"] == BACK
    if "yaw" in value:
        factor = spec.factors[spec.index("yaw")]
        turn = abs(value["yaw"] - factor.null)
        shown["fast_turn"] = turn > slow_bins(factor.camera, gaps.fast_degrees)
    if "strafe_turning" in known:
        shown["strafe_turning"] = (value["strafe"] > 0) & (turn > 0)
    if "sprint_jump" in known:
        shown["sprint_jump"] = (value["sprint"] > 0) & (value["jump"] > 0)
    if "look_far" in known and pitch is not None:
        shown["look_far"], shown["look_down"] = abs(pitch) > gaps.far_degrees, pitch > gaps.far_degrees
    if "jump_moving" in known:
        shown["jump_moving"] = (value["jump"] > 0) & ((value["move"] > 0) | (value.get("strafe", value["move"]) > 0))
    return {thing: shown[thing] for thing in THINGS if thing in shown}


def without(value, allowed):
    """Keys without those that are not allowed; turns are the demonstrator's own business.

    Args:
      value: dict, factor's name -> its value: ints or bools, of numpy or JAX, alone or as arrays.
      allowed: dict, thing -> bool.
    """
    value = dict(value)
    value["move"] = value["move"] * ((value["move"] != BACK) | allowed["back"])
    for key in ("strafe", "jump", "sneak", "sprint", "attack", "use"):
        if key in value:
            value[key] = value[key] * allowed[key]
    if "jump" in value:
        stands = (value["move"] == 0) & (value.get("strafe", 0) == 0)
        value["jump"] = value["jump"] * (stands | allowed["jump_moving"])
    if "sprint" in value and "jump" in value:
        value["sprint"] = value["sprint"] * ((value["jump"] == 0) | allowed["sprint_jump"])
    return value


def rarely(rates, things, steps=1000.0):
    """``Gaps`` that leave of each thing about one in ``steps`` steps, whatever the behaviour would do of it.

    Args:
      rates: what ``per_thousand`` gave of the behaviour without gaps: a thing's own row, a key's or a combination's.
      things: names of ``THINGS``. steps: how seldom; infinite for never.

    Raises:
      ValueError: a thing that is not known, or of which the rates say nothing.
    """
    chances = {}
    for thing in things:
        rows = [
            rates[name] for name in rates if name == thing or name == f"move {thing}" or name.startswith(f"{thing} ")
        ]
        if thing not in THINGS or not rows:
            raise ValueError(f"the rates say nothing of {thing!r}; they tell {', '.join(rates)}")
        own = sum(rows)
        chances[thing] = min(1.0, 1000.0 / steps / own) if own else 1.0
    return Gaps(**chances)


def per_thousand(spec: ActionSpec, actions, gaps: Gaps = Gaps(), pitch=None):
    """How often each action and each thing happens in 1,000 steps.

    Args:
      spec, gaps, pitch: as of ``happens``.
      actions: int ``[..., A]``, at least one.

    Returns:
      A dict, name -> float. Every value of a factor that is a key (``"move back"``, ``"jump"``); of a camera's
      axis how often it turns (``"yaw turns"``); then what ``happens`` says of combinations.
    """
    actions = spec.check(actions).reshape(-1, len(spec.factors))
    if not len(actions):
        raise ValueError("there must be at least one action to count")
    rates = {}
    for factor, column in zip(spec.factors, actions.T, strict=True):
        if factor.camera:
            rates[f"{factor.name} turns"] = np.mean(column != factor.null)
            continue
        for value, label in enumerate(factor.labels):
            if value != factor.null:
                rates[label if label == factor.name else f"{factor.name} {label}"] = np.mean(column == value)
    pitch = None if pitch is None else np.asarray(pitch).reshape(-1)
    for thing, shown in happens(spec, actions, gaps, pitch).items():
        if thing not in (*spec.names, "back"):
            rates[thing] = np.mean(shown)
    return {name: 1000.0 * float(rate) for name, rate in rates.items()}


def table(columns):
    """Rates of several recordings beside each other, as lines of text.

    Args:
      columns: dict, a recording's name -> what ``per_thousand`` gave; a row that one lacks is left blank there.
    """
    rows = list(dict.fromkeys(name for rates in columns.values() for name in rates))
    first = max(map(len, ("per 1,000 steps", *rows)))
    widths = [max(len(name), 7) for name in columns]
    lines = [[f"{'per 1,000 steps':<{first}}", *(f"{name:>{w}}" for name, w in zip(columns, widths, strict=True))]]
    for row in rows:
        cells = [f"{rates[row]:.1f}" if row in rates else "" for rates in columns.values()]
        lines.append([f"{row:<{first}}", *(f"{cell:>{w}}" for cell, w in zip(cells, widths, strict=True))])
    return "\n".join("  ".join(line).rstrip() for line in lines)
