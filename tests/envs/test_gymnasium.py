"""Environments of Gymnasium: their actions as factors, their pictures as frames, and what is said of bad ones."""

import contextlib
import dataclasses

import numpy as np
import pytest

pytest.importorskip("gymnasium")
from gymnasium import spaces

from prowl_jax.data import columns
from prowl_jax.envs.action_spaces import Actions, ActionSettings, levels, words
from prowl_jax.envs.gymnasium import Gymnasium
from prowl_jax.envs.gymnasium_game import Game, Picture
from prowl_jax.envs.hands import Hands, HandSettings
from prowl_jax.envs.workers import EnvironmentFailure

DOT = Gymnasium(make_with="gym_toys:Dot", frames="picture", frame_size=(16, 24))


def derived(space, labels=None, **settings):
    return Actions(space, ActionSettings(**settings), labels)


def test_whole_numbers_are_factors_as_they_are():
    actions = derived(spaces.Discrete(3, start=-1), ["left", "NOOP", "right"])
    assert words(actions.spec) == "action (left, [NOOP], right)" and actions([2]) == 1
    actions = derived(spaces.MultiDiscrete([2, 3]))
    assert actions.spec.sizes == (2, 3) and actions([1, 2]).tolist() == [1, 2]
    maze = derived(spaces.Discrete(3), ["left", "right", "ahead", "back", "done"])  # which names more than it takes
    assert words(maze.spec) == "action (left, right, ahead)"  # and none of them does nothing
    assert words(derived(spaces.Discrete(2)).spec) == "action (0, 1)"
    assert words(columns.parse("pan:-1..1:3").spec) == "pan (-1, [+0], +1)"
    nested = spaces.Dict({"b": spaces.MultiBinary(2), "a": spaces.Tuple((spaces.Discrete(2), spaces.Discrete(4)))})
    actions = derived(nested)
    assert nested.contains(actions([1] * len(actions.spec.factors)))
    assert {"b_0", "b_1", "a_0", "a_1"} == set(actions.spec.names)


@pytest.mark.parametrize("law", ["uniform", "mu_law"])
@pytest.mark.parametrize("limits", [(-1.0, 1.0), (-2.0, 1.0), (0.0, 1.0), (-3.0, -1.0), (2.0, 5.0)])
def test_bins_keep_to_their_limits_and_the_null_is_nearest_to_nothing(law, limits):
    values = levels(*limits, 5, law)
    assert (np.diff(values) > 0).all() and values[[0, -1]] == pytest.approx(limits)
    actions = derived(spaces.Box(*limits, (1,)), law=law)
    assert abs(actions(actions.spec.null)[0]) == pytest.approx(np.abs(values).min())
    if law == "mu_law" and limits == (0.0, 1.0):
        assert values[1] < 0.25  # fine near zero


def test_a_camera_turns_by_degrees_and_is_still_in_the_middle():
    box = spaces.Box(-0.5, 0.5, (2,), np.float32)
    actions = derived(box, camera=("axis_1",), camera_degrees=10.0, bins=11, names=("axis_1=yaw", "axis_0=walk"))
    yaw = actions.spec.factors[0]
    assert yaw.name == "yaw" and yaw.camera.max_degrees == 10.0 and yaw.null == 5
    assert actions([10, 5]) == pytest.approx([0.0, 0.5]) and actions(actions.spec.null) == pytest.approx([0, 0])


def test_factors_are_renamed_reordered_and_left_at_rest():
    space = spaces.Dict({"esc": spaces.Discrete(2), "go": spaces.Discrete(3)})
    actions = derived(space, names=("go=move:stay,ahead,back",))
    assert words(actions.spec) == "move ([stay], ahead, back)"
    assert actions([2]) == {"esc": 0, "go": 2}


def test_a_value_that_is_named_so_does_nothing():
    actions = derived(spaces.Discrete(3), names=("action=go:left,idle,right",))
    assert words(actions.spec) == "go (left, [idle], right)" and actions(actions.spec.null) == 1


def test_sticky_repeats_what_was_done():
    actions = derived(spaces.Discrete(2), sticky=True)
    assert [int(actions([i])) for i in (0, 2, 0, 1, 0)] == [0, 1, 1, 0, 0]
    assert derived(spaces.Discrete(2), ["noop", "go"], sticky=True).spec.sizes == (2,)


