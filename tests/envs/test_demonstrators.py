"""Scripted demonstrators: reproducible, varied, smooth, and not stuck at walls."""

import functools
import types

import grid_toy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prowl_jax.envs.activities import Demonstrator, bearing
from prowl_jax.envs.behaviours import bright_bearing
from prowl_jax.envs.demonstrators import record
from prowl_jax.envs.gaps import Gaps, happens
from prowl_jax.envs.held_keys import KINDS
from prowl_jax.envs.vizdoom import TASKS, action_spec, make_demonstrator, make_vizdoom
from prowl_jax.envs.workers import ProcessVectorEnv

SPEC = action_spec()
WALKERS = [name for name, task in TASKS.items() if task.behaviour not in KINDS and not task.keys]
YAW = SPEC.factors[SPEC.index("yaw")].camera


class Walker:
    """A body on a plane that does what it is told, within a square room where there is one."""

    def __init__(self, room=np.inf):
        self.pose, self.room = np.zeros(3, np.float32), room

    def do(self, action):
        self.pose[2] = (self.pose[2] - YAW.decode(action[4])) % 360
        heading = np.radians(self.pose[2])
        ahead, left = (0, 1, -1)[action[0]], (0, 1, -1)[action[1]]
        x = ahead * np.cos(heading) - left * np.sin(heading)
        y = ahead * np.sin(heading) + left * np.cos(heading)
        self.pose[:2] = np.clip(self.pose[:2] + 30 * np.array([x, y]), -self.room, self.room)


def act(task, steps, seed=0, room=np.inf, gaps=None):
    """Actions [T, A] and poses [T, 3] of a demonstrator in an ideal body."""
    actor, body, poses = make_demonstrator(task, SPEC, seed, gaps), Walker(room), []
    actions = []
    for _ in range(steps):
        poses.append(body.pose.copy())
        actions.append(actor.act(body.pose, np.zeros((48, 64, 3), np.uint8)))
        body.do(actions[-1])
    return np.stack(actions), np.stack(poses)


@pytest.mark.parametrize("task", WALKERS)
def test_actions_are_valid_varied_and_reproducible(task):
    actions, _ = act(task, 1500, room=400)
    assert SPEC.check(actions).dtype == np.int32 and actions.dtype == np.int32
    np.testing.assert_array_equal(actions, act(task, 1500, room=400)[0])
    assert (actions != act(task, 1500, seed=1, room=400)[0]).any()
    for name in ("move", "strafe", "yaw"):
        values = np.bincount(actions[:, SPEC.index(name)], minlength=3)
        assert (values > 0).all(), name  # every value occurs
    assert actions[:, SPEC.index("attack")].any() and actions[:, SPEC.index("use")].any()


@pytest.mark.parametrize("task", WALKERS)
def test_turning_is_frequent_and_only_half_predictable(task):
    """So that a policy can be cloned, and yet the last frames do not tell what the next turn is."""
    actions, _ = act(task, 3000, room=400)
    degrees = YAW.decode(actions[:, SPEC.index("yaw")])
    assert np.mean(degrees != 0) > 0.6
    assert np.mean(np.abs(degrees) >= 3) > 0.4
    assert abs(degrees.mean()) < 1.0  # no preferred side
    assert 0.4 < np.corrcoef(degrees[1:], degrees[:-1])[0, 1] < 0.85
    assert np.corrcoef(degrees[4:], degrees[:-4])[0, 1] < 0.5


def test_who_may_only_step_aside_does_nothing_else():
    actions, _ = act("take_cover", 600, room=400)
    others = [i for i in range(len(SPEC.factors)) if i != SPEC.index("strafe")]
    np.testing.assert_array_equal(actions[:, others], np.tile(SPEC.null[others], (600, 1)))
    assert (np.bincount(actions[:, SPEC.index("strafe")], minlength=3) > 60).all()


def test_tasks_behave_differently():
    """Explorers mostly walk, those who look around mostly do not, duellists side-step and shoot."""
    rates = {}
    for task in WALKERS:
        actions, _ = act(task, 3000, room=400)
        rates[task] = {n: np.mean(actions[:, SPEC.index(n)] == 1) for n in ("move", "strafe", "attack")}
    assert rates["explore"]["move"] > 0.5
    assert rates["look_around"]["move"] < 0.4
    assert rates["strafe_duel"]["strafe"] > 2 * rates["explore"]["strafe"]
    assert rates["strafe_duel"]["attack"] > 5 * rates["explore"]["attack"]


@pytest.mark.parametrize("left_out", [set(), {"strafe"}, {"attack", "back"}])
def test_what_is_not_left_out_happens(left_out):
    actions, _ = act("look_around", 6000, room=400, gaps=Gaps(**dict.fromkeys(left_out, 0.0)))
    shown = happens(SPEC, SPEC.check(actions))
    expected = {thing for thing in THINGS if not needs(thing) & left_out}
    assert {thing for thing in THINGS if shown[thing].any()} == expected


