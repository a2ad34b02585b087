"""How a body moves in a world: Minecraft's constants at 20 ticks a second.

Facts (accelerations, drags, the order of a tick) from the Minecraft wiki, "Entity" and
"Mechanics/Movement" of the Java edition; lengths are blocks, times are ticks. A body is a box of
0.6 x 0.6 x 1.8, its position the middle of its foot. It moves along z, then x, then y, each time as
far as it is free; so it is never inside a solid cell.
"""

import jax
import jax.numpy as jnp

from prowl_jax.envs.voxel.blocks import SOLID, WATER, block_of
from prowl_jax.envs.voxel.cast import look_up
from prowl_jax.types import pytree

RADIUS, TALL = 0.3, 1.8
EYE, EYE_SNEAKING = 1.62, 1.27
GRAVITY, DRAG = 0.08, 0.98
JUMP = 0.42
GROUND_PUSH, AIR_PUSH, WATER_PUSH = 0.098, 0.0196, 0.0196
GROUND_DRAG, AIR_DRAG, WATER_DRAG = 0.546, 0.91, 0.8
SPRINT, SNEAK = 1.3, 0.3
SINK, SWIM, CLIMB_OUT = 0.02, 0.04, 0.3
FASTEST = 2.9  # what one tick's sweep along z can follow: three cells
STILL = 0.003  # slower than this is at rest
GAP = 1e-3  # kept between a body and a wall, so that rounding cannot put it inside
WAIST = 0.4  # a body is in water when the cell this far above its foot is


@pytree
class Body:
    """A body, float32 unless said otherwise.

    Attributes:
      position: ``[3]``, the middle of the foot. x and y count on over the seams of the world.
      velocity: ``[3]``, blocks a tick.
      yaw: degrees to the right, of which 0 looks along x and -90 along y.
      pitch: degrees down, within +-90.
      grounded: bool, standing on something solid.
      sneaking: bool.
      bumped: bool, a wall stopped the last move.
      top: greatest height since it last stood or swam; ``top - position[2]`` is how far it fell.
    """

    position: jax.Array
    velocity: jax.Array
    yaw: jax.Array
    pitch: jax.Array
    grounded: jax.Array
    sneaking: jax.Array
    bumped: jax.Array
    top: jax.Array


@pytree
class Controls:
    """What a body is told to do in one tick: -1..1 ahead and to the left, bools, degrees of turn."""

    ahead: jax.Array
    left: jax.Array
    jump: jax.Array
    sneak: jax.Array
    sprint: jax.Array
    pitch: jax.Array
    yaw: jax.Array


def eye(body):
    """Where a body sees from, float32 ``[3]``."""
    return body.position + jnp.array([0.0, 0.0, 1.0]) * jnp.where(body.sneaking, EYE_SNEAKING, EYE)


def gaze(body):
    """The unit vector along which a body looks, float32 ``[3]``."""
    yaw, pitch = jnp.radians(body.yaw), jnp.radians(body.pitch)
    return jnp.stack([jnp.cos(pitch) * jnp.cos(yaw), -jnp.cos(pitch) * jnp.sin(yaw), -jnp.sin(pitch)])


def wet(world, position):
    """Whether the cell at ``position`` (float ``[3]``) is water."""
    return block_of(look_up(world, _cells(position))) == WATER