@pytest.mark.parametrize(
    ("space", "settings", "line"),
    [
        (spaces.Text(4), {}, "Text cannot be cut into factors; wrap"),
        (spaces.Box(-np.inf, np.inf, (1,)), {}, "axis of the action space goes from -inf to inf.*give limits="),
        (spaces.Box(-1, 1, (1,)), {"limits": (-2.0, 2.0)}, "leave the space's -1..1"),
        (spaces.Box(-1, 1, (2,)), {"limits": (-1.0, 1.0) * 3}, "has 3 pairs; give one, or 2"),
        (spaces.Box(0, 1, (1,)), {"camera": ("axis",)}, "as much to both sides"),
        (spaces.Box(-1, 1, (200,)), {}, "has 200 numbers"),
        (spaces.Discrete(2), {"limits": (-1.0, 1.0)}, "limits are for the dimensions of a Box"),
        (spaces.Discrete(2), {"camera": ("yaw",)}, "camera=yaw is no factor; there are action"),
        (spaces.Discrete(2), {"names": ("action=go:one",)}, "has 2 values, and .* names 1"),
        (spaces.Discrete(2), {"names": ("action", "action=b")}, "has a factor twice"),
    ],
)
def test_what_cannot_be_cut_is_one_line(space, settings, line):
    with pytest.raises(ValueError, match=line) as caught:
        derived(space, **settings)
    assert "\n" not in str(caught.value)


def test_pictures_of_all_kinds_become_frames():
    grey = np.full((20, 30), 51, np.uint8)
    for frame in (grey, grey[..., None], np.stack([grey] * 3), np.stack([grey] * 4, -1), np.full((20, 30, 3), 0.2)):
        small = Picture((8, 10))(frame)
        assert small.shape == (8, 10, 3) and small.dtype == np.uint8 and (small == 51).all()
    for frame, line in (
        (np.zeros(4, np.uint8), "no picture"),
        (np.full((20, 30), 2.0), "not within 0..1"),
        (np.full((20, 30), np.nan), "not within 0..1"),
        (grey.astype(np.int64), "int64"),
    ):
        with pytest.raises(ValueError, match=line):
            Picture((8, 10))(frame)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"make_with": "NoSuchThing-v0"}, "env.gymnasium.make=NoSuchThing-v0: NameNotFound"),
        ({"make_with": "gym_toys:Nothing"}, "env.gymnasium.make=gym_toys:Nothing"),
        ({"make_with": "no_such_module:f"}, "env.gymnasium.make=no_such_module:f needs a package: .*no_such_module"),
        ({"make_with": "gym_toys.py:Nothing"}, "cannot be made: .*there is no such file, or no such function in it"),
        ({"make_with": "os:getcwd"}, "it returned str, which is no environment"),
        ({"make_with": "gym_toys:Words"}, "Text cannot be cut"),
        ({"make_with": "gym_toys:Endless"}, "give limits="),
        ({"make_with": "gym_toys:Old"}, "reset returned no"),
        ({"arguments": '{"fault": "size"}'}, "a frame is 21x30, the first was 20x30"),
        ({"arguments": '{"fault": "nan"}'}, "NaN or infinite"),
        ({"arguments": '{"wrong": 1}'}, "unexpected keyword argument 'wrong'"),
        ({"frames": "pixels"}, "frames=pixels is no key of the observation: there are picture, speed"),
        ({"frames": "render"}, "NotImplementedError"),
        ({"shown_by": "gym_toys:nobody"}, "demonstrator=gym_toys:nobody: there is no such function"),
    ],
)
def test_an_environment_that_cannot_be_used_is_one_line_before_anything_runs(settings, line):
    with pytest.raises(ValueError, match=line) as caught:
        dataclasses.replace(DOT, **settings).check_installed()
    assert "\n" not in str(caught.value) and str(caught.value).startswith("env.gymnasium.")


def test_without_gymnasium_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "gymnasium", None)
    with pytest.raises(ValueError, match="pip install 'gymnasium>=1.0'"):
        dataclasses.replace(DOT, arguments='{"length": 7}').check_installed()


def test_an_action_is_held_and_an_episode_ends_at_its_time_limit():
    game = Game(dataclasses.replace(DOT, frame_skip=3, arguments='{"length": 8}'))
    game.reset(0)
    x, right = game.env.x, [0, 1, 2]
    assert [game.step(np.array(right))[1] for _ in range(3)] == [False, False, True]
    assert game.env.steps == 8 and (game.env.x - x) % 30 == 8


