"""Whatever a page says is understood, or is one line; bytes come out of ``pack`` as its header says."""

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.live import messages
from prowl_jax.envs.voxel import SPEC

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
KINDS = st.sampled_from(["act", "set", "hold", "pause", "record", "hunt", "resync", "restart", "clip", "finds", "?"])
FIELDS = st.sampled_from(["held", "camera", "turn", "stamp", "on", "name", "value", "seed", "format"])


def understood(text):
    try:
        return messages.read(text, SPEC)
    except messages.BadMessage as error:
        assert "\n" not in str(error) and len(str(error)) < 200
        return None


@given(st.text(max_size=60) | json_values.map(json.dumps))
def test_any_text_is_understood_or_one_line(text):
    understood(text)


@given(st.builds(lambda kind, rest: {**rest, "type": kind}, KINDS, st.dictionaries(FIELDS, json_values, max_size=6)))
def test_any_fields_are_understood_or_one_line(said):
    understood(json.dumps(said))


def test_what_is_held_and_moved():
    said = {"type": "act", "held": {"move": 2}, "camera": {"yaw": 1e9}, "turn": {"pitch": -3.5}, "stamp": 12.5}
    act = messages.read(json.dumps(said), SPEC)
    assert act == messages.Act({"move": 2}, {"yaw": messages.MOST_DEGREES}, {"pitch": -3.5}, 12.5)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"type": "act", "held": {"move": 3}}, "no such value"),
        ({"type": "act", "held": {"yaw": 1}}, "no action"),
        ({"type": "act", "held": {"move": True}}, "no such value"),
        ({"type": "act", "camera": {"move": 1}}, "no camera"),
        ({"type": "act", "camera": {"yaw": float("nan")}}, "number"),
        ({"type": "hold", "on": 1}, "true or false"),
        ({"type": "set", "name": "seed", "value": 1}, "setting"),
        ({"type": "set", "name": "steps", "value": 1.5}, "whole"),
        ({"type": "set", "name": "temperature", "value": 5}, "between"),
        ({"type": "clip", "format": "../../etc/passwd"}, "clip"),
        ({"type": "restart", "seed": -1}, "whole"),
        ({"type": "seen", "tick": "7"}, "number"),
        ([], "type"),
    ],
)
def test_a_mistake_is_named(said, words):
    with pytest.raises(messages.BadMessage, match=words):
        messages.read(json.dumps(said), SPEC)


def test_long_messages_are_refused():
    with pytest.raises(messages.BadMessage, match="at most"):
        messages.read(" " * (messages.MOST_BYTES + 1), SPEC)
    with pytest.raises(messages.BadMessage):
        messages.read("[" * messages.MOST_BYTES, SPEC)


def test_what_is_packed_can_be_cut_apart():
    packed = messages.pack({"type": "picture", "n": 3}, b"abc", b"de")
    (length,) = struct.unpack_from("<I", packed)
    assert json.loads(packed[4 : 4 + length]) == {"type": "picture", "n": 3}
    assert packed[4 + length :] == b"abcde"


def test_a_second_lets_so_many_through():
    rate = messages.Rate(3)
    assert [rate.allows(10.0 + 0.1 * i) for i in range(5)] == [True] * 3 + [False] * 2
    assert rate.allows(11.0)
