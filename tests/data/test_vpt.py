"""The .jsonl of a recording: timing, camera, stuck attack, hotbar, nulls, and every damage named."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_recordings import real_ticks, tick, write_ticks

from prowl_jax.data.vpt import RecordingError, read_ticks, runs
from prowl_jax.minecraft import MINERL_KEYS, SPEC, minerl_to_factors


@pytest.fixture
def read(tmp_path):
    return lambda ticks: read_ticks(write_ticks(tmp_path / "a.jsonl", ticks))


def raw(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


# Camera and timing.


def test_degrees_are_floats_in_the_order_pitch_yaw(read):
    ticks = read([tick(dx=1, dy=-3), tick(dx=-2.5), tick(dx=1000), tick()])
    assert ticks.camera.dtype == np.float32
    wanted = [[-0.45, 0.15], [0, -0.375], [0, 150], [0, 0]]  # not cut to integers, not clipped
    np.testing.assert_allclose(ticks.camera, wanted, rtol=1e-6)
    factors = minerl_to_factors(ticks.action())
    assert factors[2, SPEC.index("yaw")] == 10 and factors[2, SPEC.index("pitch")] == 5
    assert factors[0, SPEC.index("pitch")] == 4 and factors[0, SPEC.index("yaw")] == 5  # 0.15 is nearest to 0


def test_action_t_leads_from_tick_t_to_the_next_by_the_yaw_law():
    turned = 0
    for path in real_ticks():
        records, ticks = raw(path), read_ticks(path)
        yaw, pitch = (np.array([r[name] for r in records]) for name in ("yaw", "pitch"))
        moves = ~ticks.gui[:-1] & ~ticks.gui[1:]
        np.testing.assert_allclose(np.diff(yaw)[moves], ticks.camera[:-1, 1][moves], atol=2e-3)
        free = moves & (np.abs(pitch[1:]) < 89) & (np.abs(pitch[:-1]) < 89)  # looking straight up or down ends it
        np.testing.assert_allclose(np.diff(pitch)[free], ticks.camera[:-1, 0][free], atol=2e-3)
        late = np.abs(np.diff(yaw)[moves] - ticks.camera[1:, 1][moves])
        assert (late > 0.1).mean() > 0.05
        turned += int((ticks.camera[:-1, 1][moves] != 0).sum())
    assert turned > 1000


# Keys.


@pytest.mark.parametrize(
    "key, name",
    [
        *zip(
            ("escape", "s", "q", "w", "e", "space", "a", "d", "left.shift", "left.control", "f"),
            ("ESC", "back", "drop", "forward", "inventory", "jump", "left", "right", "sneak", "sprint", "swapHands"),
            strict=True,
        ),
        *((str(i), f"hotbar.{i}") for i in range(1, 10)),
    ],
)
def test_every_key_of_the_keyboard(read, key, name):
    action = read([tick(), tick(keys=[key])]).action()
    assert sorted(action) == sorted([*MINERL_KEYS, "camera"])
    assert {k for k in MINERL_KEYS if action[k][1]} == {name}
    assert not any(action[k][0] for k in MINERL_KEYS) and action[name].dtype == np.int8


def test_mouse_buttons_and_keys_outside_the_action_space(read):
    ticks = read([tick(), tick(buttons=[0, 1, 2, 3], new=[0, 1, 2, 3]), tick(keys=["f3", "x"]), tick()])
    odd = tick()
    odd["keyboard"]["keys"] = ["scancode.0"]
    assert read([odd]).null.tolist() == [True]
    action = ticks.action()
    assert {k for k in MINERL_KEYS if action[k][1]} == {"attack", "use", "pickItem"}
    assert ticks.null.tolist() == [True, False, True, True]


def test_attack_stuck_from_the_start_is_up_until_the_next_press(read):
    held = [tick(buttons=[0], new=[0]), *[tick(buttons=[0, 1])] * 3, tick(buttons=[0], new=[0]), tick(buttons=[0])]
    ticks = read(held)
    assert ticks.action()["attack"].tolist() == [0, 0, 0, 0, 1, 1]
    assert ticks.action()["use"].tolist() == [0, 1, 1, 1, 0, 0]
    assert ticks[2:].action()["attack"].tolist() == [0, 0, 1, 1]  # a slice keeps what record 0 tells
    assert read(held[1:]).action()["attack"].tolist() == [1] * 5  # without such a record 0, nothing is stuck
    assert read([tick(buttons=[0, 1], new=[0, 1]), tick(buttons=[0])]).action()["attack"].tolist() == [1, 1]


def test_a_change_of_the_hotbar_is_a_key_at_the_tick_that_leads_to_it(read):
    ticks = read([tick(hotbar=h) for h in (4, 4, 6, 6, 0)])
    pressed = [[k for k in MINERL_KEYS if ticks.action()[k][t]] for t in range(5)]
    assert pressed == [[], ["hotbar.7"], [], ["hotbar.1"], []]
    assert ticks.null.tolist() == [True, False, True, False, True]


def test_the_wheel_turns_one_tick_before_the_hotbar_changes():
    turns = 0
    for path in real_ticks():
        records, action = raw(path), read_ticks(path).action()
        for t in range(len(records) - 1):
            slot = records[t + 1]["hotbar"]
            if records[t]["hotbar"] != slot:
                assert action[f"hotbar.{slot + 1}"][t] == 1
                assert records[t]["mouse"]["dwheel"] != 0
                turns += 1
    assert turns >= 2


def test_real_keys_are_those_of_a_second_reading_by_hand():
    """Every key but the hotbar's, tick by tick, as VPT's public loader (MIT) maps them."""
    names = {"w": "forward", "s": "back", "a": "left", "d": "right", "space": "jump", "e": "inventory", "q": "drop"}
    names |= {"left.shift": "sneak", "left.control": "sprint", "f": "swapHands", "escape": "ESC"}
    nulls, attacks, buttons, total = 0, 0, 0, 0
    for path in real_ticks():
        records, ticks = raw(path), read_ticks(path)
        action = ticks.action()
        assert len(ticks) == len(records)
        first_press = next((t for t, r in enumerate(records) if t and 0 in r["mouse"]["newButtons"]), len(records))
        stuck = first_press if records[0]["mouse"]["newButtons"] == [0] else 0
        for t, record in enumerate(records):
            wanted = {names[k[13:]] for k in record["keyboard"]["keys"] if k[13:] in names}
            held = {"attack": 0 in record["mouse"]["buttons"] and t >= stuck}
            held |= {"use": 1 in record["mouse"]["buttons"], "pickItem": 2 in record["mouse"]["buttons"]}
            wanted |= {name for name, down in held.items() if down}
            assert {k for k in MINERL_KEYS if action[k][t] and not k.startswith("hotbar")} == wanted, (path.name, t)
        nulls += int(ticks.null.sum())
        attacks += int(action["attack"].sum())
        buttons += sum(0 in r["mouse"]["buttons"] for r in records)
        total += len(ticks)
    assert 0 < nulls < 0.5 * total and attacks < buttons


# Damage.

GOOD = json.dumps(tick())


def without(*path):
    record = tick()
    inner = record
    for name in path[:-1]:
        inner = inner[name]
    del inner[path[-1]]
    return json.dumps(record)


DAMAGE = {
    "empty": ("", "a.jsonl is empty"),
    "not JSON at all": ("hello", "a.jsonl is not JSON in line 1"),
    "not JSON in the middle": (f"{GOOD}\n{GOOD[:50]}\n{GOOD}\n", "a.jsonl is not JSON in line 2"),
    "an empty line in the middle": (f"{GOOD}\n\n{GOOD}\n", "a.jsonl is not JSON in line 2"),
    "bytes": (b"\xff\xfe\x00" * 20, "a.jsonl is not JSON in line 1"),
    "cut off": (f"{GOOD}\n{GOOD[:50]}", "a.jsonl is cut off in line 2"),
    "white": ("\n \n", "a.jsonl is empty"),
    "no mouse": (without("mouse"), "a.jsonl holds no tick that can be read: line 1 has no mouse; it has keyb"),
    "no dx": (without("mouse", "dx"), "line 1 has no mouse.dx"),
    "no buttons": (without("mouse", "buttons"), "line 1 has no mouse.buttons"),
    "null for the mouse": (json.dumps(tick() | {"mouse": None}), "line 1 has no mouse"),
    "null for the keys": (json.dumps(tick() | {"keyboard": {"keys": None}}), "line 1 has no keyboard.keys"),
    "a list": ("[1, 2]", "line 1 is a list, not a tick"),
    "a number": ("5", "line 1 is 5, not a tick"),
    "nested": ("[" * 9999, "is not JSON in line 1"),
    "infinite": (json.dumps(tick(dx=float("inf"))), "line 1 has mouse.dx Infinity"),
    "text": (json.dumps(tick(dx="fast")), 'line 1 has mouse.dx "fast"'),
    "gui in words": (json.dumps(tick(gui="no")), 'line 1 has isGuiOpen "no", not true or false'),
    "an endless line": (b"{" + b" " * 2**21, "line 1 is longer than any tick"),
    "another schema": ('{"camera": [0, 1], "forward": 1}', "line 1 has no mouse; it has camera, forward"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_named_in_one_line(tmp_path, case):
    content, message = DAMAGE[case]
    path = tmp_path / "a.jsonl"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(RecordingError) as caught:
        read_ticks(path)
    assert message in str(caught.value) and len(str(caught.value).splitlines()) == 1


@given(mask=st.lists(st.booleans(), max_size=30), shortest=st.integers(1, 5))
def test_runs_by_brute_force(mask, shortest):
    stretches = [
        (a, b)
        for a in range(len(mask))
        for b in range(a + 1, len(mask) + 1)
        if all(mask[a:b]) and (a == 0 or not mask[a - 1]) and (b == len(mask) or not mask[b])
    ]
    assert runs(np.array(mask, bool), shortest) == [(a, b) for a, b in stretches if b - a >= shortest]
