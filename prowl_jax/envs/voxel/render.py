"""What a body sees: a ray a pixel, coloured by block, grain, light, distance, water and time of day.

In the flat look faces have no grain, water no ripples and the sky no clouds: what a new strip of picture
can hold is then told by far fewer numbers. Everything else is the same, and so is the mean colour of a face.

All colours are float32 0..255 until the end. A picture is three separate planes throughout, so that
XLA fuses everything after the rays into a few loops over pixels.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from prowl_jax.envs.voxel.blocks import (
    CACTUS,
    CLAY,
    COAL,
    COLOURS,
    DIRT,
    EDGE,
    GOLD,
    GRASS,
    LEAVES,
    LIGHT,
    LOG,
    PLANKS,
    SNOW,
    SOLID,
)
from prowl_jax.envs.voxel.cast import cast, index, look_up
from prowl_jax.types import pytree

LOOKS = ("textured", "flat")
STRIDES = 24
BANDS = 8  # of rows, on a CPU
FIELD_OF_VIEW = 75.0  # degrees, across the shorter side
FOG_START, FOG_END = 14.0, 30.0
DAY = 24000  # ticks; 0 is sunrise, 6000 noon, 12000 sunset
GRAIN = 8  # texels along the edge of a block
CLOUDS = 44.0  # height
LAMP = 0.17  # what is near is never quite dark

_ACROSS_X, _ACROSS_Y, _TOPS, _UNDERSIDES = 0.78, 0.64, 1.0, 0.48  # how light faces are
_DAY_ZENITH, _DAY_HORIZON = (92, 148, 232), (178, 208, 242)
_DUSK_ZENITH, _DUSK_HORIZON = (48, 54, 104), (236, 150, 92)
_NIGHT = (8, 10, 24)
_UNDER_WATER = (24, 58, 120)
_ORES = {COAL: 38 << 16 | 38 << 8 | 42, GOLD: 236 << 16 | 190 << 8 | 62}
_NUGGETS = 0.4  # share of an ore's face
_CRUMBS = {GRASS: DIRT, SNOW: DIRT}  # what shows on the sides, below the rim
_RIM = 2.5 / GRAIN  # share of the side: two rows of texels, and half of the third
_LINES = 0.8  # how bright the stripes of trunks and the joints of boards are
_CRACKS, _CRACKED = 0.3, 0.75  # how bright cracks are, and their share of a block about to give way


def _pack(colours):
    """Red, green and blue as three bytes in one: ``[..., 3]`` -> int32 ``[...]``."""
    return (colours.astype(np.int32) << (16, 8, 0)).sum(axis=-1, dtype=np.int32)


def _unpacked(packed):
    """The inverse for an array of JAX: three float32 planes."""
    packed = jax.lax.optimization_barrier(packed)  # or XLA works all of it out anew for each plane
    return [((packed >> shift) & 255).astype(jnp.float32) for shift in (16, 8, 0)]


_PACKED = _pack(COLOURS)


@pytree
class View:
    """Where a picture is taken from.

    Attributes:
      origin: float32 ``[3]``.
      yaw, pitch: degrees, + right and + down.
      submerged: bool, whether the eye is in water.
      time: int32 tick of the day.
      mined: int32 ``index`` of the block being broken, and ``damage`` (0..1) how far that has come.
    """

    origin: jax.Array
    yaw: jax.Array
    pitch: jax.Array
    submerged: jax.Array
    time: jax.Array
    mined: jax.Array
    damage: jax.Array


def make_renderer(frame_size, *, look="textured", together=None):
    """``draw`` for one size of picture, as ``(world, view) -> frame``, to be vmapped.

    Args:
      frame_size: (H, W).
      look: one of ``LOOKS``.
      together: whether ``vmap`` draws all pictures at once (what a GPU wants) or one after the
        other (what a CPU wants: the rays of one picture stay in its cache; twice as fast). By
        default, whatever suits JAX's default backend.
    """
    if together is None:
        together = jax.default_backend() != "cpu"
    if together:
        return functools.partial(draw, frame_size=tuple(frame_size), look=look)
    bands = math.gcd(frame_size[0], BANDS)
    one = functools.partial(draw, frame_size=tuple(frame_size), look=look, bands=bands)
    renderer = jax.custom_batching.custom_vmap(one)

    @renderer.def_vmap
    def _in_turn(axis_size, in_batched, world, view):
        def spread(x, batched):
            return x if batched else jnp.broadcast_to(x, (axis_size, *x.shape))

        batch = jax.tree.map(spread, (world, view), tuple(in_batched))
        return jax.lax.map(lambda both: one(*both), batch), True

    return renderer


def directions(yaw, pitch, frame_size):
    """The ray of every pixel: three float32 ``[H, W]``, of length 1 along the line of sight."""
    height, width = frame_size
    scale = np.tan(np.radians(FIELD_OF_VIEW / 2)) / min(height, width)
    right = ((2 * np.arange(width) + 1 - width) * scale).astype(np.float32)[None, :]
    up = -((2 * np.arange(height) + 1 - height) * scale).astype(np.float32)[:, None]
    yaw, pitch = jnp.radians(yaw), jnp.radians(pitch)
    level = jnp.cos(pitch) + up * jnp.sin(pitch)
    x = level * jnp.cos(yaw) - right * jnp.sin(yaw)
    y = -level * jnp.sin(yaw) - right * jnp.cos(yaw)
    z = jnp.broadcast_to(up * jnp.cos(pitch) - jnp.sin(pitch), x.shape)
    return x, y, z


def draw(world, view: View, frame_size, look="textured", bands=None):
    """The picture, uint8 ``[H, W, 3]``, that is seen in ``world`` (uint8 ``[CELLS]``); ``bands`` as in ``cast``."""
    textured = look == "textured"
    direction = directions(view.yaw, view.pitch, frame_size)
    hit = cast(world, list(view.origin), direction, STRIDES, bands=bands)
    length = jnp.sqrt(sum(d * d for d in direction))
    away = hit.distance * length
    day, glow, brightness = _daylight(view.time)
    sky, haze = _sky(view, [d / length for d in direction], day, glow, brightness, clouds=textured)
    colour, grain, cracks = _grained(hit, view, direction, away) if textured else _plain(hit, view)
    level = jnp.where(direction[2] > 0, _UNDERSIDES, _TOPS)
    shade = jnp.where(hit.axis == 2, level, jnp.where(hit.axis == 1, _ACROSS_Y, _ACROSS_X))
    shine = grain * shade * cracks
    shine = shine * (_lit(look_up(world, hit.entry), brightness) + LAMP / (1.0 + 0.12 * away * away))
    above = hit.byte == SOLID + EDGE
    fog = jnp.clip((away - FOG_START) / (FOG_END - FOG_START), 0.0, 1.0)
    fog = jnp.where(above | (hit.byte < SOLID), 1.0, fog)
    planes = []
    for c in range(3):
        far = jnp.where(above, sky[c], haze[c])
        planes.append(colour[c] * shine * (1 - fog) + far * fog)
    planes = _through_water(planes, view, hit, direction, length, away, brightness, sky, ripples=textured)
    # Not jnp.stack: along the last axis it copies byte by byte on a CPU and takes longer than all the rays.
    red, green, blue = (jnp.clip(p, 0, 255).astype(jnp.uint8)[..., None] for p in planes)
    return jnp.where(np.arange(3) == 0, red, jnp.where(np.arange(3) == 1, green, blue))


def _grained(hit, view, direction, away):
    """(three planes of colour, planes of brightness by grain and by cracks) of the faces that were hit."""
    point = [o + hit.distance * d for o, d in zip(view.origin, direction, strict=True)]
    inside = [p - c for p, c in zip(point, hit.cell, strict=True)]
    u = jnp.clip(jnp.where(hit.axis == 0, inside[1], inside[0]), 0.0, 0.999)
    v = jnp.clip(jnp.where(hit.axis == 2, inside[1], inside[2]), 0.0, 0.999)
    block = hit.byte & 15
    column, row = (u * GRAIN).astype(jnp.int32), (v * GRAIN).astype(jnp.int32)
    seed = index(*hit.cell) * 8 + hit.axis * 2
    speck = _hash((seed << 6) + column * GRAIN + row)
    side = hit.axis != 2
    rim = row >= GRAIN - 2 - (speck > 0.5)
    shown = block
    for top, below in _CRUMBS.items():
        shown = jnp.where((block == top) & side & ~rim, below, shown)
    packed = jnp.asarray(_PACKED).at[shown].get(mode="promise_in_bounds")
    nugget = _hash((seed << 6) + (column // 2) * GRAIN + row // 2 + 7) < _NUGGETS
    for ore, tint in _ORES.items():
        packed = jnp.where((block == ore) & nugget, tint, packed)
    colour = _unpacked(packed)

    contrast = jnp.where(block == LEAVES, 0.5, 0.22)
    contrast = jnp.where((block == LOG) | (block == CACTUS), 0.1, contrast) * jnp.clip(1.3 - away / 12.0, 0.15, 1.0)
    grain = 1.0 + contrast * (speck - 0.5)
    stripes = ((block == LOG) | (block == CACTUS)) & side & (column % 3 == 0)
    boards = ((block == PLANKS) & (row % 4 == 0)) | ((block == CLAY) & side & (row % 4 == 1))
    grain = grain * jnp.where(stripes | boards, _LINES, 1.0)
    cracks = (index(*hit.cell) == view.mined) & (speck < _CRACKED * view.damage)
    return colour, grain, jnp.where(cracks, _CRACKS, 1.0)


def _plain(hit, view):
    """As ``_grained``, with the means of a face."""
    packed = jnp.asarray(_MEANS).at[(hit.byte & 15) * 2 + (hit.axis == 2)].get(mode="promise_in_bounds")
    cracked = (index(*hit.cell) == view.mined) * _CRACKED * view.damage
    return _unpacked(packed), 1.0, 1.0 - (1.0 - _CRACKS) * cracked


def _mean_colours():
    """Of each block's sides and of its top, as ``_grained`` paints them: three bytes in one, int32 ``[2 * blocks]``."""
    sides, tops = COLOURS.copy(), COLOURS.copy()
    for block, crumb in _CRUMBS.items():
        sides[block] = _RIM * COLOURS[block] + (1 - _RIM) * COLOURS[crumb]
    for ore, tint in _ORES.items():
        nugget = np.array([tint >> 16, tint >> 8 & 255, tint & 255])
        sides[ore] = tops[ore] = (1 - _NUGGETS) * COLOURS[ore] + _NUGGETS * nugget
    sides[[LOG, CACTUS]] *= 1 - (1 - _LINES) * 3 / GRAIN
    sides[[PLANKS, CLAY]] *= 1 - (1 - _LINES) * 2 / GRAIN
    tops[PLANKS] *= 1 - (1 - _LINES) * 2 / GRAIN
    return _pack(np.round(np.stack([sides, tops], axis=1))).reshape(-1)


