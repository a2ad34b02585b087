"""Small worlds for the tests of the voxel world, and what NumPy says about them."""

import numpy as np

from prowl_jax.envs.voxel.blocks import AIR, BEDROCK, EDGE, HEIGHT, SOLID, STONE, WIDTH
from prowl_jax.envs.voxel.terrain import encode

FLOOR = 10
"""The height on which one stands in ``flat``: the topmost stone is at FLOOR - 1."""


def flat(*changes):
    """A plain of stone, with ``changes``: pairs of (index expression of [x, y, z], block)."""
    blocks = np.full((WIDTH, WIDTH, HEIGHT), AIR)
    blocks[:, :, :FLOOR] = STONE
    return with_changes(blocks, changes)


def hollow(*changes):
    """Nothing but bedrock, the edge, and ``changes``."""
    return with_changes(np.full((WIDTH, WIDTH, HEIGHT), AIR), changes)


def with_changes(blocks, changes):
    for where, block in changes:
        blocks[where] = block
    blocks[:, :, 0], blocks[:, :, -1] = BEDROCK, EDGE
    return encode(blocks.reshape(-1))


def cell(world, x, y, z):
    """The byte of a cell, for any ints x and y; the seams spelt out."""
    while y >= WIDTH:
        x, y = x + 1, y - WIDTH
    while y < 0:
        x, y = x - 1, y + WIDTH
    return int(world.reshape(WIDTH, WIDTH, HEIGHT)[x % WIDTH, y, z])


def inside_something(world, position, slack=1e-5):
    """Whether a body at ``position`` reaches into a solid cell by more than ``slack``."""
    low = np.floor(np.asarray(position, np.float64) - [0.3, 0.3, 0] + slack).astype(int)
    high = np.ceil(np.asarray(position, np.float64) + [0.3, 0.3, 1.8] - slack).astype(int)
    return any(
        cell(world, x, y, z) >= SOLID
        for x in range(low[0], high[0])
        for y in range(low[1], high[1])
        for z in range(low[2], high[2])
    )
