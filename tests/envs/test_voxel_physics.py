"""Bodies in the voxel world: Minecraft's figures, walls that hold, and changes of one cell at a time."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from voxel_worlds import FLOOR, cell, flat, inside_something

from prowl_jax.envs.voxel import terrain
from prowl_jax.envs.voxel.blocks import (
    AIR,
    DIRT,
    LIGHT,
    PLANKS,
    SOLID,
    STONE,
    WATER,
    block_of,
)
from prowl_jax.envs.voxel.edit import opened, set_block
from prowl_jax.envs.voxel.physics import Body, Controls, move

NOTHING = {"ahead": 0.0, "left": 0.0, "jump": 0, "sneak": 0, "sprint": 0, "pitch": 0.0, "yaw": 0.0}
STEPS = 80


@jax.jit
def _run(world, body, controls):
    def step(body, row):
        body = move(world, body, row)
        return body, body

    return jax.lax.scan(step, body, controls)[1]


def body_at(x, y, z, yaw=0.0):
    zero, no = jnp.zeros(3), jnp.bool_(False)
    position = jnp.array([x, y, z], jnp.float32)
    return Body(position, zero, jnp.float32(yaw), jnp.float32(0), no, no, no, position[2])


def run(world, body, **held):
    """STEPS ticks of holding the same; each value may also be an array [STEPS]."""
    rows = {name: np.broadcast_to(held.get(name, value), STEPS) for name, value in NOTHING.items()}
    kinds = {"ahead": np.float32, "left": np.float32, "pitch": np.float32, "yaw": np.float32}
    rows = {name: np.asarray(value).astype(kinds.get(name, bool)) for name, value in rows.items()}
    return _run(jnp.asarray(world), body, Controls(**rows))


def test_a_fall_has_the_speed_of_gravity():
    """v(n) = -3.92 (1 - 0.98^n), the closed form of (v - 0.08) 0.98; and it ends on the ground."""
    z = np.asarray(run(flat(), body_at(5.5, 5.5, 29.0)).position[:, 2], np.float64)
    n = np.arange(1, STEPS + 1)
    fallen = np.cumsum(-3.92 * (1 - 0.98 ** (n - 1)))
    free = 29.0 + fallen > FLOOR
    np.testing.assert_allclose(z[free], (29.0 + fallen)[free], atol=1e-3)
    assert free.sum() > 20
    np.testing.assert_array_equal(z[~free], FLOOR)


@pytest.mark.parametrize("held, metres_a_second", [({}, 4.317), ({"sprint": 1}, 5.612), ({"sneak": 1}, 1.295)])
def test_speeds_are_those_of_the_wiki(held, metres_a_second):
    bodies = run(flat(), body_at(5.5, 5.5, FLOOR), ahead=1.0, **held)
    step = np.diff(np.asarray(bodies.position), axis=0)[-1]
    np.testing.assert_allclose(step * 20, [metres_a_second, 0, 0], atol=0.01)


@pytest.mark.parametrize("yaw, direction", [(0, (1, 0)), (90, (0, -1)), (-90, (0, 1)), (180, (-1, 0))])
def test_yaw_turns_to_the_right_and_left_is_left(yaw, direction):
    ahead = np.asarray(run(flat(), body_at(30, 30, FLOOR, yaw), ahead=1.0).position[-1, :2]) - 30
    left = np.asarray(run(flat(), body_at(30, 30, FLOOR, yaw), left=1.0).position[-1, :2]) - 30
    np.testing.assert_allclose(ahead / np.linalg.norm(ahead), direction, atol=1e-3)
    np.testing.assert_allclose(left / np.linalg.norm(left), [-direction[1], direction[0]], atol=1e-3)


def test_a_jump_clears_one_block_and_not_two():
    top = np.asarray(run(flat(), body_at(5.5, 5.5, FLOOR), jump=1).position[:, 2]).max() - FLOOR
    assert top == pytest.approx(1.2522, abs=2e-3)  # the wiki's figure
    for height in (1, 2):
        wall = flat((np.s_[8:, :, FLOOR : FLOOR + height], STONE))
        bodies = run(wall, body_at(5.5, 5.5, FLOOR), ahead=1.0, jump=1)
        x, z = np.asarray(bodies.position[:, 0]), np.asarray(bodies.position[:, 2])
        assert (x.max() > 9) == (height == 1) == (z[x > 8].size > 0)
        assert np.asarray(bodies.bumped).any() == (height == 2)
    low = flat((np.s_[:, :, FLOOR + 2 :], STONE))
    z = np.asarray(run(low, body_at(5.5, 5.5, FLOOR), ahead=1.0, jump=1).position[:, 2])
    assert z.max() < FLOOR + 0.21  # a ceiling at two metres


def test_water_slows_and_carries():
    lake = flat((np.s_[:, :, 4:FLOOR], WATER))
    swims = run(lake, body_at(5.5, 5.5, 6.0), ahead=1.0)
    assert 0 < np.diff(np.asarray(swims.position[:, 0]))[-1] < 0.5 * 0.2158
    falls = np.diff(np.asarray(run(lake, body_at(5.5, 5.5, 20.0)).position[:, 2]))
    assert falls.min() < -0.8 and falls[-1] > -0.11  # it fell fast, and now it sinks slowly
    rises = np.asarray(run(lake, body_at(5.5, 5.5, 4.0), jump=1).position[:, 2])
    assert rises[-1] > FLOOR - 1.5
    shore = flat((np.s_[:20, :, 4:FLOOR], WATER))
    assert np.asarray(run(shore, body_at(18.0, 5.5, 8.0), ahead=1.0, jump=1).position[-1, 2]) >= FLOOR  # climbs out


@functools.cache
def meadow():
    return terrain.generate_pool(1, 1)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31 - 1))
def test_never_inside_a_solid_block(seed):
    """Whatever is done, anywhere, with any velocity at the start."""
    rng, pool = np.random.default_rng(seed), meadow()
    world, start = pool.worlds[0], pool.starts[0, rng.integers(128)]
    body = dataclasses.replace(
        body_at(*(start + [0.5, 0.5, 0.0]), yaw=rng.uniform(-180, 180)),
        velocity=jnp.asarray(rng.uniform([-0.4, -0.4, -2.5], [0.4, 0.4, 0.6]), jnp.float32),
    )
    held = {name: np.repeat(rng.integers(0, 2, STEPS // 8), 8) for name in ("jump", "sneak", "sprint")}
    held |= {name: np.repeat(rng.integers(-1, 2, STEPS // 8), 8) for name in ("ahead", "left")}
    bodies = run(world, body, yaw=rng.uniform(-10, 10, STEPS), **held)
    for position in np.asarray(bodies.position):
        assert not inside_something(world, position)


@functools.cache
def editor():
    def change(world, spot, block, wanted):
        return set_block(world, tuple(spot), block, wanted), opened(world, tuple(spot))

    return jax.jit(change)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31 - 1))
def test_an_edit_changes_one_block_and_keeps_room_true(seed):
    """Over several edits: no other block changes, and room never claims what is not so."""
    rng, world = np.random.default_rng(seed), meadow().worlds[0]
    for _ in range(6):
        x, y = rng.integers(-100, 100, 2)
        ground = max(z for z in range(1, 30) if cell(world, x, y, z) >= SOLID)
        spot = np.array([x, y, np.clip(ground + rng.integers(-2, 3), 1, 30)], np.int32)
        block = int(rng.choice([AIR, WATER, DIRT, PLANKS]))
        wanted = bool(rng.random() < 0.8)
        after = np.asarray(editor()(jnp.asarray(world), jnp.asarray(spot), block, wanted)[0])
        different = block_of(after) != block_of(world)
        assert different.sum() == int(wanted and block_of(np.array(cell(world, *spot))) != block)
        if wanted:
            assert block_of(np.array(cell(after, *spot))) == block
        else:
            np.testing.assert_array_equal(after, world)
        clear = after < SOLID
        assert (((after >> 4) & 3)[clear] <= terrain.room(block_of(after))[clear]).all()
        world = after


def test_light_falls_through_a_new_hole_and_goes_out_under_a_new_roof():
    cave = flat((np.s_[20:25, 20:25, 4:7], AIR))
    spot = jnp.array([22, 22, 9], jnp.int32)
    assert cell(cave, 22, 22, 5) & LIGHT == 0
    world = jnp.asarray(cave)
    for z in (9, 8, 7):
        world = editor()(world, spot.at[2].set(z), AIR, True)[0]
    assert cell(np.asarray(world), 22, 22, 5) & LIGHT == LIGHT
    roofed = np.asarray(editor()(world, spot, PLANKS, True)[0])
    assert cell(roofed, 22, 22, 5) & LIGHT < 5


def test_water_runs_into_what_is_opened_beside_it():
    lake = flat((np.s_[20:25, 20:25, 6:FLOOR], WATER))
    for spot, expected in (((25, 22, 8), WATER), ((22, 22, 5), WATER), ((26, 22, 8), AIR), ((25, 25, 8), AIR)):
        assert int(editor()(jnp.asarray(lake), jnp.array(spot, jnp.int32), AIR, True)[1]) == expected