def needs(thing):
    """What has to be allowed for a thing to happen."""
    return {"strafe_turning": {"strafe"}}.get(thing, set()) | {thing}


THINGS = ("strafe", "back", "attack", "use", "strafe_turning", "fast_turn")  # those that ViZDoom's factors can make


@pytest.mark.parametrize("task", ["explore", "look_around", "strafe_duel"])
@given(left_out=st.sets(st.sampled_from(THINGS)), seed=st.integers(0, 1000))
@settings(max_examples=6, deadline=None)
def test_what_is_left_out_never_happens(task, left_out, seed):
    """And nobody gets stuck in a turn that may not be turned."""
    gaps = Gaps(**dict.fromkeys(left_out, 0.0))
    actions, _ = act(task, 1500, seed, room=400, gaps=gaps)
    shown = happens(SPEC, SPEC.check(actions), gaps)
    assert set(shown) == set(THINGS)
    for thing, times in shown.items():
        assert not (times.any() and needs(thing) & left_out), thing
    windows = actions[:1500].reshape(15, 100, -1)
    assert (np.ptp(windows, axis=1).max(1) > 0).all()


@pytest.mark.parametrize("task", ["look_around", "strafe_duel"])
def test_no_gaps_change_nothing_and_a_half_is_between(task):
    plain, _ = act(task, 12000, room=400)
    np.testing.assert_array_equal(act(task, 1000, room=400, gaps=Gaps())[0], plain[:1000])
    half, _ = act(task, 12000, room=400, gaps=Gaps(strafe=0.5))
    strafing = [happens(SPEC, a)["strafe"].mean() for a in (half, plain)]
    assert 0.3 < strafing[0] / strafing[1] < 0.7


def test_the_control_does_what_is_left_out_with_a_calm_camera():
    speed = {}
    for name, gaps in {"planted": None, "turning": Gaps(fast_turn=0.0, use=0.0)}.items():
        actions, poses = act("control", 3000, room=400, gaps=gaps)
        shown = {thing: times.mean() for thing, times in happens(SPEC, SPEC.check(actions), gaps or Gaps()).items()}
        done = {thing for thing, share in shown.items() if share > 0.1}
        assert done == ({"strafe", "back", "strafe_turning"} if gaps is None else {"fast_turn", "use"})
        assert 0.15 < (actions[:, SPEC.index("move")] == 1).mean() < 0.4  # and walks ahead in between
        speed[name] = SPEC.camera_speed(actions).mean()
        assert np.ptp(poses[:, :2]) > 400
    assert speed["planted"] < 1 < 2 < speed["turning"]


def test_the_wide_one_does_everything_equally_often():
    actions, _ = act("wide", 20000, room=400)
    for i, factor in enumerate(SPEC.factors):
        share = np.bincount(actions[:, i], minlength=factor.size) / len(actions)
        if not factor.camera:
            np.testing.assert_allclose(share, 1 / factor.size, atol=0.05)
        assert (share > 0.02).all(), factor.name
    held = np.diff(np.flatnonzero(np.diff(actions[:, :4], axis=0).any(1)))
    assert 8 < held.mean() < 20  # 4 to 20 steps, and now and then the same again


@pytest.mark.parametrize(
    ("task", "gaps", "message"),
    [
        ("explore", Gaps(jump=0.0), "gaps.jump needs the action factor 'jump'"),
        ("control", Gaps(), "they leave nothing out"),
        ("wide", Gaps(strafe=0.0), "takes no gaps"),
    ],
)
def test_gaps_that_a_task_cannot_have_are_refused(task, gaps, message):
    with pytest.raises(ValueError, match=message):
        make_demonstrator(task, SPEC, 0, gaps)


def test_a_walker_gets_away_from_walls():
    """In a room of 800 x 800 it seldom stays in one place, and sees all four quarters."""
    _, poses = act("explore", 3000, room=400)
    assert (np.abs(poses[:, :2]).max(1) >= 400).mean() > 0.02  # it does meet walls
    assert len({(x > 0, y > 0) for x, y, _ in poses}) == 4
    windows = poses[:3000, :2].reshape(50, 60, 2)  # of 5 seconds
    assert (np.ptp(windows, axis=1).max(1) < 100).mean() < 0.1


@pytest.mark.parametrize("place, expected", [((10, 0), 0), ((0, -10), 90), ((0, 10), -90), ((10, -10), 45)])
def test_bearing_is_positive_to_the_right(place, expected):
    assert bearing((0, 0, 0), place) == pytest.approx(expected)
    assert bearing((0, 0, 350), place) == pytest.approx(expected - 10)