def move(world, body: Body, controls: Controls) -> Body:
    """One tick: turn, push, jump, move as far as the world lets it, then gravity and drag."""
    yaw = (body.yaw + controls.yaw + 180.0) % 360.0 - 180.0
    pitch = jnp.clip(body.pitch + controls.pitch, -90.0, 90.0)
    swims = wet(world, body.position.at[2].add(WAIST))
    stood = body.grounded & _support(world, body.position)
    velocity = body.velocity + _push(yaw, controls, swims, stood)
    jumps = controls.jump & stood & ~swims
    rise = jnp.where(jumps, JUMP, velocity[2] + SWIM * (controls.jump & swims))
    velocity = velocity.at[2].set(jnp.clip(rise, -FASTEST, FASTEST))

    position, stops = body.position, []
    for axis in (2, 0, 1):
        there, stopped = _sweep(world, position, velocity[axis], axis)
        position = position.at[axis].set(there)
        stops.append(stopped)
    grounded = stops[0] & (velocity[2] <= 0)
    bumped = stops[1] | stops[2]
    velocity = velocity * ~jnp.array([stops[1], stops[2], stops[0]])

    level_drag = jnp.where(swims, WATER_DRAG, jnp.where(stood, GROUND_DRAG, AIR_DRAG))
    level = velocity[:2] * level_drag
    upward = jnp.where(swims, velocity[2] * WATER_DRAG - SINK, (velocity[2] - GRAVITY) * DRAG)
    upward = jnp.where(swims & bumped & controls.jump, CLIMB_OUT, upward)
    level = jnp.where(jnp.abs(level) < STILL, 0.0, level)
    held = grounded | wet(world, position.at[2].add(WAIST))
    top = jnp.where(held, position[2], jnp.maximum(body.top, position[2]))
    return Body(position, jnp.append(level, upward), yaw, pitch, grounded, controls.sneak & ~swims, bumped, top)


def overlaps(position, cell):
    """Whether a body at ``position`` reaches into the cell (three ints)."""
    low = position - jnp.array([RADIUS, RADIUS, 0.0])
    high = position + jnp.array([RADIUS, RADIUS, TALL])
    corner = jnp.stack(cell).astype(jnp.float32)
    return jnp.all((low < corner + 1) & (high > corner))


def _push(yaw, controls, swims, grounded):
    """The change of velocity ``[3]`` by walking or swimming."""
    length = jnp.maximum(1.0, jnp.hypot(controls.ahead, controls.left))
    pace = jnp.where(controls.sprint & (controls.ahead > 0) & ~controls.sneak, SPRINT, 1.0)
    pace = pace * jnp.where(controls.sneak, SNEAK, 1.0)
    push = jnp.where(swims, WATER_PUSH, jnp.where(grounded, GROUND_PUSH, AIR_PUSH)) * pace / length
    cos, sin = jnp.cos(jnp.radians(yaw)), -jnp.sin(jnp.radians(yaw))
    x = controls.ahead * cos - controls.left * sin
    y = controls.ahead * sin + controls.left * cos
    return push * jnp.stack([x, y, jnp.zeros_like(x)])


def _cells(position):
    """The cell (three int32) at a position ``[3, ...]``."""
    return [jnp.floor(p).astype(jnp.int32) for p in position]


def _any_solid(world, xs, ys, zs):
    """Whether any cell of the grid over three 1-D float arrays is solid; along the last axis of zs."""
    grid = jnp.meshgrid(jnp.stack(xs), jnp.stack(ys), jnp.stack(zs), indexing="ij")
    return (look_up(world, _cells(grid)) >= SOLID).any(axis=(0, 1))


def _sides(p):
    return [p - RADIUS, p + RADIUS]


def _support(world, position):
    """Whether there is something solid right under the foot."""
    x, y, z = position
    return _any_solid(world, _sides(x), _sides(y), [z - GAP])[0]


def _sweep(world, position, step, axis):
    """Move along one axis by ``step``: (the new coordinate, whether something was in the way)."""
    x, y, z = position
    if axis == 2:
        foot = jnp.floor(z)
        below = [foot - 1, foot - 2, foot - 3]
        head = jnp.floor(z + TALL + step)
        solid = _any_solid(world, _sides(x), _sides(y), [*below, head])
        floor_ = jnp.max(jnp.where(solid[:3], jnp.stack(below) + 1, -1.0))
        lands, knocks = z + step <= floor_, solid[3] & (step > 0)
        there = jnp.where(lands, floor_, jnp.where(knocks, jnp.maximum(z, head - TALL - GAP), z + step))
        return there, lands | knocks
    here = position[axis]
    ahead = jnp.where(step > 0, RADIUS, -RADIUS)
    cell = jnp.floor(here + ahead + step)
    across = [[cell], _sides(y)] if axis == 0 else [_sides(x), [cell]]
    blocked = _any_solid(world, *across, [z, z + TALL / 2, z + TALL]).any() & (step != 0)
    wall = jnp.where(step > 0, jnp.maximum(here, cell - RADIUS - GAP), jnp.minimum(here, cell + 1 + RADIUS + GAP))
    return jnp.where(blocked, wall, here + step), blocked
