"""Who gathers logs: a walker that goes up to the nearest log it knows of and breaks it. It sees the world itself."""

import jax.numpy as jnp
import numpy as np

from prowl_jax.envs.voxel import physics, scripted
from prowl_jax.envs.voxel.blocks import HEIGHT, LOG, block_of
from prowl_jax.envs.voxel.cast import look_up
from prowl_jax.envs.voxel.tasks import Behaviour
from prowl_jax.envs.voxel.world import REACH, SPEC
from prowl_jax.types import pytree

FAR, LOW, HIGH = 10, -1, 4  # metres level, and below and above the foot, within which it knows of logs
NEAR = 2.0  # metres to a log, level, at which it stops
AHEAD = 25.0  # degrees off, within which it walks on
AIMED = 6.0  # degrees off, within which it breaks what is there
CELLS_AROUND = np.stack(
    np.meshgrid(np.arange(-FAR, FAR + 1), np.arange(-FAR, FAR + 1), np.arange(LOW, HIGH + 1), indexing="ij"), axis=-1
).reshape(-1, 3)
DEGREES = np.array(SPEC.factors[-1].camera.degrees, np.float32)


@pytree
class Gatherer:
    """What it does where it knows of no log."""

    walker: Behaviour


start = scripted.start
"""A gatherer's state is a walker's."""


def act(gatherer: Gatherer, me, state):
    """(the gatherer after this step, int32 ``[A]``) for what ``state`` (a ``world.State``) is."""
    me, walk = scripted.act(gatherer.walker, me, state)
    known, towards = _nearest(state)
    level = jnp.hypot(towards[0], towards[1])
    yaw = jnp.degrees(jnp.arctan2(-towards[1], towards[0])) - state.body.yaw
    yaw = (yaw + 180.0) % 360.0 - 180.0
    pitch = jnp.degrees(jnp.arctan2(-towards[2], level)) - state.body.pitch
    goes = (level > NEAR) & (jnp.abs(yaw) < AHEAD)
    breaks = (jnp.linalg.norm(towards) < REACH) & (jnp.abs(yaw) < AIMED) & (jnp.abs(pitch) < AIMED)
    action = {
        "move": goes,
        "strafe": 0,
        "jump": state.wet | (goes & state.body.bumped),
        "sneak": 0,
        "sprint": 0,
        "attack": breaks | (goes & state.body.bumped),
        "use": 0,
        "pitch": _bin(pitch),
        "yaw": _bin(yaw),
    }
    gathers = jnp.stack([jnp.asarray(action[name]) for name in SPEC.names]).astype(jnp.int32)
    return me, jnp.where(known & ~state.wet, gathers, walk)


def _nearest(state):
    """(whether there is a log around, from the eye to its middle ``[3]``)."""
    foot = jnp.floor(state.body.position + 0.01).astype(jnp.int32)
    cells = foot + CELLS_AROUND
    bytes_ = look_up(state.world, [cells[:, 0], cells[:, 1], jnp.clip(cells[:, 2], 0, HEIGHT - 1)])
    towards = cells + 0.5 - physics.eye(state.body)
    away = jnp.where(block_of(bytes_) == LOG, jnp.linalg.norm(towards, axis=-1), jnp.inf)
    nearest = jnp.argmin(away)
    return jnp.isfinite(away[nearest]), towards[nearest]


def _bin(degrees):
    return jnp.argmin(jnp.abs(jnp.asarray(DEGREES) - degrees))
