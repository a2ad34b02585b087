"""The actions of VPT and BASALT recordings: a .jsonl with one object a tick, beside its .mp4.

OpenAI's contractor data (VPT, arXiv 2206.11795; format in the README of openai/Video-Pre-Training)
and the BASALT 2022 demonstrations share it: 640x360 pixels, 20 ticks a second, in segments of up to
five minutes. What has to be known to read it right, all of it held by tests:

Timing. Record t is the state before its action: ``yaw[t+1] - yaw[t] = 0.15 dx[t]`` to the last
digit, ``isGuiOpen[t]`` is what frame t shows, and the wheel turned at t shows as ``hotbar[t+1]``. So
action t leads from frame t to frame t+1, as everywhere in this project.

Camera. 0.15 degrees a pixel of the mouse, kept as floats, in the order pitch, yaw. OpenAI's own
loader writes them into an array of integers, which makes half of all movements 0.

Attack. Where record 0 has ``newButtons == [0]`` the recorder's attack is stuck from the start: it
counts as up until the first press after record 0. Every reading therefore starts at record 0.

Hotbar. Turns of the wheel are not recorded as keys, so a change of the slot from t to t+1 is the
key ``hotbar.N`` at t. (OpenAI's loader puts it at t+1, one tick late, and takes the slot before
record 0 to be the first, which the later segments of a session contradict.)

Nulls. Ticks without a key or a movement are kept, for a world model must see time pass; ``null``
marks them for behavioural cloning, where VPT leaves them out.

This module needs numpy only, so that reading processes start fast.
"""

import dataclasses
import json
import pathlib

import numpy as np

from prowl_jax.minecraft import MINERL_KEYS

DEGREES_PER_PIXEL = 360.0 / 2400.0
WINDOW_HEIGHT = 720
"""Pixels of the game's window, in which the cursor's position is recorded."""

_KEYBOARD = {
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
_BUTTONS = {0: "attack", 1: "use", 2: "pickItem"}
_ATTACK = 0
_COLUMN = {key: i for i, key in enumerate(MINERL_KEYS)}


class RecordingError(ValueError):
    """A recording that cannot be used; the message is one line that names the file and the reason."""


@dataclasses.dataclass(frozen=True)
class Ticks:
    """What a player did, one entry a tick; ``len`` is the number of ticks T.

    Attributes:
      keys: int8 ``[T, 23]``, 1 where a key of ``minecraft.MINERL_KEYS`` is down.
      camera: float32 ``[T, 2]``, degrees of pitch (+ down) and yaw (+ right), as recorded: not clipped.
      gui: bool ``[T]``, True where the frame shows an open screen such as the inventory.
      null: bool ``[T]``, True where no key is down and the camera rests.
      cursor: float32 ``[T, 2]``, the cursor's x and y in a window of 1280x720; of use where ``gui``.
    """

    keys: np.ndarray
    camera: np.ndarray
    gui: np.ndarray
    null: np.ndarray
    cursor: np.ndarray

    def __len__(self):
        return len(self.gui)

    def __getitem__(self, rows):
        """The ticks of a slice, a mask or a vector of indices."""
        return Ticks(*(getattr(self, field.name)[rows] for field in dataclasses.fields(self)))

    def action(self):
        """The actions as MineRL's dict: the 23 keys int8 ``[T]`` and ``camera`` float32 ``[T, 2]``."""
        return {key: self.keys[:, i] for key, i in _COLUMN.items()} | {"camera": self.camera}


def read_ticks(path):
    """Read a .jsonl file whole.

    Only ``mouse``, ``keyboard.keys``, ``isGuiOpen`` and ``hotbar`` are looked at, which the stripped
    files of BASALT have as well. Keys that Minecraft's action space does not know are passed over.

    Returns:
      ``Ticks``.

    Raises:
      RecordingError: the file is empty, cut off, not JSON or not such a recording.
    """
    path = pathlib.Path(path)
    lines = path.read_bytes().rstrip().split(b"\n")
    if lines == [b""]:
        raise RecordingError(f"{path.name} is empty")
    keys = np.zeros((len(lines), len(MINERL_KEYS)), np.int8)
    mouse = np.zeros((len(lines), 4))  # dx, dy, x, y
    gui, slots = np.zeros(len(lines), bool), np.zeros(len(lines), np.int64)
    stuck = False
    for t, line in enumerate(lines):
        try:
            record = json.loads(line)
        except ValueError:
            what = "is cut off in" if t == len(lines) - 1 and t > 0 else "is not JSON in"
            raise RecordingError(f"{path.name} {what} line {t + 1}") from None
        try:
            pointer = record["mouse"]
            mouse[t] = pointer["dx"], pointer["dy"], pointer["x"], pointer["y"]
            gui[t], slots[t] = record["isGuiOpen"], record["hotbar"]
            if t == 0:
                stuck = pointer["newButtons"] == [_ATTACK]
            elif _ATTACK in pointer["newButtons"]:
                stuck = False
            keys[t, _pressed(record["keyboard"]["keys"], pointer["buttons"], stuck)] = 1
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RecordingError(f"{path.name}, line {t + 1} is not a tick of a recording: {error!r}") from None
        if not np.isfinite(mouse[t]).all() or not 0 <= slots[t] <= 8:
            raise RecordingError(f"{path.name}, line {t + 1}: mouse {mouse[t]} and hotbar {slots[t]} cannot be")
    changed = np.flatnonzero(np.diff(slots))
    keys[changed, _COLUMN["hotbar.1"] + slots[changed + 1]] = 1
    camera = (DEGREES_PER_PIXEL * mouse[:, [1, 0]]).astype(np.float32)
    null = ~keys.any(axis=1) & ~camera.any(axis=1)
    return Ticks(keys, camera, gui, null, mouse[:, 2:].astype(np.float32))


def as_records(action):
    """What ``read_ticks`` reads as ``action``: a dict a line for the .jsonl of a video whose actions were read off it.

    Nobody's screen is open, and a slot of the hotbar is chosen by its key.

    Args:
      action: MineRL's dict, 0 or 1 ``[T]`` for the keys of ``MINERL_KEYS`` and degrees ``[T, 2]`` for ``camera``.
    """
    pixels = np.asarray(action["camera"], np.float64) / DEGREES_PER_PIXEL
    records = []
    for t, (dy, dx) in enumerate(pixels):
        mouse = {"x": 640.0, "y": 360.0, "dx": dx, "dy": dy, "newButtons": []}
        mouse["buttons"] = [button for button, key in _BUTTONS.items() if action[key][t]]
        keys = [f"key.keyboard.{name}" for name, key in _KEYBOARD.items() if action[key][t]]
        records.append({"mouse": mouse, "keyboard": {"keys": keys}, "isGuiOpen": False, "hotbar": 0})
    return records


def _pressed(keys, buttons, stuck):
    """The columns of the keyboard's and the mouse's keys that are down."""
    names = [_KEYBOARD.get(key.removeprefix("key.keyboard.")) for key in keys]
    names += [_BUTTONS.get(button) for button in buttons if not (stuck and button == _ATTACK)]
    return [_COLUMN[name] for name in names if name]


def runs(mask, shortest=1):
    """Where ``mask`` (bool ``[T]``) is True: ``[(start, stop), ...]`` of the runs of at least ``shortest``."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(mask, np.int8), [0]])))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a >= shortest]