_MEANS = _mean_colours()


def _lit(byte, brightness):
    """How bright a face is by the light (0..15) in the clear cell before it."""
    level = (byte & LIGHT).astype(jnp.float32) / LIGHT
    return 0.03 + (0.97 - LAMP) * brightness * level * level


def _daylight(time):
    """(0..1 how much it is day, 0..1 the glow of dawn and dusk, 0..1 brightness) at a tick of the day."""
    height = jnp.sin(2 * jnp.pi * time.astype(jnp.float32) / DAY)
    day = jnp.clip(height * 3 + 0.45, 0.0, 1.0)
    glow = jnp.clip(1.0 - jnp.abs(height) * 3.2, 0.0, 1.0)
    return day, glow, 0.14 + 0.86 * day


def _sky(view, ray, day, glow, brightness, *, clouds):
    """(three planes of sky, three numbers of haze) for unit rays."""
    angle = 2 * jnp.pi * view.time.astype(jnp.float32) / DAY
    sun = jnp.cos(angle) * ray[0] + jnp.sin(angle) * 0.94 * ray[2] + jnp.sin(angle) * 0.34 * ray[1]
    disc = jnp.where(sun > 0.9965, 1.0, 0.0) + 0.35 * jnp.clip(sun, 0.0, 1.0) ** 64
    rise = jnp.sqrt(jnp.clip(ray[2], 0.0, 1.0))
    cloud = _clouds(view, ray) if clouds else 0.0
    planes, haze = [], []
    for c in range(3):
        zenith, horizon = (
            _NIGHT[c] + day * (full + glow * (dusk - full) - _NIGHT[c])
            for full, dusk in ((_DAY_ZENITH[c], _DUSK_ZENITH[c]), (_DAY_HORIZON[c], _DUSK_HORIZON[c]))
        )
        plane = horizon + rise * (zenith - horizon)
        plane = plane + cloud * (245.0 * brightness - plane)
        planes.append(plane + disc * (255.0 - plane) * day)
        haze.append(horizon)
    return planes, haze


