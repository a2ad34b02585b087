"""Gaps: what the words mean, against words; that voxel demonstrators leave out what they shall, and controls do it."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prowl_jax import minecraft
from prowl_jax.envs import vizdoom
from prowl_jax.envs.device import keys
from prowl_jax.envs.gaps import THINGS, Gaps, happens, per_thousand, rarely, table, without
from prowl_jax.envs.held_keys import control
from prowl_jax.envs.voxel import SPEC, TASKS, behaviour_of, demonstrate, make_world, record

SPECS = {"voxel": SPEC, "vizdoom": vizdoom.action_spec(), "minecraft": minecraft.SPEC}


def told(spec, action):
    """The things that one action is, from its description in words."""
    words = spec.describe(action).split(", ")
    turn = [float(w.removeprefix("yaw ")) for w in words if w.startswith("yaw")]
    keys = {w for w in words if w in THINGS}
    keys |= {"strafe"} & {"strafe" for w in words if w in ("left", "right")}
    keys |= {"strafe_turning"} & {"strafe_turning" for _ in turn if "strafe" in keys}
    keys |= {"sprint_jump"} & {"sprint_jump" for _ in words if {"sprint", "jump"} <= keys}
    moves = {"left", "right", "forward", "back"} & {w.removeprefix("move ").removeprefix("strafe ") for w in words}
    keys |= {"jump_moving"} & {"jump_moving" for _ in words if "jump" in keys and moves}
    return keys | ({"fast_turn"} if turn and abs(turn[0]) > 6 else set())


@settings(max_examples=40, deadline=None)
@given(name=st.sampled_from(sorted(SPECS)), seed=st.integers(0, 2**32 - 1))
def test_things_are_what_the_words_of_an_action_say(name, seed):
    spec, rng = SPECS[name], np.random.default_rng(seed)
    actions = rng.integers(0, np.array(spec.sizes), (3, 5, len(spec.sizes))).astype(np.int32)
    actions = np.where(rng.random(actions.shape) < 0.5, spec.null, actions)
    shown = happens(spec, actions)
    assert list(shown) == [t for t in THINGS if not t.startswith("look_") and set(THINGS[t]) <= set(spec.names)]
    for at in np.ndindex(3, 5):
        assert {thing for thing in shown if shown[thing][at]} == told(spec, actions[at])
    of_jax = happens(spec, jnp.asarray(actions))
    jax.tree.map(np.testing.assert_array_equal, shown, of_jax)


def test_looking_far_needs_to_know_where_one_looks():
    actions, pitch = np.tile(SPEC.null, (4, 1)), np.array([19.0, 21.0, -21.0, 0.0])
    assert "look_far" not in happens(SPEC, actions)
    np.testing.assert_array_equal(happens(SPEC, actions, pitch=pitch)["look_far"], [False, True, True, False])
    np.testing.assert_array_equal(happens(SPEC, actions, pitch=pitch)["look_down"], [False, True, False, False])
    far = happens(SPEC, actions, Gaps(far_degrees=20.5, fast_degrees=3.3), pitch)["look_far"]
    np.testing.assert_array_equal(far, [False, True, True, False])


def test_the_table_counts_every_key_and_thing():
    actions = np.tile(SPEC.null, (8, 1))
    actions[:4, SPEC.index("move")] = (1, 1, 2, 0)
    actions[2:4, SPEC.index("strafe")] = (1, 2)
    actions[3, SPEC.index("yaw")] = 10
    rates = per_thousand(SPEC, actions.reshape(2, 4, -1))
    expected = {"move forward": 250, "move back": 125, "strafe left": 125, "strafe right": 125, "yaw turns": 125}
    expected |= {"strafe_turning": 125, "fast_turn": 125}
    assert {name: rate for name, rate in rates.items() if rate} == expected
    assert {"jump", "sneak", "sprint", "attack", "use", "pitch turns", "sprint_jump"} <= set(rates)
    still = per_thousand(SPECS["vizdoom"], SPECS["vizdoom"].null[None])
    lines = [line.split() for line in table({"a": rates, "another name": still}).splitlines()]
    assert lines[0] == ["per", "1,000", "steps", "a", "another", "name"]
    assert ["move", "back", "125.0", "0.0"] in lines and ["jump", "0.0"] in lines  # ViZDoom has no jump
    with pytest.raises(ValueError, match="at least one action"):
        per_thousand(SPEC, np.zeros((0, 9), int))


def test_who_may_not_jump_while_moving_jumps_where_they_stand():
    allowed = dict.fromkeys(THINGS, True) | {"jump_moving": False}
    for move, strafe, jumps in ((0, 0, 1), (1, 0, 0), (0, 2, 0)):
        assert without({"move": move, "strafe": strafe, "jump": 1}, allowed)["jump"] == jumps
        assert without({"move": move, "strafe": strafe, "jump": 1}, dict.fromkeys(THINGS, True))["jump"] == 1


def test_rarely_leaves_one_in_a_thousand_of_whatever_there_was():
    rates = {"move back": 40.0, "strafe left": 30.0, "strafe right": 20.0, "jump": 0.5, "strafe_turning": 0.0}
    gaps = rarely(rates, ("back", "strafe", "jump", "strafe_turning"))
    assert (gaps.back, gaps.strafe, gaps.jump, gaps.strafe_turning) == (1 / 40, 1 / 50, 1.0, 1.0)
    assert rarely(rates, ("back",), float("inf")).back == 0.0
    with pytest.raises(ValueError, match="say nothing of 'use'"):
        rarely(rates, ("use",))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"strafe": 1.2}, "gaps.strafe=1.2 is not a share"),
        ({"jump": -0.1}, "gaps.jump=-0.1 is not a share"),
        ({"far_degrees": 0.0}, "gaps.far_degrees=0.0 is not a number above 0"),
    ],
)
def test_chances_and_limits_out_of_range_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Gaps(**wrong)


def test_a_thing_needs_its_factors():
    gaps = Gaps(sprint_jump=0.0)
    assert gaps.check(SPEC) is gaps and gaps.planted == ("sprint_jump",)
    with pytest.raises(ValueError, match="gaps.sprint_jump needs the action factor 'sprint'; there are move"):
        gaps.check(SPECS["vizdoom"])


@functools.cache
def played(task, gaps=None, envs=32, steps=150):
    """Actions [T, N, A] and the pitch on which each is done [T, N]; the pictures are left out by the compiler."""
    env = make_world("wander", worlds=2, frame_size=(8, 8), episode_steps=0)
    chosen, left_out = behaviour_of(task, gaps), gaps if task == "wander" else None

    @jax.jit
    def play(env, seeds):
        first = jax.vmap(env.reset)(seeds)[1].info["pitch"]
        _, actions, _, info = demonstrate(env, chosen, seeds, steps=steps, gaps=left_out)
        return actions, jnp.concatenate([first[None], info["pitch"][:-1]])

    actions, pitch = map(np.asarray, play(env, keys(np.arange(envs), envs)))
    return SPEC.check(actions), pitch


def rates(task, gaps=None):
    actions, pitch = played(task, gaps)
    return {t: s.mean() for t, s in happens(SPEC, actions, gaps or Gaps(), pitch).items()}


def test_no_gaps_change_nothing():
    for plain, ones in zip(played("wander"), played("wander", Gaps()), strict=True):
        np.testing.assert_array_equal(plain, ones)


KEYS = dict.fromkeys(("strafe", "back", "jump", "sprint", "attack", "use"), 0.0)
COMBINED = dict.fromkeys(("strafe_turning", "sprint_jump", "fast_turn", "look_far"), 0.0)


@pytest.mark.parametrize("planted", [KEYS, COMBINED], ids=["keys", "combined"])
def test_what_is_left_out_never_happens_and_the_rest_does(planted):
    shown, plain = rates("wander", Gaps(**planted)), rates("wander")
    assert plain.pop("sneak") == shown.pop("sneak") == 0
    assert all(share > 0 for share in plain.values()), plain
    impossible = {"strafe_turning", "sprint_jump", "jump_moving"} if planted is KEYS else {"look_down"}
    for thing, share in shown.items():
        assert (share == 0) == (thing in planted or thing in impossible), thing
    actions, _ = played("wander", Gaps(**planted))
    for n in range(actions.shape[1]):  # nobody waits for ever for a turn that it may not do
        assert len(np.unique(actions[-60:, n], axis=0)) > 5


def test_a_half_is_between():
    """Of some twenty side-steps, so that a half is seldom exact."""
    half, plain = rates("wander", Gaps(strafe=0.5, jump_moving=0.0, look_down=0.0)), rates("wander")
    assert 0.1 < half["strafe"] / plain["strafe"] < 0.95
    assert half["jump_moving"] == half["look_down"] == 0 < half["look_far"]


def test_a_control_of_steep_looks_only_looks_down():
    chords = control(SPEC, Gaps(look_down=0.0))
    pitch, null = chords.values[1, SPEC.index("pitch")], SPEC.factors[SPEC.index("pitch")].null
    assert pitch[:null].sum() == 0 < pitch[null + 1 :].sum() and chords.level[1] > 45


def test_the_control_does_what_is_left_out_with_a_calm_camera():
    shown = rates("control")
    for thing in ("strafe", "back", "jump"):
        assert shown[thing] > 0.12
    for thing in ("sneak", "sprint", "attack", "use", "fast_turn", "look_far"):
        assert shown[thing] == 0, thing
    actions, _ = played("control")
    assert SPEC.camera_speed(actions).mean() < 0.5 * SPEC.camera_speed(played("wander")[0]).mean()
    gaps = Gaps(sprint_jump=0.2, look_far=0.0, strafe_turning=0.0, fast_turn=0.9, sneak=0.0, use=0.0)
    shown = rates("control", gaps)
    assert {thing for thing, share in shown.items() if share > 0.06} >= set(gaps.planted)
    assert shown["back"] == shown["attack"] == 0


def test_the_wide_one_does_everything_equally_often():
    actions, pitch = played("wide")
    for i, factor in enumerate(SPEC.factors):
        share = np.bincount(actions[..., i].ravel(), minlength=factor.size) / actions[..., i].size
        if not factor.camera:
            np.testing.assert_allclose(share, 1 / factor.size, atol=0.1)
        assert (share > 0.02).all(), factor.name
    assert 15 < np.abs(pitch).mean() < 70  # looks up and down, and comes back


def test_recordings_take_gaps_and_refuse_those_that_make_no_sense():
    small = {"worlds": 2, "frame_size": (8, 8), "num_envs": 8}
    (_, actions), *_ = record("wander", 60, 8, 3, gaps=Gaps(**KEYS), **small)
    assert not any(share.any() for share in (happens(SPEC, actions)[thing] for thing in KEYS))
    assert not TASKS["wide"].held_out and TASKS["control"].held_out
    with pytest.raises(ValueError, match="leave nothing out"):
        next(record("control", 60, 8, 3, gaps=Gaps(), **small))
    with pytest.raises(ValueError, match="takes no gaps, got gaps.use"):
        next(record("wide", 60, 8, 3, gaps=dataclasses.replace(Gaps(), use=0.0), **small))
