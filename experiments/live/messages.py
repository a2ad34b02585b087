"""What a page may say, checked: anything else is a ``BadMessage``, one line. And how pictures are packed for it.

A page sends JSON objects of at most ``MOST_BYTES`` with a ``type``; it is answered by JSON, and by binary messages: a
uint32 (little endian) with the length of a JSON header, the header, and bytes that the header describes.
"""

import dataclasses
import json
import math
import struct

MOST_BYTES = 4096
MOST_A_SECOND = 120
MOST_DEGREES = 360.0


class BadMessage(ValueError):
    """One line for the page."""


@dataclasses.dataclass(frozen=True)
class Act:
    """What is held, and how far the camera was moved since the last such message.

    Attributes:
      held: factor name -> value. camera: factor name -> degrees, once. turn: factor name -> degrees a step, while held.
      stamp: the page's clock, which comes back with the first picture that the action has led to.
    """

    held: dict
    camera: dict
    turn: dict
    stamp: float


@dataclasses.dataclass(frozen=True)
class Switch:
    """Something that is on or off: ``hold``, ``pause``, ``record``, ``hunt``."""

    name: str
    on: bool


@dataclasses.dataclass(frozen=True)
class Change:
    """A setting: ``steps``, ``temperature``, ``context_noise``, ``cache``, ``best_of``, ``third``, ``map``."""

    name: str
    value: object


@dataclasses.dataclass(frozen=True)
class Order:
    """Something to do once: ``resync``, ``restart`` (with a ``value``, its seed, or None), ``finds``, ``clip``."""

    name: str
    value: object = None


@dataclasses.dataclass(frozen=True)
class Seen:
    """The page has shown the picture of this tick."""

    tick: int


SWITCHES = ("hold", "pause", "record", "hunt")
SETTINGS = ("steps", "temperature", "context_noise", "cache", "best_of", "third", "map")
MAPS = ("real", "expected")
"""Errors that a map over the dream shows: those against the real frame, or those that a head expects."""
CLIPS = ("webp", "mp4")
NO_SUCH = "there is no message of that type"


def read(text, spec):
    """A message of a page that plays; ``spec`` is the ``ActionSpec`` of what is played.

    Raises:
      BadMessage: what is wrong with it, in one line.
    """
    kind, said = opened(text)
    if kind == "act":
        return _act(said, spec)
    if kind in SWITCHES:
        if not isinstance(said.get("on"), bool):
            raise BadMessage(f"{kind} needs on: true or false")
        return Switch(kind, said["on"])
    if kind == "set":
        return _change(said)
    if kind == "seen":
        return Seen(whole(said.get("tick")))
    if kind in ("resync", "finds"):
        return Order(kind)
    if kind == "restart":
        return Order(kind, None if said.get("seed") is None else whole(said["seed"]))
    if kind == "clip":
        if said.get("format") not in CLIPS:
            raise BadMessage(f"a clip is one of {', '.join(CLIPS)}")
        return Order(kind, said["format"])
    raise BadMessage(NO_SUCH)


def opened(text):
    """(type, object) of a page's message; BadMessage of one line where it is none."""
    if not isinstance(text, str) or len(text) > MOST_BYTES:
        raise BadMessage(f"a message is text of at most {MOST_BYTES} characters")
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        raise BadMessage("a message is a JSON object") from None
    kind = said.get("type") if isinstance(said, dict) else None
    if not isinstance(kind, str):
        raise BadMessage("a message is a JSON object with a type")
    return kind, said


def _act(said, spec):
    held = {}
    for name, value in _object(said, "held").items():
        if name not in spec.names or spec.factors[spec.index(name)].camera:
            raise BadMessage("held names something that is no action here")
        if type(value) is not int or not 0 <= value < spec.factors[spec.index(name)].size:
            raise BadMessage(f"{name} has no such value")
        held[name] = value
    cameras = {spec.factors[i].name for i in spec.camera_factors}
    degrees = {}
    for group in ("camera", "turn"):
        degrees[group] = {}
        for name, value in _object(said, group).items():
            if name not in cameras:
                raise BadMessage(f"{group} names something that is no camera axis here")
            degrees[group][name] = max(-MOST_DEGREES, min(MOST_DEGREES, _number(value)))
    return Act(held, degrees["camera"], degrees["turn"], _number(said.get("stamp", 0)))


def _change(said):
    name, value = said.get("name"), said.get("value")
    if name not in SETTINGS:
        raise BadMessage(f"a setting is one of {', '.join(SETTINGS)}")
    if name == "map" and value not in MAPS:
        raise BadMessage(f"a map is one of {', '.join(MAPS)}")
    if name in ("cache", "third", "map"):
        if not isinstance(value, str) or len(value) > 100:
            raise BadMessage(f"{name} is a short text")
        return Change(name, value)
    value = _number(value)
    if name == "temperature" and not 0.0 <= value <= 4.0:
        raise BadMessage("temperature lies between 0 and 4")
    if name in ("steps", "best_of"):
        value = whole(value)
    return Change(name, value)


def _object(said, name):
    value = said.get(name, {})
    if not isinstance(value, dict) or len(value) > 64:
        raise BadMessage(f"{name} is a small object")
    return value


def _number(value):
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e15 or not math.isfinite(value):
        raise BadMessage("a number is wanted")
    return float(value)


def whole(value):
    """A whole number of at least 0 that a page says; BadMessage where it is none."""
    value = _number(value)
    if value != int(value) or not 0 <= value < 2**32:
        raise BadMessage("a whole number of at least 0 is wanted")
    return int(value)


def pack(header, *payloads):
    """A binary message: ``header`` (a dict) and what it describes, one after the other, as bytes."""
    text = json.dumps(header, separators=(",", ":")).encode()
    return b"".join([struct.pack("<I", len(text)), text, *payloads])


class Rate:
    """Lets ``most`` through in every second."""

    def __init__(self, most=MOST_A_SECOND):
        self._most, self._second, self._count = most, None, 0

    def allows(self, now):
        """Whether one more may pass at ``now`` (seconds)."""
        if int(now) != self._second:
            self._second, self._count = int(now), 0
        self._count += 1
        return self._count <= self._most
