"""Changes of a world: one cell becomes another block, and light and room follow.

A change costs the same whatever it is and also where there is none, so that a thousand worlds can
be changed in one step under ``vmap``.
"""

import jax
import jax.numpy as jnp
import numpy as np

from prowl_jax.envs.voxel.blocks import (
    AIR,
    CELLS,
    EDGE,
    FADE,
    HEIGHT,
    LIGHT,
    MOST_ROOM,
    SOLID,
    STRIDES,
    WATER,
    block_of,
)
from prowl_jax.envs.voxel.cast import index, look_up

_REACH = np.arange(-MOST_ROOM, MOST_ROOM + 1)
_OFFSETS = np.stack(np.meshgrid(_REACH, _REACH, _REACH, indexing="ij"), axis=-1).reshape(-1, 3)
_OFFSETS = _OFFSETS[np.abs(_OFFSETS).max(axis=1) > 0]
_BOX = _OFFSETS @ np.array(STRIDES)
_ROOM = np.abs(_OFFSETS).max(axis=1) - 1  # that is left to a cell at such a distance from another block


def set_block(world, cell, block, wanted):
    """``world`` with ``block`` in ``cell`` if ``wanted``.

    The light of the cell's column is worked out anew from the sky and the four columns around it;
    theirs stays as it is, so light does not spread further from a new opening than one column.

    Args:
      world: uint8 ``[CELLS]``.
      cell: (x, y, z), int32 scalars; z within 1..HEIGHT-2.
      block: int32 scalar.
      wanted: bool scalar; where False the world stays as it is.
    """
    here = index(*cell)
    old = look_up(world, cell)
    clear = block <= WATER
    world = world.at[here].set(jnp.where(wanted, jnp.where(clear, 64 * block, SOLID + block), old).astype(jnp.uint8))
    world = _relight(world, here - cell[2], wanted)
    # What has become different from its surroundings takes room from them.
    around = (here + _BOX) & (CELLS - 1)
    bytes_ = world.at[around].get(mode="promise_in_bounds").astype(jnp.int32)
    room = jnp.minimum((bytes_ >> 4) & 3, _ROOM)
    less = jnp.where(wanted & (bytes_ < SOLID), (bytes_ & (64 + LIGHT)) + 16 * room, bytes_)
    return world.at[around].set(less.astype(jnp.uint8), mode="promise_in_bounds", unique_indices=True)


def opened(world, cell):
    """What a broken block leaves behind: water if there is any beside or above it, else air."""
    x, y, z = cell
    beside = ((x + 1, y, z), (x - 1, y, z), (x, y + 1, z), (x, y - 1, z), (x, y, z + 1))
    floods = jnp.stack([block_of(look_up(world, c)) == WATER for c in beside]).any()
    return jnp.where(floods, WATER, AIR)


def _relight(world, column, wanted):
    """Light the column that begins at index ``column``."""

    def read(start):
        return jax.lax.dynamic_slice(world, (start & (CELLS - 1),), (HEIGHT,)).astype(jnp.int32)

    old = read(column)
    clear = old < SOLID
    roof = jnp.max(jnp.where(~clear & (old != SOLID + EDGE), jnp.arange(HEIGHT), -1))
    level = jnp.where(jnp.arange(HEIGHT) > roof, LIGHT, 0)
    for stride in STRIDES[:2]:
        for start in (column + stride, column - stride):
            beside = read(start)
            level = jnp.maximum(level, jnp.where(beside < SOLID, (beside & LIGHT) - FADE, 0))
    level = jnp.where(clear, level, 0)
    for _ in range(LIGHT // FADE):
        spread = jnp.maximum(jnp.roll(level, 1), jnp.roll(level, -1)) - FADE
        level = jnp.where(clear, jnp.maximum(level, spread), 0)
    new = jnp.where(wanted & clear, (old & ~LIGHT) + level, old)
    return jax.lax.dynamic_update_slice(world, new.astype(jnp.uint8), (column & (CELLS - 1),))
