"""Recordings that lie, by chance: ticks of our own making, and what broken recorders make of them."""

import json

import numpy as np

SCALE = 0.15
ODD = (
    b"null", b"[]", b"5", b"{}", b"", b"   ", b"hello", b"\xff\xfe", b"[" * 3000, b'{"mouse": 1}', b"9" * 5000, b"NaN",
    b'{"mouse": {"dx": "a"}}', b'{"camera": [0, 1], "forward": 1}', b'{"mouse": null, "keyboard": null}', b'"' * 9999,
)  # fmt: skip


def played(count):
    """``count`` ticks of a player who turns, walks and looks up and down, as a whole recorder writes them."""
    dx, dy = [float(t % 7) for t in range(count)], [float(t % 5 - 2) for t in range(count)]
    yaw, pitch = (SCALE * np.concatenate([[0], np.cumsum(moved)]) for moved in (dx, dy))
    return [
        {
            "mouse": {"dx": dx[t], "dy": dy[t], "buttons": [0] * (t % 3 == 0), "newButtons": []},
            "keyboard": {"keys": ["key.keyboard.w"] * (t % 2), "newKeys": [], "chars": ""},
            "isGuiOpen": False, "hotbar": 0, "yaw": float(yaw[t]), "pitch": float(pitch[t]), "tick": 700 + t,
        }
        for t in range(count)
    ]  # fmt: skip


def robbed(good, rng):
    """(what was done, the records): as ``damaged``, and those of a slower or faster mouse, whose turns are the same."""
    done, records = damaged(good, rng)
    scale = rng.choice((1.0, 1.0, 2.0, 0.4))
    if scale != 1.0:
        done.append(f"mouse {scale}")
        records = [_moved(record, scale) for record in records]
    return ", ".join(done), records


def damaged(good, rng):
    """(what was done, the records): some dropped, doubled, emptied, robbed of movement.

    The last one is always there: how much is missing behind it nobody could tell.
    """
    records, at, done = [], 0, []
    while at < len(good):
        sound = rng.randint(1, 40)
        records += good[at : at + sound]
        at += sound
        how = rng.choice(("drop", "double", "null", "rob"))
        for record in good[at : at + rng.randint(1, 8)]:
            if how == "double":
                records += [record, record]
            elif how == "null":
                records.append(record | {rng.choice(("mouse", "keyboard", "isGuiOpen")): None})
            elif how == "rob":
                records.append(record | {"mouse": record["mouse"] | {"dx": 0.0, "dy": 0.0}})
            done.append(f"{how} {at}")
            at += 1
    return done, records + good[-1:] * (records[-1]["tick"] < good[-1]["tick"])


def _moved(record, scale):
    mouse = record["mouse"]
    moved = mouse and mouse | {name: mouse[name] / scale for name in ("dx", "dy")}
    return record | {"mouse": moved}


def odd_lines(rng):
    """(what is odd, bytes of a .jsonl) some of whose lines are something else, or that is cut off."""
    lines = [json.dumps(record).encode() for record in played(30)]
    for _ in range(rng.randint(0, 4)):
        lines[rng.randrange(len(lines))] = rng.choice(ODD)
    content = b"\n".join(lines)
    if rng.random() < 0.3:
        content = content[: rng.randrange(len(content))]
    if rng.random() < 0.3:
        content = bytearray(content)
        for _ in range(rng.randint(1, 30) if content else 0):
            content[rng.randrange(len(content))] = rng.randrange(256)
    return f"{len(content)} bytes of ticks", bytes(content)


def write(path, records):
    """Write a .jsonl; returns its path."""
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path
