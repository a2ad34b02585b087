"""Rays through a world: what they hit, where, and how far through water.

A ray goes from cell to cell as in Amanatides and Woo (A fast voxel traversal algorithm for ray
tracing, 1987), but in strides: where a cell has room around it (see ``blocks``), the ray leaves the
whole box at once. All cells of a stride are alike, so nothing is missed, water included.
"""

import functools

import jax
import jax.numpy as jnp

from prowl_jax.envs.voxel.blocks import CELLS, SOLID, STRIDES
from prowl_jax.types import pytree

LOOK_EVERY = 4  # strides between two looks at whether all rays have met something; divides ``render.STRIDES``


@pytree
class Hit:
    """Where rays ended, arrays of the rays' shape.

    Attributes:
      cell: three int32, the (x, y, z) of the solid cell, or of where the strides were used up.
      entry: three int32, the clear cell from which it was entered (``cell`` itself for a ray that
        began there).
      axis: int32, along which axis it was entered: 0, 1, 2.
      distance: float32, from the origin to the face that was hit, in lengths of the direction.
      water: float32, the distance at which the ray first was in water; infinite where it never was.
      byte: int32 of the cell; below ``SOLID`` where the strides were used up.
    """

    cell: tuple
    entry: tuple
    axis: jax.Array
    distance: jax.Array
    water: jax.Array
    byte: jax.Array


def index(x, y, z):
    """Where the byte of cell (x, y, z) lies: ints of any shape -> int32."""
    return (x * STRIDES[0] + y * STRIDES[1] + z) & (CELLS - 1)


def look_up(world, cell):
    """The bytes, int32, of cells given as three int arrays; world uint8 ``[CELLS]``."""
    return _read(world, cell).astype(jnp.int32)


def _read(world, cell):
    return world.at[index(*cell)].get(mode="promise_in_bounds")


def cast(world, origin, direction, strides, *, bands=None) -> Hit:
    """Follow rays until they meet a solid cell.

    Args:
      world: uint8 ``[CELLS]``.
      origin: three float32 scalars.
      direction: three float32 arrays of one shape; none has to be of length 1.
      strides: how many at most.
      bands: None takes all rays through all strides together (what a GPU wants). A number splits
        ``[H, W]`` rays into as many bands of rows, one after the other, each until all its rays have met
        something: the same hits, on a CPU in little more than half the time. It divides H.
    """
    direction = [jnp.where(jnp.abs(d) < 1e-6, 1e-6, d) for d in direction]
    inverse = [1.0 / d for d in direction]
    size = [jnp.abs(i) for i in inverse]
    # Of a box of ``room`` cells around ``cell``, the ray leaves the far side along an axis at
    # distance (cell + (d > 0) - origin) / d + room / |d|.
    offset = [o - (d > 0) for o, d in zip(origin, direction, strict=True)]
    sign = [jnp.where(d > 0, 1.0, -1.0) for d in direction]
    shape = direction[0].shape

    def march(rays, start):
        return _march(world, origin, rays, start, strides, until_all_met=bands is not None)

    start = [jnp.broadcast_to(jnp.floor(o), shape) for o in origin], jnp.zeros(shape), jnp.full(shape, jnp.inf)
    rays = direction, inverse, size, offset, sign
    if bands is None:
        cell, distance, water = march(rays, start)
    else:
        split, joined = (bands, shape[0] // bands * shape[1]), functools.partial(jnp.reshape, shape=shape)
        parts = jax.tree.map(lambda x: x.reshape(split), (rays, start))
        cell, distance, water = jax.tree.map(joined, jax.lax.map(lambda part: march(*part), parts))
    # The face is on the axis whose near side the ray met last.
    near = [(c - o - s) * i for c, o, s, i in zip(cell, offset, sign, inverse, strict=True)]
    axis = jnp.where((near[0] >= near[1]) & (near[0] >= near[2]), 0, jnp.where(near[1] >= near[2], 1, 2))
    cell = [c.astype(jnp.int32) for c in cell]
    back = [jnp.where((axis == a) & (distance > 0), s, 0).astype(jnp.int32) for a, s in enumerate(sign)]
    entry = [c - b for c, b in zip(cell, back, strict=True)]
    return Hit(tuple(cell), tuple(entry), axis, distance, water, look_up(world, cell))


def _march(world, origin, rays, start, strides, until_all_met):
    """(cells, distances, first distances in water) of rays after their strides."""
    direction, inverse, size, offset, sign = rays

    def stride(_, carry):
        cell, distance, water = carry
        # Bytes stay bytes here: widened to int32, XLA's loop on a CPU takes twice as long.
        byte = _read(world, [c.astype(jnp.int32) for c in cell])
        going = byte < SOLID
        room = ((byte >> 4) & 3).astype(jnp.float32)
        leave = [(c - o) * i + room * a for c, o, i, a in zip(cell, offset, inverse, size, strict=True)]
        out = jnp.minimum(jnp.minimum(leave[0], leave[1]), leave[2])
        water = jnp.where(going & (byte >= 64), jnp.minimum(water, distance), water)
        after = [
            jnp.where(going, jnp.where(at == out, c + (room + 1) * s, jnp.floor(o + out * d)), c)
            for at, c, s, o, d in zip(leave, cell, sign, origin, direction, strict=True)
        ]
        return after, jnp.where(going, out, distance), water

    if not until_all_met:
        return jax.lax.fori_loop(0, strides, stride, start)

    def some_left(state):
        done, (cell, _, _) = state
        return (done < strides) & (_read(world, [c.astype(jnp.int32) for c in cell]) < SOLID).any()

    def some_strides(state):
        done, carry = state
        return done + LOOK_EVERY, jax.lax.fori_loop(0, LOOK_EVERY, stride, carry, unroll=True)

    return jax.lax.while_loop(some_left, some_strides, (0, start))[1]