def test_an_environment_that_breaks_starts_again():
    broken = dataclasses.replace(DOT, arguments='{"fault": "nan"}', restarts=3)
    env = broken.make("play", 1)
    try:
        env.reset([1])
        steps = [env.step(broken.spec.null[None]) for _ in range(3)]
        assert [bool(s.info["broken"][0]) for s in steps] == [False, False, True] and steps[-1].done[0]
        assert not env.reset([1]).info["broken"][0]
    finally:
        env.close()
    env = dataclasses.replace(broken, restarts=0).make("play", 1)
    try:
        env.reset([1])
        with pytest.raises(EnvironmentFailure, match="environment 0 failed in step: ValueError: an obs.* has NaN"):
            [env.step(broken.spec.null[None]) for _ in range(3)]
    finally:
        env.close()


def test_a_policy_of_somebodys_is_recorded():
    frames, actions = next(dataclasses.replace(DOT, shown_by="gym_toys:to_the_right").record("play", 5, 1, 0))
    assert actions.tolist() == [[0, 1, 2]] * 5
    columns = frames[:, 0].sum(-1).argmax(-1)
    assert (np.diff(columns) > 0).any() and frames.shape == (5, 16, 24, 3)


def test_hands_hold_keys_and_strokes_swell_and_fade():
    spec = derived(
        spaces.Dict({"key": spaces.MultiBinary(1), "yaw": spaces.Box(-10.0, 10.0, (1,))}), camera=("yaw",), bins=11
    ).spec
    hands = Hands(spec, HandSettings(hold=(4, 8), stroke=(5, 9), rest=0.5))
    hands.reset(3)
    actions = np.stack([hands.act() for _ in range(4000)])
    key, yaw = actions[:, spec.index("key")], actions[:, spec.index("yaw")]
    changes = np.flatnonzero(np.diff(key)) + 1
    assert np.diff(changes).min() >= 4 and 0.4 < key.mean() < 0.6
    assert np.abs(np.diff(yaw)).mean() < 0.6 * np.abs(np.diff(np.random.default_rng(0).permutation(yaw))).mean()
    hands.reset(3)
    assert (np.stack([hands.act() for _ in range(50)]) == actions[:50]).all()


def test_hands_press_both_of_two_values_where_neither_is_nothing():
    hands = Hands(derived(spaces.Discrete(2)).spec)
    assert 0.4 < np.mean([hands.act() for _ in range(4000)]) < 0.6


@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
def test_the_frame_of_a_done_step_is_the_next_episodes_first_one(mode):
    arguments = f'{{"length": 4, "mode": "{mode}"}}'
    make = Gymnasium(make_with="gym_toys:make_vector", arguments=arguments, vector=True, frame_size=(20, 30))
    env = make.make("play", 2)
    env.reset([1, 2])
    still = env.spec.null[None].repeat(2, 0)
    steps = [env.step(still) for _ in range(9)]
    before = [s.done.tolist() for s in steps].index([True, True])
    assert before == (4 if mode == "NextStep" else 3)
    assert (steps[before].frames != steps[before - 1].frames).any()
    assert env.env.envs[0].steps == (4 if mode == "NextStep" else 1)
    env.close()


@pytest.mark.parametrize(("fault", "line"), [("nan", "has NaN or infinite"), ("size", "ValueError")])
def test_a_vector_environment_that_breaks_is_one_line(fault, line):
    make = Gymnasium(make_with="gym_toys:make_vector", vector=True, arguments=f'{{"fault": "{fault}", "kind": "Dot"}}')
    with contextlib.closing(dataclasses.replace(make, frames="picture", frame_size=(20, 30)).make("play", 2)) as env:
        env.reset([1, 2])
        with pytest.raises(EnvironmentFailure, match=f"the vector environment failed in step: .*{line}") as caught:
            [env.step(env.spec.null[None].repeat(2, 0)) for _ in range(3)]
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({}, "env.gymnasium.make=envpool:Pong-v5 makes many at once: set env.gymnasium.vector=True"),
        ({"vector": True}, "env.gymnasium.make=envpool:Pong-v5 needs a package: .*envpool"),
    ],
)
def test_what_envpool_needs_is_one_line(monkeypatch, settings, line):
    monkeypatch.setitem(__import__("sys").modules, "envpool", None)
    with pytest.raises(ValueError, match=line) as caught:
        Gymnasium(make_with="envpool:Pong-v5", **settings).check_installed()
    assert "\n" not in str(caught.value)