def test_bright_things_are_found_and_walked_to():
    frame = np.full((48, 64, 3), 60, np.uint8)
    assert bright_bearing(frame) is None
    frame[:20] = 255  # the sky is not on the ground
    assert bright_bearing(frame) is None
    frame[40:42, 63] = 200
    assert bright_bearing(frame) == pytest.approx(45, abs=1)
    frame[30, 0] = 200  # higher up is farther away
    assert bright_bearing(frame) == pytest.approx(45, abs=1)
    turned = np.zeros(20)  # by seed: now and then one explores instead
    for seed in range(20):
        actor = make_demonstrator("gather", SPEC, seed)
        for t in range(6):
            turned[seed] += YAW.decode(actor.act(np.array([0, 100.0 * t, 0]), frame)[4])
    assert turned.mean() > 10 and (turned > 5).mean() > 0.7


def test_a_square_frame_shows_a_narrower_view():
    """Of a frame cut from the middle the last column is at 36.9 degrees (its tangent three quarters), not at 45."""
    square = np.full((64, 64, 3), 60, np.uint8)
    square[50, 63] = 200
    assert bright_bearing(square) == pytest.approx(36.4, abs=0.5)


def test_recording_pairs_frames_with_actions_and_cuts_at_the_end():
    """On the toy's line the walker stands where the actions up to then have brought it."""

    class Forward(Demonstrator):
        def __init__(self):
            pass

        def reset(self, seed):
            pass

        def act(self, pose, frame=None):
            assert frame[0, int(pose[0])].all()
            return np.array([1, 5], np.int32)

    env = ProcessVectorEnv(grid_toy.Line, 2, 1, grid_toy.SPEC, grid_toy.FRAME_SHAPE)
    progress = []
    try:
        recorded = list(record(env, Forward, 30, 3, 7, progress.append))
    finally:
        env.close()
    assert len(recorded) == 3
    for frames, actions in recorded:
        x = frames[:, 0].any(-1).argmax(-1)
        np.testing.assert_array_equal(x, x[0] + np.arange(len(x)))
        assert x[-1] == 14 and len(actions) == len(frames) < 30  # one more step ends it
        assert frames.dtype == np.uint8 and actions.dtype == np.int32
    assert progress[-1] == sum(len(frames) for frames, _ in recorded)


def test_an_episode_in_which_the_environment_broke_is_recorded_anew():
    """Of two environments the second breaks in the first round; frames say who played, and in which round."""
    spec = grid_toy.SPEC

    class Breaking:
        num_envs, frame_shape, rounds = 2, (1, 1, 3), 0

        def reset(self, seeds):
            self.rounds, self.t = self.rounds + 1, 0
            return self.seen()

        def step(self, actions):
            self.t += 1
            return self.seen()

        def seen(self):
            shown = np.array([10 * self.rounds, 10 * self.rounds + 1], np.uint8)
            broken = np.array([False, self.rounds == 1 and self.t == 2])
            frames = np.broadcast_to(shown[:, None, None, None], (2, 1, 1, 3))
            return types.SimpleNamespace(
                frames=frames, done=np.zeros(2, bool), info={"pose": np.zeros((2, 3)), "broken": broken}
            )

    class Still:
        def reset(self, seed):
            pass

        def act(self, pose, frame=None):
            return np.zeros(len(spec.factors), np.int32)

    Breaking.spec = spec
    recorded = list(record(Breaking(), Still, 4, 3, 7))
    assert [int(frames[0, 0, 0, 0]) for frames, _ in recorded] == [10, 20, 21]
    assert {len(frames) for frames, _ in recorded} == {4}


def test_recording_in_the_engine_is_reproducible_and_moves():
    pytest.importorskip("vizdoom")
    env = make_vizdoom("explore", 2, workers=2)
    try:
        make = functools.partial(make_demonstrator, "explore", env.spec, 0)
        first, again = (list(record(env, make, 120, 3, seed=5)) for _ in range(2))
    finally:
        env.close()
    assert [len(frames) for frames, _ in first] == [120] * 3
    for (frames, actions), (frames_again, actions_again) in zip(first, again, strict=True):
        np.testing.assert_array_equal(frames, frames_again)
        np.testing.assert_array_equal(actions, actions_again)
        change = np.abs(np.diff(frames.astype(int), axis=0)).mean(axis=(1, 2, 3))
        assert np.median(change) > 1.5


def test_unknown_tasks_and_empty_recordings_are_refused():
    with pytest.raises(ValueError, match="there are explore"):
        make_demonstrator("tetris", SPEC, 0)
    with pytest.raises(ValueError, match="must be positive"):
        next(record(None, None, 0, 1, 0))
