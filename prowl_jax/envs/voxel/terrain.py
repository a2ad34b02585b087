"""Generates worlds: hills, lakes, trees, caves and ore, from seeds, once, on the host.

NumPy, so that a seed gives the same world on every device and a pool costs no compilation; what
happens in a world afterwards is JAX. Every function here works on ``[WIDTH, WIDTH, HEIGHT]``
arrays or, where neighbours matter, on their flat form, whose ``np.roll`` is the world's topology
(see ``blocks``).
"""

import dataclasses

import numpy as np

from prowl_jax.envs.voxel.blocks import (
    AIR,
    BEDROCK,
    CACTUS,
    CELLS,
    CLAY,
    COAL,
    DIRT,
    EDGE,
    FADE,
    GOLD,
    GRASS,
    HEIGHT,
    LEAVES,
    LIGHT,
    LOG,
    MOST_ROOM,
    SAND,
    SNOW,
    SOLID,
    STONE,
    STRIDES,
    WATER,
    WIDTH,
    block_of,
)

STARTS = 128
"""Places of each kind in a world where an episode can start."""


@dataclasses.dataclass(frozen=True)
class Biome:
    """A kind of world.

    Attributes:
      top, under: the block of the surface, and of the three layers below it.
      ground, relief: mean height of the ground, and how far hills and valleys depart from it.
      sea: height up to which valleys hold water; 0 for a dry world.
      tree, trees: block that trunks are made of, and how many are planted.
      crown: whether trees have leaves.
      snow: height from which the surface is snow.
    """

    top: int
    under: int
    ground: float
    relief: float
    sea: int
    tree: int = LOG
    trees: int = 60
    crown: bool = True
    snow: int = 99


BIOMES = {
    "meadow": Biome(GRASS, DIRT, ground=13.5, relief=13.0, sea=11, snow=21),
    "desert": Biome(SAND, CLAY, ground=13.0, relief=10.0, sea=0, tree=CACTUS, trees=45, crown=False),
    "tundra": Biome(SNOW, DIRT, ground=13.0, relief=11.0, sea=10, trees=35, snow=0),
}


@dataclasses.dataclass(frozen=True)
class Pool:
    """Worlds to start episodes in.

    Attributes:
      worlds: uint8 ``[P, CELLS]``.
      starts: int32 ``[P, STARTS, 3]``, cells (x, y, z) with room to stand in.
    """

    worlds: np.ndarray
    starts: np.ndarray


def generate_pool(seed: int, worlds: int, biome: str = "meadow", *, underground: bool = False) -> Pool:
    """``worlds`` worlds of one biome; ``underground`` starts lie in dark caves, others under the sky.

    Raises:
      ValueError: an unknown biome, or fewer than one world.
    """
    if biome not in BIOMES:
        raise ValueError(f"no biome {biome!r}; there are {', '.join(BIOMES)}")
    if worlds < 1:
        raise ValueError(f"worlds must be positive, got {worlds}")
    pairs: list[tuple] = []
    for state in np.random.SeedSequence([seed, sum(map(ord, biome))]).spawn(worlds):
        rng = np.random.default_rng(state)
        starts = ()
        while len(starts) == 0:  # a world without any place to start is drawn again
            world = generate(rng, BIOMES[biome])
            starts = find_starts(world, underground)
        pairs.append((world, starts[rng.integers(len(starts), size=STARTS)]))
    return Pool(*(np.stack(column) for column in zip(*pairs, strict=True)))


def generate(rng: np.random.Generator, biome: Biome) -> np.ndarray:
    """One world, uint8 ``[CELLS]``."""
    x, y, z = np.ogrid[:WIDTH, :WIDTH, :HEIGHT]
    relief = 0.62 * noise(rng, x, y, 16) + 0.28 * noise(rng, x, y, 8) + 0.10 * noise(rng, x, y, 4)
    height = np.clip(np.round(biome.ground + 2.2 * biome.relief * (relief - 0.5)), 4, HEIGHT - 9).astype(int)
    wet = height < biome.sea
    blocks = np.where(z < height - 3, STONE, biome.under) * (z <= height)
    surface = np.where(height >= biome.snow, SNOW, biome.top)
    surface = np.where(height <= biome.sea, SAND, surface)  # shores, and the bottoms of lakes
    blocks = np.where(z == height, surface, blocks)
    _scatter_ore(rng, blocks)
    caves = _worms(rng, x, y, z) & (z >= 2)
    # Lakes keep their bottoms.
    blocks[caves & (z <= height - 4 * _near(wet))] = AIR
    blocks[(z > height) & (z <= biome.sea) & wet] = WATER
    blocks[:, :, 0], blocks[:, :, -1] = BEDROCK, EDGE
    _plant(rng, blocks.reshape(-1), height, biome)
    return encode(blocks.reshape(-1))


