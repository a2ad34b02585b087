"""The lines of a recording's .jsonl as arrays: whatever recorder wrote them, what can be read is read.

The formats differ by age and by recorder: an early one has no ``hotbar``, BASALT's are stripped of all but mouse,
keyboard, ``isGuiOpen`` and ``hotbar``, and in single ticks a field may be null. numpy only, a line at a time.
"""

import dataclasses
import json
import math

import numpy as np

from prowl_jax.minecraft import MINERL_KEYS

KEYBOARD = {
    "escape": "ESC",
    "w": "forward",
    "s": "back",
    "a": "left",
    "d": "right",
    "space": "jump",
    "left.shift": "sneak",
    "left.control": "sprint",
    "e": "inventory",
    "q": "drop",
    "f": "swapHands",
    **{str(i): f"hotbar.{i}" for i in range(1, 10)},
}
BUTTONS = {0: "attack", 1: "use", 2: "pickItem"}
COLUMN = {key: i for i, key in enumerate(MINERL_KEYS)}
LONGEST = 2**20
"""Bytes of a line; those of the recordings have about a thousand."""
_ATTACK = 0


class RecordingError(ValueError):
    """A recording that cannot be used; the message is one line that names the file and the reason."""


@dataclasses.dataclass(frozen=True)
class Records:
    """The N records of a file.

    Attributes:
      known: bool ``[N]``, whether what the player did can be read.
      trouble: of the first record of which it cannot, in words; "" where there is none.
      keys: int8 ``[N, 23]``, without the keys that a turn of the wheel stands for.
      mouse: float ``[N, 4]``, pixels right and down, and the cursor's x and y (NaN where unknown).
      gui: bool ``[N]``. slots: int ``[N]``, of the hotbar, 0 to 8, -1 where unknown.
      tick, server: float ``[N]``. view: float ``[N, 2]``, pitch and yaw. position: float ``[N, 3]``. NaN where unknown.
      notes: what is to be said once of the whole.
    """

    known: np.ndarray
    trouble: str
    keys: np.ndarray
    mouse: np.ndarray
    gui: np.ndarray
    slots: np.ndarray
    tick: np.ndarray
    server: np.ndarray
    view: np.ndarray
    position: np.ndarray
    notes: tuple


def read_records(path):
    """The ``Records`` of a .jsonl file.

    Raises:
      RecordingError: the file is empty, cut off or not JSON.
    """
    numbers, keys, known, trouble, stuck, gui_told = [], [], [], "", False, False
    for t, record in enumerate(_lines(path)):
        row = np.zeros(len(MINERL_KEYS), np.int8)
        try:
            if t == 0:
                stuck = _list(_dict(record, "mouse").get("newButtons") or [], "mouse.newButtons") == [_ATTACK]
            stuck, down = _pressed(record, stuck, first=t == 0)
            row[down] = 1
            moved = [_number(_dict(record, "mouse"), name, "mouse.") for name in ("dx", "dy")]
            gui = _open_screen(record)
            known.append(True)
            gui_told |= gui is not None
        except _UnknownError as error:
            moved, gui = [0.0, 0.0], None
            trouble = trouble or f"line {t + 1} {error}"
            known.append(False)
        keys.append(row)
        pointer = record.get("mouse") if isinstance(record, dict) else None
        numbers.append([*moved, *(_number_or_nan(pointer, name) for name in "xy"), gui, *_others(record)])
    numbers = np.array(numbers, np.float64)  # None is NaN
    mouse, (gui, slot, tick, server), rest = numbers[:, :4], numbers[:, 4:8].T, numbers[:, 8:]
    slots = np.where(np.isin(slot, range(9)), slot, -1).astype(int)
    known, notes = np.array(known), ["no hotbar, so no keys of it"] if (slots < 0).all() else []
    if gui_told:
        known &= np.isfinite(gui)  # where others say it, this one may be either
    else:
        notes.append("no isGuiOpen, so every screen counts as closed")
    return Records(
        known, trouble, np.array(keys), mouse, np.nan_to_num(gui).astype(bool), slots, tick, server, rest[:, :2],
        rest[:, 2:], tuple(notes),
    )  # fmt: skip


class _UnknownError(Exception):
    """Why nothing is known of a tick: what follows on "line N"."""


def _lines(path):
    """The values of the lines of a file; what follows the last newline may be empty."""
    with path.open("rb") as file:
        number, told = 0, False
        while line := file.readline(LONGEST + 1):
            number += 1
            if len(line) > LONGEST:
                raise RecordingError(f"{path.name}, line {number} is longer than any tick: not a recording")
            if not line.strip() and not file.read(2**16).strip():
                break
            try:
                yield json.loads(line)
            except (ValueError, RecursionError):
                what = "is cut off" if not line.endswith(b"\n") and number > 1 else "is not JSON"
                raise RecordingError(f"{path.name} {what} in line {number}") from None
            told = True
        if not told:
            raise RecordingError(f"{path.name} is empty")


def _pressed(record, stuck, first):
    """(whether attack is still stuck, the columns of the keyboard's and the mouse's keys that are down)."""
    pointer, keyboard = _dict(record, "mouse"), _dict(record, "keyboard")
    new = _list(pointer.get("newButtons") or [], "mouse.newButtons")
    stuck = stuck and (first or _ATTACK not in new)
    keys = _list(keyboard.get("keys"), "keyboard.keys")
    buttons = _list(pointer.get("buttons"), "mouse.buttons")
    names = [KEYBOARD.get(key.removeprefix("key.keyboard.")) for key in keys if isinstance(key, str)]
    names += [BUTTONS.get(b) for b in buttons if isinstance(b, int | float) and not (stuck and b == _ATTACK)]
    return stuck, [COLUMN[name] for name in names if name]


def _open_screen(record):
    value = record.get("isGuiOpen")
    if value is not None and not isinstance(value, int):  # bool among them
        raise _UnknownError(f"has isGuiOpen {_shown(value)}, not true or false")
    return None if value is None else bool(value)


def _others(record):
    """hotbar, tick, serverTick, pitch, yaw and the position: numbers, or NaN."""
    record = record if isinstance(record, dict) else {}
    return [_number_or_nan(record, n) for n in ("hotbar", "tick", "serverTick", "pitch", "yaw", "xpos", "ypos", "zpos")]


def _dict(record, name):
    if not isinstance(record, dict):
        raise _UnknownError(f"is {_shown(record)}, not a tick")
    value = record.get(name)
    if not isinstance(value, dict):
        there = "" if name in record else f"; it has {', '.join(record)[:60] or 'nothing'}"
        raise _UnknownError(f"has {'no ' + name if value is None else f'a {name} that is {_shown(value)}'}{there}")
    return value


def _list(value, name):
    if not isinstance(value, list):
        raise _UnknownError(f"has {'no ' + name if value is None else f'{name} {_shown(value)}, not a list'}")
    return value


def _number(values, name, prefix=""):
    value = values.get(name)
    number = _number_or_nan(values, name)
    if not math.isfinite(number):
        raise _UnknownError(f"has {f'no {prefix}{name}' if value is None else f'{prefix}{name} {_shown(value)}'}")
    return number


def _number_or_nan(values, name):
    value = values.get(name) if isinstance(values, dict) else None
    if isinstance(value, int | float) and abs(value) < 1e15:
        return float(value)
    return math.nan


def _shown(value):
    names = {dict: "an object", list: "a list", type(None): "null"}
    text = names.get(type(value)) or json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
