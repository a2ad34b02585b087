"""The voxel world as an environment: reproducible, alike alone and in a batch, restarting, honest about events."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from voxel_worlds import cell, inside_something

from prowl_jax.envs.base import DeviceEnv
from prowl_jax.envs.device import DeviceVectorEnv, keys
from prowl_jax.envs.voxel import EVENTS, SPEC, TASKS, make_voxel, make_world, record
from prowl_jax.envs.voxel.blocks import LIGHT, SOLID, WATER, block_of
from prowl_jax.envs.voxel.demonstrations import demonstrate
from prowl_jax.envs.voxel.render import LOOKS
from prowl_jax.envs.voxel.scripted import act, start
from prowl_jax.envs.voxel.tasks import Behaviour

SETTINGS = {"worlds": 2, "frame_size": (24, 32), "episode_steps": 40}  # those of the contract test: compiled once
DEGREES = np.array(SPEC.factors[-1].camera.degrees)


def some_actions(steps, envs, seed=0):
    rng = np.random.default_rng(seed)
    actions = rng.integers(0, np.array(SPEC.sizes), (steps, envs, len(SPEC.sizes))).astype(np.int32)
    actions[..., 0] = rng.random((steps, envs)) < 0.8
    return actions


def test_a_step_of_one_is_a_step_of_many():
    env, many = make_world("wander", **SETTINGS), make_voxel("wander", 3, **SETTINGS)
    assert isinstance(env, DeviceEnv)
    many.reset([5, 6, 7])
    one, step_one = jax.tree.map(lambda x: x[1], many._state), jax.jit(env.step)
    for a in some_actions(6, 3):
        batch = many.step(a)
        one, single = step_one(one, jnp.asarray(a[1]))
        np.testing.assert_allclose(batch.info["position"][1], single.info["position"], atol=1e-4)
        np.testing.assert_array_equal(many._state.world[1], one.world)
        off = np.abs(batch.frames[1].astype(int) - np.asarray(single.frame, int)).max(-1) > 3
        assert off.mean() < 0.01  # rounding at edges


def test_an_episode_that_is_over_restarts_from_the_pool_and_leaves_the_others_alone():
    env = make_voxel("wander", 3, **SETTINGS)
    world = make_world("wander", **SETTINGS)
    step = env.reset([1, 2, 3])
    starts = [np.asarray(step.info["position"])]
    actions = some_actions(130, 3)
    for t, a in enumerate(actions, 1):
        before = step
        step = env.step(a)
        assert step.done.all() == step.done.any() == (t % 40 == 0)
        if t % 40 == 0:
            starts.append(step.info["position"])
            assert np.abs(step.frames.astype(int) - before.frames).mean() > 3  # another place
            np.testing.assert_array_equal(env._state.age, 0)
            np.testing.assert_array_equal(env._state.episode, t // 40)
            for w in np.asarray(env._state.world):
                assert any((w == np.asarray(fresh)).all() for fresh in world.worlds)  # what was dug is whole again
        else:
            moved = np.linalg.norm(step.info["position"] - before.info["position"], axis=1)
            assert (moved < 2.5).all()
    assert len({tuple(p) for s in starts for p in s}) >= 11  # each episode starts in a place of its own


def played(env, steps=12):
    """States' times [T+1, N] and positions, and frames, of three environments of ``env``."""
    many = DeviceVectorEnv(env, 3)
    played = [many.reset([1, 2, 3])] + [many.step(a) for a in some_actions(steps, 3)]
    return {name: np.stack([s.info[name] for s in played]) for name in ("time", "position")}, [s.frames for s in played]


def test_the_hour_stands_still_where_it_is_told_and_nothing_else_changes():
    """Over an end as well: episodes of 8 steps, 12 are done."""
    settings = SETTINGS | {"episode_steps": 8}
    free, frames = played(make_world("wander", **settings))
    fixed, at_dusk = played(make_world("wander", hour=11900, **settings))
    assert len(np.unique(free["time"][0])) == 3
    np.testing.assert_array_equal(free["time"][:8] - free["time"][0], np.tile(np.arange(8)[:, None], 3))
    np.testing.assert_array_equal(fixed["time"], 11900)
    np.testing.assert_array_equal(fixed["position"], free["position"])
    assert np.mean(at_dusk) < 0.8 * np.mean(frames)