def noise(rng, x, y, cell, z=None, depth=6):
    """Smooth noise in 0..1 with features of ``cell`` blocks (``depth`` along z), fit for the seams."""
    axes = [((x + y / WIDTH) / cell, WIDTH // cell), (y / cell, WIDTH // cell)]
    if z is not None:
        axes.append((z / depth, HEIGHT // depth + 2))
    lattice = rng.random([n for _, n in axes])
    total = 0.0
    for corner in np.ndindex(*[2] * len(axes)):
        weight, index = 1.0, []
        for (u, n), far in zip(axes, corner, strict=True):
            cell_index = np.floor(u).astype(int)
            share = u - cell_index
            share = share * share * (3 - 2 * share)
            weight = weight * (share if far else 1 - share)
            index.append((cell_index + far) % n)
        total = total + weight * lattice[tuple(index)]
    return total


def encode(blocks):
    """Blocks ``[CELLS]`` -> bytes, with their light and room."""
    clear = blocks <= WATER
    return np.where(clear, 64 * blocks + 16 * room(blocks) + light(blocks), SOLID + blocks).astype(np.uint8)


def light(blocks):
    """The light ``[CELLS]`` that floods in from the sky, losing ``FADE`` from cell to cell; 0 in solid ones."""
    clear = blocks <= WATER
    columns = (clear | (blocks == EDGE)).reshape(-1, HEIGHT)[:, ::-1]
    level = LIGHT * np.logical_and.accumulate(columns, axis=1)[:, ::-1].reshape(-1) * clear
    level = level.astype(np.int8)
    for _ in range(LIGHT // FADE):
        spread = level
        for stride in STRIDES:
            spread = np.maximum(spread, np.maximum(np.roll(level, stride), np.roll(level, -stride)))
        level = np.where(clear, np.maximum(level, spread - FADE), 0).astype(np.int8)
    return level


def room(blocks):
    """How many steps (0..``MOST_ROOM``) around a cell, diagonal ones too, everything is like it ``[CELLS]``."""
    kind = np.minimum(blocks, WATER + 1).astype(np.int8)  # air, water, anything solid
    least = most = kind
    steps = np.zeros(blocks.shape, int)
    for _ in range(MOST_ROOM):
        for stride in STRIDES:
            least = np.minimum(least, np.minimum(np.roll(least, stride), np.roll(least, -stride)))
            most = np.maximum(most, np.maximum(np.roll(most, stride), np.roll(most, -stride)))
        steps += least == most
    return steps


def find_starts(world, underground):
    """Cells (x, y, z) int32 ``[n, 3]`` with two cells of air on firm ground, in the light or in the dark."""
    block, level = block_of(world), world & LIGHT
    below = np.roll(block, 1)
    firm = (below > WATER) & (below != LEAVES) & (below != CACTUS) & (below != LOG)
    free = (block == AIR) & (np.roll(block, -1) == AIR)
    index = np.flatnonzero(firm & free & ((level <= 2) if underground else (level == LIGHT)))
    return np.stack(np.unravel_index(index, (WIDTH, WIDTH, HEIGHT)), axis=-1).astype(np.int32)


def _near(wet):
    """Where a column or one beside it is wet, ``[WIDTH, WIDTH, 1]``."""
    flat = wet.reshape(-1)
    return np.max([np.roll(flat, s) for s in (0, 1, -1, WIDTH, -WIDTH)], axis=0).reshape(wet.shape)


def _worms(rng, x, y, z):
    """Where caves run: close to where two noises are both one half, which is along curves."""
    first, second = (noise(rng, x, y, 16, z, 8) - 0.5 for _ in range(2))
    return first**2 + second**2 < 0.009


def _scatter_ore(rng, blocks):
    """Turn small clusters of stone into coal, and of deep stone into gold, in place."""
    stone, depth = blocks == STONE, np.arange(HEIGHT)
    for ore, share, highest in ((COAL, 0.008, HEIGHT), (GOLD, 0.006, 9)):
        seeds = (rng.random(blocks.shape) < share).reshape(-1)
        cluster = np.logical_or.reduce([np.roll(seeds, s) for s in (0, 1, HEIGHT, WIDTH * HEIGHT)])
        blocks[stone & cluster.reshape(blocks.shape) & (depth < highest)] = ore


def _plant(rng, flat, height, biome):
    """Plant trees (or cacti) on dry, firm surface, in place, none close to another."""
    taken = np.zeros((WIDTH, WIDTH), bool)
    for x, y in rng.integers(WIDTH, size=(biome.trees, 2)):
        ground = int(height[x, y, 0])
        foot = (x * WIDTH + y) * HEIGHT + ground
        tall = int(rng.integers(4, 6)) if biome.crown else int(rng.integers(2, 4))
        near = np.ix_(np.arange(x - 2, x + 3) % WIDTH, np.arange(y - 2, y + 3) % WIDTH)
        if flat[foot] != biome.top or taken[near].any() or ground + tall + 2 >= HEIGHT - 1:
            continue
        taken[x, y] = True
        if biome.crown:
            for dx, dy, dz in _CROWN:
                cell = (foot + dx * STRIDES[0] + dy * STRIDES[1] + tall + dz) % CELLS
                if flat[cell] == AIR:
                    flat[cell] = LEAVES
        flat[foot + 1 : foot + tall + 1] = biome.tree


_CROWN = [
    (dx, dy, dz)
    for dz, radius in ((-1, 2), (0, 2), (1, 1))
    for dx in range(-radius, radius + 1)
    for dy in range(-radius, radius + 1)
    if abs(dx) + abs(dy) < 2 * radius + (radius == 1 and dz < 1)
]
