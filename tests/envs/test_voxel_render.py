"""Rays against exact boxes, and pictures that show what is there."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from voxel_worlds import FLOOR, flat, hollow

from prowl_jax.envs.voxel.blocks import (
    AIR,
    CACTUS,
    CLAY,
    COAL,
    COLOURS,
    DIRT,
    GOLD,
    GRASS,
    LEAVES,
    LOG,
    PLANKS,
    SAND,
    SNOW,
    SOLID,
    STONE,
    WATER,
    block_of,
)
from prowl_jax.envs.voxel.cast import cast, look_up
from prowl_jax.envs.voxel.edit import set_block
from prowl_jax.envs.voxel.render import View, directions, draw, make_renderer

RAYS, SIZE = 400, (24, 32)


@functools.cache
def caster():
    return jax.jit(lambda world, origin, direction: cast(world, list(origin), list(direction), 48))


def entries(boxes, origin, direction):
    """Distances [rays, boxes] at which rays enter boxes (low, high [boxes, 3]), by slabs; infinite if never."""
    low, high = boxes
    with np.errstate(divide="ignore"):
        near, far = ((side[None] - origin) / direction[:, None] for side in (low, high))
    enters, leaves = np.minimum(near, far).max(-1), np.maximum(near, far).min(-1)
    return np.where((enters < leaves) & (leaves > 0), np.maximum(enters, 0), np.inf)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("edits", [0, 12], ids=["generated", "edited"])
def test_rays_meet_what_exact_boxes_say(seed, edits):
    """Random blocks and pools in the void, also after edits that left less room than there is."""
    rng = np.random.default_rng(seed)
    solid, water = (rng.integers([24, 24, 6], [40, 40, 24], (n, 3)) for n in (60, 40))
    world = hollow(*[((x, y, z), WATER) for x, y, z in water], *[((x, y, z), STONE) for x, y, z in solid])
    spots = rng.integers([24, 24, 6], [40, 40, 24], (edits, 3)).astype(np.int32)
    for i, spot in enumerate([*spots, *solid[: edits // 2].astype(np.int32)]):
        block = PLANKS if i < edits else AIR
        world = np.asarray(jax.jit(set_block)(jnp.asarray(world), tuple(spot), jnp.int32(block), True))
    blocks = block_of(world).reshape(64, 64, 32)
    low = np.argwhere(blocks[20:44, 20:44, 1:31] > WATER) + [20, 20, 1]
    floor_and_sky = np.array([[-1e3, -1e3, -9.0], [-1e3, -1e3, 31.0]]), np.array([[1e3, 1e3, 1.0], [1e3, 1e3, 40.0]])
    boxes = np.concatenate([low, floor_and_sky[0]]), np.concatenate([low + 1, floor_and_sky[1]])
    pools = np.argwhere(blocks == WATER)
    origin = np.array([32.3, 31.7, 15.6])
    while look_up(world_ := jnp.asarray(world), [jnp.int32(v) for v in np.floor(origin)]) >= SOLID:
        origin[2] += 1
    direction = rng.normal(size=(RAYS, 3)) * [1, 1, 1.5]
    hit = jax.tree.map(np.asarray, caster()(world_, jnp.float32(origin), jnp.float32(direction.T)))

    distance = entries(boxes, origin, direction)
    nearest = distance.argmin(1)
    expected = distance.min(1)
    point = origin + expected[:, None] * direction
    sees = np.abs(point[:, :2] - 32).max(1) < 40  # beyond that the world repeats itself
    assert sees.mean() > 0.7
    np.testing.assert_allclose(hit.distance[sees], expected[sees], atol=2e-4)
    cells = np.stack(hit.cell, -1)
    known = sees & (nearest < len(low))
    assert known.sum() > 50
    np.testing.assert_array_equal(cells[known], low[nearest[known]])
    into_water = entries((pools, pools + 1), origin, direction).min(1)
    into_water = np.where(into_water < expected - 1e-4, into_water, np.inf)
    np.testing.assert_allclose(hit.water[sees], into_water[sees], atol=2e-4)
    assert np.isfinite(into_water[sees]).any()
    # Entered through the face that lies on the point, from the cell before it.
    faces = np.take_along_axis(point, hit.axis[:, None], 1)[:, 0][sees]
    np.testing.assert_allclose(faces, np.round(faces), atol=2e-4)
    step = cells - np.stack(hit.entry, -1)
    np.testing.assert_array_equal(np.abs(step).sum(1), 1)
    assert (np.take_along_axis(step * direction, hit.axis[:, None], 1) > 0).all()


def test_pixels_look_where_a_pinhole_camera_looks():
    """The middle is the line of sight, right is right, up is up, and the field is 75 degrees across."""
    for yaw, pitch in ((0, 0), (30, 40), (-120, -70)):
        rays = np.stack(directions(jnp.float32(yaw), jnp.float32(pitch), (64, 64)), -1)
        y, p = np.radians([yaw, pitch])
        ahead = np.array([np.cos(p) * np.cos(y), -np.cos(p) * np.sin(y), -np.sin(p)])
        right = np.array([-np.sin(y), -np.cos(y), 0])
        np.testing.assert_allclose(rays.mean((0, 1)), ahead, atol=1e-5)
        np.testing.assert_allclose(rays @ ahead, 1, atol=1e-5)
        across = rays @ right
        assert (np.diff(across, axis=1) > 0).all() and np.allclose(np.ptp(across, axis=0), 0, atol=1e-5)
        assert (np.diff(rays @ np.cross(right, ahead), axis=0) < 0).all()
        assert across[0, -1] == pytest.approx(np.tan(np.radians(37.5)) * 63 / 64, abs=1e-5)


@functools.cache
def drawer(look):
    return jax.jit(functools.partial(draw, frame_size=SIZE, look=look))


def picture(
    world, *, origin=(30.5, 30.5, FLOOR + 1.62), yaw=0.0, pitch=0.0, under=False, time=6000, mined=-1, damage=0.0,
    look="textured",
):  # fmt: skip
    values = (jnp.float32(origin), jnp.float32(yaw), jnp.float32(pitch), jnp.bool_(under))
    view = View(*values, jnp.int32(time), jnp.int32(mined), jnp.float32(damage))
    return np.asarray(drawer(look)(jnp.asarray(world), view)).astype(int)


def mean_colour(frame):
    return frame.reshape(-1, 3).mean(0)


def test_the_sky_is_above_the_ground_and_the_day_has_colours():
    frame = picture(flat((np.s_[:, :, FLOOR - 1], GRASS)))
    sky, ground = mean_colour(frame[:8]), mean_colour(frame[-8:])
    assert sky[2] > sky[0] + 20 and ground[1] > ground[0] > ground[2]
    noon, dusk, night = (mean_colour(picture(flat(), pitch=-30, time=t)) for t in (6000, 12000, 18000))
    assert noon[2] > noon[0] and dusk[0] > dusk[2] and night.max() < 40 < dusk.max()


@pytest.mark.parametrize("block", [GRASS, DIRT, SAND, SNOW, PLANKS])
def test_a_block_in_the_face_fills_the_picture_with_its_colour(block):
    wall = flat((np.s_[31:, :, FLOOR:], block))
    frame = picture(wall, origin=(30.69, 30.5, FLOOR + 1.62))
    shown = COLOURS[DIRT] if block == GRASS else COLOURS[block]
    if block in (GRASS, SNOW):
        shown = COLOURS[block] * 0.3 + COLOURS[DIRT] * 0.7
    ratio = mean_colour(frame) / shown
    assert np.ptp(ratio) < 0.15 and 0.4 < ratio.mean() < 1.1


def test_caves_are_dark_and_water_is_blue():
    cave = flat((np.s_[28:34, 28:34, 4:7], AIR))
    assert mean_colour(picture(cave, origin=(30.5, 30.5, 5.62))).max() < 40
    lake = flat((np.s_[:, :, 5:FLOOR], WATER))
    above, below = mean_colour(picture(lake, pitch=45)), mean_colour(picture(lake, origin=(30.5, 30.5, 7), under=True))
    for colour in (above, below):
        assert colour[2] > colour[1] > colour[0]


def test_a_block_that_is_being_broken_shows_cracks():
    wall = flat((np.s_[32:, :, FLOOR:], STONE))
    mined = (32 * 64 + 30) * 32 + FLOOR + 1
    whole, cracked, nearly = (picture(wall, mined=mined, damage=d).sum() for d in (0.0, 0.5, 1.0))
    assert nearly < cracked < whole
    assert picture(wall, mined=mined + 32 * 30, damage=1.0).sum() == whole  # another block, out of sight


BLOCKS = [GRASS, DIRT, STONE, SAND, LOG, LEAVES, COAL, GOLD, SNOW, PLANKS, CACTUS, CLAY]


@pytest.mark.parametrize("where", ["sides", "tops"])
@pytest.mark.parametrize("block", BLOCKS)
def test_a_flat_face_has_one_colour_the_mean_of_its_grain(block, where):
    """Seen from near, straight on, so that whole faces fill the picture; the lamp makes the middle a little lighter."""
    if where == "sides":
        world, at = flat((np.s_[32:, :, FLOOR:], block)), {"origin": (30.3, 30.5, FLOOR + 2.5)}
    else:
        world, at = flat((np.s_[:, :, FLOOR - 1], block)), {"origin": (30.5, 30.5, FLOOR + 1.7), "pitch": 90.0}
    plain, grained = (picture(world, look=look, **at) for look in ("flat", "textured"))
    jumps = [max(np.abs(np.diff(frame, axis=axis)).max() for axis in (0, 1)) for frame in (plain, grained)]
    assert jumps[0] <= 1 and jumps[1] >= 8
    np.testing.assert_allclose(mean_colour(plain), mean_colour(grained), rtol=0.06, atol=2)


def test_the_flat_sky_has_no_clouds_and_the_flat_lake_no_ripples():
    up = {look: picture(flat(), pitch=-60, time=9000, look=look) for look in ("flat", "textured")}
    jumps = {look: np.abs(np.diff(frame, axis=1)).max() for look, frame in up.items()}
    assert jumps["flat"] <= 4 and jumps["textured"] > 20
    lake = flat((np.s_[:, :, 5:FLOOR], WATER))
    frames = {look: [picture(lake, pitch=45, time=t, look=look) for t in (6000, 6008)] for look in ("flat", "textured")}
    changes = {look: np.abs(a - b).max() for look, (a, b) in frames.items()}
    assert changes["flat"] <= 1 < changes["textured"]


def test_a_flat_block_grows_darker_as_it_is_broken():
    """The hour, the light, the fog and the cracks stay in the flat look."""
    wall = flat((np.s_[32:, :, FLOOR:], STONE))
    mined = (32 * 64 + 30) * 32 + FLOOR + 1
    whole, cracked, nearly = (picture(wall, mined=mined, damage=d, look="flat") for d in (0.0, 0.5, 1.0))
    assert nearly.sum() < cracked.sum() < whole.sum()
    middle = np.s_[10:14, 14:18]
    np.testing.assert_allclose(nearly[middle] / whole[middle], 1 - 0.7 * 0.75, atol=0.02)
    noon, night = (mean_colour(picture(wall, look="flat", time=t)) for t in (6000, 18000))
    assert night.max() < 0.6 * noon.min()


def test_pictures_drawn_in_turn_are_those_drawn_together():
    world = jnp.asarray(flat((np.s_[33:40, 20:40, FLOOR : FLOOR + 2], GRASS)))
    yaw = jnp.array([0.0, 90.0, 200.0])
    view = View(
        jnp.tile(jnp.array([30.5, 30.5, FLOOR + 1.62]), (3, 1)),
        yaw,
        yaw / 9,
        jnp.zeros(3, bool),
        jnp.array([900, 6000, 11000]),
        jnp.full(3, -1),
        jnp.zeros(3),
    )
    frames = [
        np.asarray(jax.jit(jax.vmap(make_renderer(SIZE, together=together), (None, 0)))(world, view)).astype(int)
        for together in (True, False)
    ]
    assert (np.abs(frames[0] - frames[1]).max(-1) > 2).mean() < 0.002  # rounding at edges of texels
    assert frames[0].std() > 20