def test_the_look_changes_pictures_and_nothing_else():
    (textured, frames), (flat, plain) = (played(make_world("wander", look=look, **SETTINGS)) for look in LOOKS)
    for name in textured:
        np.testing.assert_array_equal(flat[name], textured[name])
    edges = [np.abs(np.diff(np.asarray(f, int), axis=3)).mean() for f in (frames, plain)]
    assert edges[1] < 0.8 * edges[0]
    np.testing.assert_allclose(np.mean(plain), np.mean(frames), rtol=0.03)
    with pytest.raises(ValueError, match="look must be one of textured, flat, got 'clay'"):
        make_world("wander", look="clay")
    with pytest.raises(ValueError, match="hour must be a tick"):
        make_world("wander", hour=24000)


@functools.cache
def story():
    """States and steps of two clumsy diggers: (worlds [T+1, N, CELLS], positions, infos, events)."""
    env = make_world("mine", worlds=2, frame_size=(8, 8), episode_steps=0)
    clumsy = Behaviour(
        walk=0.5, look=0.0, mine=0.6, build=0.3, stretch=(6, 15), pitch=(40.0, 25.0), care=0.0, sprint=0.6
    )
    seeds = keys(np.arange(2), 2)

    @jax.jit
    def play(env, seeds):
        state, _ = jax.vmap(env.reset)(seeds)

        def body(carry, _):
            state, actors = carry
            actors, actions = jax.vmap(functools.partial(act, clumsy))(actors, state)
            state, step = jax.vmap(env.step)(state, actions)
            return (state, actors), (state, step.info)

        _, (states, info) = jax.lax.scan(body, (state, jax.vmap(start)(seeds)), None, length=400)
        return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), _public(state), _public(states)), info

    return jax.tree.map(np.asarray, play(env, seeds))


def _public(state):
    body = state.body
    return {
        "world": state.world,
        "position": body.position,
        "velocity": body.velocity,
        "yaw": body.yaw,
        "pitch": body.pitch,
        "grounded": body.grounded,
        "sneaking": body.sneaking,
    }


def march(world, eye, yaw, pitch, most=1.0):
    """How far it is to something solid, in small steps; infinite beyond ``most``."""
    yaw, pitch = np.radians([yaw, pitch])
    ray = np.array([np.cos(pitch) * np.cos(yaw), -np.cos(pitch) * np.sin(yaw), -np.sin(pitch)])
    for distance in np.arange(0, most, 0.002):
        if cell(world, *np.floor(eye + distance * ray).astype(int)) >= SOLID:
            return distance
    return np.inf


def conditions(s, t, n):
    """What is true of environment n at time t, told from its world and its body alone."""
    world, position = s["world"][t, n], s["position"][t, n].astype(np.float64)
    eye = position + [0, 0, 1.27 if s["sneaking"][t, n] else 1.62]
    at_eye = cell(world, *np.floor(eye).astype(int))
    waist = cell(world, *np.floor(position + [0, 0, 0.4]).astype(int))
    return {
        "entered_water": waist >> 6 == WATER,
        "submerged": at_eye >> 6 == WATER,
        "darkness": (at_eye & LIGHT) <= 4,
        "face": march(world, eye, s["yaw"][t, n], s["pitch"][t, n]),
    }


def test_events_are_what_the_states_say():
    """An independent reading of consecutive states; every event but the rarest happens in the story."""
    s, info = story()
    for n in range(2):
        before, top = conditions(s, 0, n), s["position"][0, n, 2]
        for t in range(400):
            after = conditions(s, t + 1, n)
            old, new = block_of(s["world"][t, n].astype(int)), block_of(s["world"][t + 1, n].astype(int))
            changed = np.flatnonzero(old != new)
            z0, z1 = s["position"][t, n, 2], s["position"][t + 1, n, 2]
            held = s["grounded"][t + 1, n] or after["entered_water"]
            assert len(changed) <= 1
            opens, builds = (old[changed] > WATER).any(), (old[changed] <= WATER).any()
            x, y, z = np.floor(s["position"][t, n] - [0, 0, 0.5]).astype(int)
            under = ((x * 64 + y) * 32 + z) % 2**17
            drop, was = max(top, z1) - z1, top - z0
            expected = {
                "broke": opens,
                "broke_support": opens and s["grounded"][t, n] and changed[0] == under,
                "flooded": opens and (new[changed] == WATER).any(),
                "placed": builds,
                "jumped": s["grounded"][t, n]
                and not before["entered_water"]
                and z1 > z0
                and not s["grounded"][t + 1, n],
                "fell": drop >= 3 and was < 3,
                **{name: after[name] and not before[name] for name in ("entered_water", "submerged", "darkness")},
            }
            for name, value in expected.items():
                assert bool(info[f"event_{name}"][t, n]) == bool(value), (name, t, n)
            near, was_near = after["face"], before["face"]
            if abs(near - 0.5) > 0.005 and abs(was_near - 0.5) > 0.005:
                assert bool(info["event_face"][t, n]) == (near < 0.5 <= was_near), ("face", t, n)
            before, top = after, (z1 if held else max(top, z1))
    seen = {name for name in EVENTS if info[f"event_{name}"].any()}
    assert seen >= {"broke", "placed", "jumped", "face"}, seen
    assert set(info) == {f"event_{name}" for name in EVENTS} | {"pose", "position", "pitch", "time"}


