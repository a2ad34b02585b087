"""What there is to gain in ViZDoom: tics lived, an end that is seen, a strip of health, scripts that know the goal."""

import contextlib

import numpy as np
import pytest

from prowl_jax.envs.vizdoom import TASKS, ViZDoom, action_spec, make_vizdoom
from prowl_jax.envs.vizdoom_goals import PLAYERS, Collect, Dodge, Survival

SPEC = action_spec()
FRAMES = 48, 64


def ball(x, y, vx, vy):
    return np.array([[x, y, vx, vy], [0, 0, 0, 0]], np.float32)


@pytest.mark.parametrize("y, aside", [(20.0, {2}), (-20.0, {1}), (300.0, {0})])
def test_who_knows_the_goal_steps_away_from_a_fireball(y, aside):
    """It looks along x, y grows to its left: a ball that will land to the left is fled to the right, a far one not."""
    player = Dodge(SPEC)
    player.reset(0)
    action = player.act(np.array([-430.0, 350.0, 0.0]), ball(150.0, y, -10.0, 0.0))
    assert action[SPEC.index("strafe")] in aside and np.delete(action, SPEC.index("strafe")).tolist() == np.delete(
        SPEC.null, SPEC.index("strafe")
    ).tolist()


def test_it_does_not_flee_into_a_wall():
    player = Dodge(SPEC)
    player.reset(0)
    action = player.act(np.array([-430.0, 40.0, 0.0]), ball(150.0, 20.0, -10.0, 0.0))
    assert action[SPEC.index("strafe")] == 1  # to the left, past the ball: on the right is the end


def test_who_gathers_turns_to_the_nearest_medikit_and_walks():
    player = Collect(SPEC)
    left = player.act(np.array([0.0, 0.0, 0.0]), np.array([[0, 100, 0, 0], [900, 0, 0, 0]], np.float32))
    ahead = player.act(np.array([0.0, 0.0, 0.0]), np.array([[100, 0, 0, 0], [0, 0, 0, 0]], np.float32))
    camera = SPEC.factors[SPEC.index("yaw")].camera
    assert camera.decode(left[SPEC.index("yaw")]) == camera.degrees[0] and left[SPEC.index("move")] == 0
    assert camera.decode(ahead[SPEC.index("yaw")]) == 0 and ahead[SPEC.index("move")] == 1
    assert player.act(np.zeros(3), np.zeros((2, 4), np.float32)).tolist() == SPEC.null.tolist()


def test_goals_belong_to_tasks_in_which_one_can_die():
    mortal = {name for name, task in TASKS.items() if task.mortal}
    assert mortal == PLAYERS.keys() == {name for name in TASKS if ViZDoom.goals_of(name)}
    assert ViZDoom.goals_of("explore") == {} and set(ViZDoom.goals_of("take_cover")) == {"survive"}
    with pytest.raises(ValueError, match="nobody can die"):
        make_vizdoom("explore", 1, survival=Survival(10))


@pytest.fixture(scope="module")
def hurt():
    """Standing still in front of the imps until it is over, more than once: frames, done, info of one game's steps."""
    pytest.importorskip("vizdoom")
    with contextlib.closing(
        make_vizdoom("take_cover", 1, workers=1, frame_size=FRAMES, frame_skip=2, survival=Survival(400))
    ) as env:
        env.reset([3])
        steps, still = [], SPEC.null[None].copy()
        still[0, SPEC.index("move")] = 1  # a dead key
        for _ in range(350):
            step = env.step(still)
            info = {name: value.copy() for name, value in step.info.items()}
            steps.append((step.frames[0].copy(), bool(step.done[0]), info))
    return zip(*steps, strict=True)


def test_a_hit_is_seen_in_the_strip_and_death_ends_the_episode(hurt):
    frames, done, info = map(list, hurt)
    strip = np.array([frame[-1, 0].astype(int) for frame in frames])
    assert (strip.sum(1) > 240).all() and strip[0, 1] == 255  # green: well
    over = [bool(i["over"][0]) for i in info]
    assert sum(done) >= 1 and over == done  # and no limit was reached
    end = done.index(True)
    assert strip[end, 1] == 255  # what is shown then is the next episode
    assert strip[:, 1].min() < 240  # there were wounds that did not kill
    assert all(i["reward"][0] == 2.0 for i in info)
    positions = np.array([i["pose"][0] for i in info[:end]])
    assert np.ptp(positions[:, 0]) < 60 and positions[0, 0] < -300  # dead keys walk nowhere: only hits push
    things = np.stack([i["things"][0] for i in info])
    assert things.shape[1:] == (8, 4) and (things[..., 2] < 0).any()


def test_who_goes_on_is_healed_and_the_last_point_is_shown():
    pytest.importorskip("vizdoom")
    world = ViZDoom(frame_size=FRAMES, workers=1, frame_skip=8)
    frames, actions, done, info = world.rewarded_play("take_cover", "survive", 120, np.arange(1), by="take_cover")
    assert frames.shape == (120, 1, *FRAMES, 3) and actions.shape == (120, 1, 5)
    over = np.flatnonzero(info["over"][:, 0])
    assert len(over) and not done[:-1].any() and done[-1, 0]  # the limit alone ends it
    after = frames[over[0] + 1, 0, -1, 0] if over[0] < 119 else None
    assert after is None or after[0] > 240  # red: dying, and no picture of another episode
    later = frames[min(over[0] + 3, 119), 0, -1, 0]
    assert later[1] > 100  # healed
