"""What there is to gain in the world of blocks, in small worlds where it is known; and who gathers logs."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from voxel_worlds import FLOOR, flat

from prowl_jax.envs.voxel import SPEC, make_world
from prowl_jax.envs.voxel.blocks import AIR, LEAVES, LOG, WATER
from prowl_jax.envs.voxel.demonstrations import PLAYERS, demonstrate
from prowl_jax.envs.voxel.environment import Voxel
from prowl_jax.envs.voxel.goals import GOALS
from prowl_jax.envs.voxel.world import VoxelWorld

PIT = (np.s_[24:28, 10:30, 4:FLOOR], AIR)  # six metres deep, four metres ahead of the start
POOL = (np.s_[24:28, 10:30, FLOOR - 4 : FLOOR], WATER)
TREE = (np.s_[25, 22, FLOOR : FLOOR + 4], LOG), (np.s_[24:27, 21:24, FLOOR + 4 : FLOOR + 6], LEAVES)
START = jnp.array([[[20, 20, FLOOR]]], jnp.int32)
FORWARD = jnp.asarray(SPEC.null).at[SPEC.index("move")].set(1)


def env_of(*changes, **settings):
    return VoxelWorld(jnp.asarray(flat(*changes))[None], START, frame_size=(16, 16), hour=6000, **settings)


@jax.jit
def walk(env, state):
    """One step ahead in ``env`` and in the same world that goes on: no picture is asked for, and none is drawn."""
    after, step = env.step(state, FORWARD)
    _, beyond = dataclasses.replace(env, goes_on=True).step(state, FORWARD)
    return after, (step.info["reward"], step.info["over"], step.done, beyond.done, after.body.position)


def walked(*changes, steps=50):
    env = env_of(*changes, goal="travel", episode_steps=0)
    state = jax.jit(lambda env: env.reset(jax.random.key(0))[0])(env)
    state = dataclasses.replace(state, body=dataclasses.replace(state.body, yaw=jnp.float32(0), pitch=jnp.float32(0)))
    before, rows = state.body.position, []
    for _ in range(steps):
        state, row = walk(env, state)
        rows.append(jax.tree.map(np.asarray, row))
        if row[1]:
            break
    return np.asarray(before), [np.stack(column) for column in zip(*rows, strict=True)]


def test_travel_is_the_way_in_metres():
    before, (reward, over, done, _, position) = walked()
    assert not over.any() and not done.any()
    way = np.linalg.norm(np.diff(np.concatenate([before[None], position])[:, :2], axis=0), axis=1)
    np.testing.assert_allclose(reward, way, atol=1e-5)
    assert reward.sum() == pytest.approx(position[-1, 0] - before[0], abs=1e-3) and reward.sum() > 5.0


@pytest.mark.parametrize("hole", [PIT, POOL])
def test_a_fall_and_water_over_the_head_end_it_and_only_then(hole):
    _, (_, over, done, goes_on, position) = walked(hole)
    assert over[-1] and done[-1] and not goes_on[-1] and not over[:-1].any()
    np.testing.assert_array_equal(over, done)
    np.testing.assert_allclose(position[-1], [20.5, 20.5, FLOOR], atol=1e-5)  # begun anew
    assert position[-2, 0] > 23.5


def test_who_gathers_finds_the_tree_and_is_paid_by_the_log():
    env = env_of(*TREE, goal="gather_logs", episode_steps=0)
    *_, info = demonstrate(env, PLAYERS["gather_logs"], jax.random.split(jax.random.key(0), 2), steps=160)
    reward, broke = np.asarray(info["reward"]), np.asarray(info["event_broke"])
    assert set(np.unique(reward)) <= {0.0, 1.0} and (reward.sum(axis=0) >= 1).all()
    assert (broke[reward > 0]).all() and not np.asarray(info["over"]).any()


def test_goals_are_known_by_name():
    assert Voxel.goals.keys() == GOALS.keys() == PLAYERS.keys()
    env = Voxel(worlds=1, frame_size=(16, 16)).make_rewarded("wander", "travel", 7, goes_on=True)
    assert (env.goal, env.episode_steps, env.goes_on) == ("travel", 7, True)
    with pytest.raises(ValueError, match="goal must be one of travel, gather_logs"):
        make_world("wander", worlds=1, goal="fly")
