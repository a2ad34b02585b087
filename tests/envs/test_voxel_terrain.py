"""Generated worlds: reproducible, lit and measured right, connected over the seams, fit to stand in."""

import collections

import numpy as np
import pytest
import voxel_worlds

from prowl_jax.envs.voxel import terrain
from prowl_jax.envs.voxel.blocks import (
    CELLS,
    EDGE,
    FADE,
    GRASS,
    HEIGHT,
    LEAVES,
    LIGHT,
    LOG,
    SAND,
    SNOW,
    SOLID,
    STRIDES,
    WATER,
    WIDTH,
    block_of,
)


@pytest.fixture(scope="module", params=terrain.BIOMES)
def pool(request):
    return request.param, terrain.generate_pool(3, 2, request.param)


def test_the_same_seed_gives_the_same_worlds(pool):
    biome, first = pool
    again = terrain.generate_pool(3, 2, biome)
    np.testing.assert_array_equal(first.worlds, again.worlds)
    np.testing.assert_array_equal(first.starts, again.starts)
    assert (first.worlds[0] != first.worlds[1]).mean() > 0.05
    assert (first.worlds != terrain.generate_pool(4, 2, biome).worlds).mean() > 0.05
    # More worlds of a seed begin with the same ones.
    np.testing.assert_array_equal(terrain.generate_pool(3, 3, biome).worlds[:2], first.worlds)


def test_biomes_hold_what_their_names_say(pool):
    biome, pool = pool
    shares = np.bincount(block_of(pool.worlds).reshape(-1), minlength=16) / pool.worlds.size
    top = {"meadow": GRASS, "desert": SAND, "tundra": SNOW}[biome]
    assert shares[top] > 0.01 and shares[EDGE] == 1 / HEIGHT
    assert (shares[WATER] > 0.002) == (biome != "desert")
    assert (shares[LEAVES] > 0) == (biome != "desert") == (shares[LOG] > 0)


def test_light_is_what_a_search_from_the_sky_finds(pool):
    """Breadth-first from the cells under the open sky, in steps of FADE."""
    world = pool[1].worlds[0]
    clear = world < SOLID
    level, queue = np.zeros(CELLS, int), collections.deque()
    for column in range(0, CELLS, HEIGHT):
        for z in range(HEIGHT - 2, 0, -1):
            if not clear[column + z]:
                break
            level[column + z] = LIGHT
            queue.append(column + z)
    while queue:
        here = queue.popleft()
        for stride in STRIDES:
            for there in ((here + stride) % CELLS, (here - stride) % CELLS):
                if clear[there] and level[there] < level[here] - FADE:
                    level[there] = level[here] - FADE
                    queue.append(there)
    np.testing.assert_array_equal((world & LIGHT)[clear], level[clear])
    assert (level[clear] == 0).any() and ((level > 0) & (level < LIGHT)).any()  # caves, and their mouths


def test_room_is_free_of_anything_else(pool):
    """All cells within the room of a cell are like it, and one step further some are not (or room is 3)."""
    world = pool[1].worlds[0]
    kind = np.where(world >= SOLID, 2, block_of(world))
    room = (world >> 4) & 3
    rng = np.random.default_rng(0)
    for here in rng.choice(np.flatnonzero(world < SOLID), 300):
        for steps in range(1, 4):
            reach = np.arange(-steps, steps + 1)
            box = sum(np.meshgrid(*(reach * s for s in STRIDES)))
            alike = (kind[(here + box) % CELLS] == kind[here]).all()
            assert alike == (room[here] >= steps)


def test_starts_are_fit_to_stand_in(pool):
    biome, surface = pool
    for pool_, dark in ((surface, False), (terrain.generate_pool(3, 2, biome, underground=True), True)):
        for world, starts in zip(pool_.worlds, pool_.starts, strict=True):
            for x, y, z in starts[:40]:
                assert voxel_worlds.cell(world, x, y, z - 1) >= SOLID
                assert voxel_worlds.cell(world, x, y, z) >> 6 == voxel_worlds.cell(world, x, y, z + 1) >> 6 == 0
                assert not voxel_worlds.inside_something(world, (x + 0.5, y + 0.5, z))
                light = voxel_worlds.cell(world, x, y, z) & LIGHT
                assert light <= 2 if dark else light == LIGHT


def test_the_ground_goes_on_over_the_seams():
    """Steps of the ground across the seams are as small as anywhere else."""
    rng = np.random.default_rng(0)
    x, y = np.ogrid[: WIDTH + 1, : WIDTH + 1]  # one further than the world, by the noise's own formula
    value = terrain.noise(rng, x, y, 16)
    np.testing.assert_allclose(value[WIDTH, :], value[0, :], atol=1e-9)  # x + 64 is x
    np.testing.assert_allclose(value[:-1, WIDTH], value[1:, 0], atol=1e-9)  # y + 64 is x + 1
    assert np.ptp(value) > 0.3


def test_bad_pools_are_refused():
    with pytest.raises(ValueError, match="there are meadow, desert"):
        terrain.generate_pool(0, 1, "moon")
    with pytest.raises(ValueError, match="must be positive"):
        terrain.generate_pool(0, 0)