def _clouds(view, ray):
    """How much of the sky they hide along unit rays: blocks of 8 x 8 on a plane, drifting along x."""
    reach = (CLOUDS - view.origin[2]) / jnp.maximum(ray[2], 0.02)
    drift = view.time.astype(jnp.float32) * 0.02
    east = jnp.floor((view.origin[0] + ray[0] * reach + drift) / 8).astype(jnp.int32)
    north = jnp.floor((view.origin[1] + ray[1] * reach) / 8).astype(jnp.int32)
    cloud = _hash((east << 12) + north) * 0.4 + _hash(((east >> 1) << 12) + (north >> 1) + 99) * 0.6
    return jnp.where(cloud > 0.62, 0.75, 0.0) * jnp.clip(ray[2] * 5 - 0.4, 0.0, 1.0)


def _through_water(planes, view, hit, direction, length, away, brightness, sky, *, ripples):
    """Tint what is seen through water, and let its surface mirror the sky."""
    meets = jnp.isfinite(hit.water)
    entry = jnp.where(meets, hit.water, 0.0)
    depth = jnp.where(view.submerged, away, jnp.maximum(away - entry * length, 0.0))
    murk = jnp.where(meets, 1.0 - jnp.exp(-jnp.where(view.submerged, 0.22, 0.3) * depth), 0.0)
    grazing = 1.0 - jnp.clip(-direction[2] / length, 0.0, 1.0)
    ripple = 0.1 * (_wave(view, direction, entry) - 0.5) if ripples else 0.0
    mirror = jnp.where(meets & ~view.submerged, 0.12 + 0.5 * grazing**4 + ripple, 0.0)
    far = jnp.clip((entry * length - FOG_START) / (FOG_END - FOG_START), 0.0, 1.0) * meets
    tinted = []
    for c, plane in enumerate(planes):
        body = _UNDER_WATER[c] * brightness
        plane = plane + murk * (body - plane)
        tinted.append(plane + jnp.clip(mirror + far * (1 - mirror), 0.0, 1.0) * (sky[c] * 0.9 - plane))
    return tinted


def _wave(view, direction, entry):
    """Numbers 0..1 that change from place to place on the water that rays enter, and with time."""
    surface = [o + entry * d for o, d in zip(view.origin, direction, strict=True)]
    return _hash(
        (jnp.floor(surface[0] * 4).astype(jnp.int32) << 14)
        + (jnp.floor(surface[1] * 4).astype(jnp.int32) << 4)
        + (view.time >> 3) % 16
    )


def _hash(n):
    """Numbers 0..1 that look random, the same for the same int32 (PCG's output permutation)."""
    n = n.astype(jnp.uint32) * jnp.uint32(747796405) + jnp.uint32(2891336453)
    n = ((n >> ((n >> 28) + 4)) ^ n) * jnp.uint32(277803737)
    return ((n >> 22) ^ n).astype(jnp.uint32).astype(jnp.float32) * jnp.float32(2.0**-32)