def test_nobody_digs_or_builds_itself_in():
    s, _ = story()
    for n in range(2):
        for t in range(401):
            assert not inside_something(s["world"][t, n], s["position"][t, n], slack=1e-4)


@pytest.mark.parametrize("task", ["wander", "linger"])
def test_demonstrations_are_varied_and_only_half_predictable(task):
    """So that a policy can be cloned, and yet the last frames do not tell what the next turn is."""
    played = demonstrate(make_world("wander", **SETTINGS), TASKS[task].behaviour, keys(np.arange(24), 24), steps=80)
    actions, info = np.asarray(played[1]), jax.tree.map(np.asarray, played[3])
    SPEC.check(actions)
    for name in ("move", "strafe", "jump", "pitch", "yaw"):
        assert len(np.unique(actions[..., SPEC.index(name)])) > 1, name
    for name in ("pitch", "yaw"):
        degrees = DEGREES[actions[..., SPEC.index(name)]]
        assert np.corrcoef(degrees[1:].ravel(), degrees[:-1].ravel())[0, 1] < 0.7
        assert np.mean(degrees != 0) > 0.4 and abs(degrees.mean()) < 1.0
    forward = (actions[..., SPEC.index("move")] == 1).mean()
    assert (forward > 0.4) == (task == "wander")
    for name in ("fell", "submerged", "broke_support", "darkness"):
        assert info[f"event_{name}"].mean() < 0.005, name  # rare: that is what an adversary may find


def test_recordings_are_reproducible_and_cut_where_an_episode_ends():
    settings = {"num_envs": 24, **SETTINGS}
    first, again = (list(record("wander", 80, 30, 9, **settings)) for _ in range(2))
    assert [len(frames) for frames, _ in first] == [40] * 30
    for (frames, actions), (frames_again, actions_again) in zip(first, again, strict=True):
        np.testing.assert_array_equal(frames, frames_again)
        np.testing.assert_array_equal(actions, actions_again)
        assert frames.dtype == np.uint8 and actions.dtype == np.int32 and len(actions) == len(frames)
    # As on the day before the world had looks and hours: steps 0, 19 and 39 of four episodes, kept in a file.
    with np.load(pathlib.Path(__file__).with_name("voxel_pictures.npz")) as kept:
        shown = np.stack([first[i][0][[0, 19, 39]] for i in range(4)]).astype(int)
        assert (np.abs(shown - kept["frames"]).max(-1) > 3).mean() < 0.002  # other machines round otherwise at edges
    # Acting the same once more shows the same: actions[t] is done on seeing frames[t].
    seeds = np.random.SeedSequence([9, 0]).generate_state(24)[:3]
    env = DeviceVectorEnv(make_world("wander", **SETTINGS), 3)
    step = env.reset(seeds)
    for t in range(30):
        off = np.abs(step.frames[0].astype(int) - first[0][0][t]).max(-1) > 3
        assert off.mean() < 0.01  # another program: rounding at edges
        step = env.step(np.stack([first[i][1][t] for i in range(3)]))


def test_what_is_not_there_is_refused():
    with pytest.raises(ValueError, match="there are wander"):
        make_world("moon")
    with pytest.raises(ValueError, match="must be positive"):
        next(record("wander", 0, 1, 0))
    with pytest.raises(ValueError, match="frame_size"):
        make_world("wander", frame_size=(0, 64))
    with pytest.raises(ValueError, match="num_envs"):
        make_voxel("wander", 0, **SETTINGS)
