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

Not every recording keeps to this: ``alignment`` holds each against itself, and docs/recordings.md has the rules.
This module needs numpy only, so that reading processes start fast.
"""

import dataclasses
import pathlib

import numpy as np

from prowl_jax.data import alignment
from prowl_jax.data.vpt_records import BUTTONS, COLUMN, KEYBOARD, RecordingError, read_records

WINDOW_HEIGHT = 720
"""Pixels of the game's window, in which the cursor's position is recorded."""


@dataclasses.dataclass(frozen=True)
class Ticks:
    """What a player did, one entry for each frame of the video; ``len`` is their number T.

    Attributes:
      keys: int8 ``[T, 23]``, 1 where a key of ``minecraft.MINERL_KEYS`` is down.
      camera: float32 ``[T, 2]``, degrees of pitch (+ down) and yaw (+ right), as recorded: not clipped.
      gui: bool ``[T]``, True where the frame shows an open screen such as the inventory.
      null: bool ``[T]``, True where no key is down and the camera rests.
      cursor: float32 ``[T, 2]``, the cursor's x and y in a window of 1280x720; of use where ``gui``.
      fault: int8 ``[T]``, 0, or 1 + an index of ``alignment.FAULTS``: why this action is not to be used.
      doubled: how many records told a tick that another had told.
      viewed: whether the view told that movement and turns belong together.
      notes: what is to be said once of the recording, a tuple of texts.
    """

    keys: np.ndarray
    camera: np.ndarray
    gui: np.ndarray
    null: np.ndarray
    cursor: np.ndarray
    fault: np.ndarray
    doubled: int = 0
    viewed: bool = False
    notes: tuple = ()

    def __len__(self):
        return len(self.gui)

    def __getitem__(self, rows):
        """The ticks of a slice, a mask or a vector of indices."""
        arrays = {name: value[rows] for name, value in vars(self).items() if isinstance(value, np.ndarray)}
        return dataclasses.replace(self, **arrays)

    @property
    def sound(self):
        """Bool ``[T]``, True where action and frame belong together."""
        return self.fault == 0

    def action(self):
        """The actions as MineRL's dict: the 23 keys int8 ``[T]`` and ``camera`` float32 ``[T, 2]``."""
        return {key: self.keys[:, i] for key, i in COLUMN.items()} | {"camera": self.camera}


def read_ticks(path, frames=None):
    """Read a .jsonl file whole, and hold it against itself (``alignment``).

    Only ``mouse`` and ``keyboard.keys`` must be there. What else is there is used: ``isGuiOpen`` and ``hotbar``, which
    the stripped files of BASALT have as well, and ``tick``, ``yaw``, ``pitch``, ``serverTick`` and the position. Keys
    that Minecraft's action space does not know are passed over. A record that lacks something, or has it null, is a
    tick of which nothing is known.

    Args:
      frames: ``f() -> frames of the video``, asked where ticks are missing or told twice; None where there is none.

    Returns:
      ``Ticks``.

    Raises:
      RecordingError: the file is empty, cut off, not JSON or not such a recording.
    """
    path = pathlib.Path(path)
    records = read_records(path)
    known, camera_pixels = records.known, records.mouse[:, [1, 0]]
    place, fault = alignment.places(records.tick, frames)
    follows = np.zeros(len(known), bool)  # the next record is of the next tick
    follows[:-1] = (np.diff(place) == 1) & (place[:-1] >= 0) & (fault[:-1] == 0)
    in_game = known & ~records.gui
    usable = follows & in_game & np.append(in_game[1:], False)
    scales, turns, viewed = alignment.turns(camera_pixels, records.view, usable)
    fault = np.where(fault, fault, np.where(known, turns, alignment.UNKNOWN)).astype(np.int8)
    walks = _walks(records.keys) & ~records.gui
    early = alignment.leading(records.server, records.position, walks)
    fault[:early] = np.where(fault[:early], fault[:early], alignment.EARLY)
    keys = records.keys.copy()
    changed = np.flatnonzero(follows[:-1] & (np.diff(records.slots) != 0) & (records.slots[:-1] >= 0))
    changed = changed[records.slots[changed + 1] >= 0]
    keys[changed, COLUMN["hotbar.1"] + records.slots[changed + 1]] = 1
    camera = (scales * camera_pixels).astype(np.float32)
    null = ~keys.any(axis=1) & ~camera.any(axis=1)
    if ((fault == alignment.UNKNOWN) | (fault == alignment.MISSING)).all():
        trouble = records.trouble or "ticks are missing, and the video does not tell whose frames it has"
        raise RecordingError(f"{path.name} holds no tick that can be read: {trouble}")
    return _on_frames(
        place,
        Ticks(keys, camera, records.gui, null, records.mouse[:, 2:].astype(np.float32), fault, 0, viewed,
              (*records.notes, *_scale_notes(scales)))
    )  # fmt: skip


def _on_frames(place, ticks):
    """``ticks`` of records, one entry for each frame from the first to the last: those without a record are missing."""
    if (place == np.arange(len(place))).all():
        return ticks
    there = place >= 0
    count = int(place.max()) + 1
    spread = {}
    for name, value in vars(ticks).items():
        if isinstance(value, np.ndarray):
            spread[name] = np.zeros((count, *value.shape[1:]), value.dtype)
            spread[name][place[there]] = value[there]
    spread["fault"][np.setdiff1d(np.arange(count), place[there])] = alignment.MISSING
    return dataclasses.replace(ticks, **spread, doubled=int((~there).sum()))


def _scale_notes(scales):
    usual = alignment.DEGREES_PER_PIXEL
    others = [f"{scale:.4g}" for scale in dict.fromkeys(scales.tolist()) if abs(scale - usual) > 1e-3 * usual]
    return [f"another mouse: {' and '.join(others)} degrees a pixel, not {usual:g}, by the view"] if others else []


def _walks(keys):
    """Bool ``[T]``, where a key of walking is down without its opposite, and no key that slows down."""
    forward, back, left, right = (keys[:, COLUMN[name]] for name in ("forward", "back", "left", "right"))
    return ((forward != back) | (left != right)) & (keys[:, COLUMN["sneak"]] == 0)


def as_records(action):
    """What ``read_ticks`` reads as ``action``: a dict a line for the .jsonl of a video whose actions were read off it.

    Nobody's screen is open, and a slot of the hotbar is chosen by its key.

    Args:
      action: MineRL's dict, 0 or 1 ``[T]`` for the keys of ``MINERL_KEYS`` and degrees ``[T, 2]`` for ``camera``.
    """
    pixels = np.asarray(action["camera"], np.float64) / alignment.DEGREES_PER_PIXEL
    records = []
    for t, (dy, dx) in enumerate(pixels):
        mouse = {"x": 640.0, "y": 360.0, "dx": dx, "dy": dy, "newButtons": []}
        mouse["buttons"] = [button for button, key in BUTTONS.items() if action[key][t]]
        keys = [f"key.keyboard.{name}" for name, key in KEYBOARD.items() if action[key][t]]
        records.append({"mouse": mouse, "keyboard": {"keys": keys}, "isGuiOpen": False, "hotbar": 0})
    return records


def runs(mask, shortest=1):
    """Where ``mask`` (bool ``[T]``) is True: ``[(start, stop), ...]`` of the runs of at least ``shortest``."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(mask, np.int8), [0]])))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a >= shortest]
