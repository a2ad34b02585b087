"""The behaviours of ``envs/held_keys.py`` in JAX, for the voxel world: keys drawn and held, chord by chord."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from prowl_jax.envs.held_keys import Chords
from prowl_jax.envs.voxel.world import SPEC
from prowl_jax.types import pytree

PITCH = SPEC.index("pitch")
CAMERAS = np.array([factor.camera is not None for factor in SPEC.factors])
DEGREES = np.array(SPEC.factors[PITCH].camera.degrees, np.float32)


@pytree
class Player:
    """The state of one; scalars but for ``action``, what is held: int32 ``[A]``.

    Attributes:
      key: of everything random.
      age: int32, steps done.
      chord, steps, stroke: int32, the chord, and for how many steps it and the camera's turn are still held.
    """

    key: jax.Array
    age: jax.Array
    chord: jax.Array
    steps: jax.Array
    stroke: jax.Array
    action: jax.Array


def start(key) -> Player:
    """One about to draw its first chord."""
    zero = jnp.int32(0)
    return Player(key, zero, zero, zero, zero, jnp.asarray(SPEC.null))


def act(chords: Chords, me: Player, state):
    """(the player after this step, int32 ``[A]``) for what ``state`` (a ``world.State``) is."""
    draw = jax.random.split(jax.random.fold_in(me.key, me.age), 5)
    over = (me.steps <= 0) | (chords.minds & state.body.bumped)
    chord = jnp.where(over, jax.random.categorical(draw[0], jnp.log(chords.share)), me.chord)
    steps = jnp.where(over, jax.random.randint(draw[1], (), chords.hold[0], chords.hold[1] + 1), me.steps)
    turns = over | (me.stroke <= 0)
    stroke = jnp.where(turns, jax.random.randint(draw[2], (), 1, jnp.asarray(chords.stroke)[chord] + 1), me.stroke)
    drawn = jax.random.categorical(draw[3], jnp.log(jnp.asarray(chords.values)[chord])).astype(jnp.int32)
    held = jnp.where(jnp.where(CAMERAS, turns, over), drawn, me.action)

    pitch, null = held[PITCH], SPEC.factors[PITCH].null
    beyond = jnp.abs(state.body.pitch) > jnp.asarray(chords.level)[chord]
    further = jnp.asarray(DEGREES)[pitch] * state.body.pitch > 0
    held = held.at[PITCH].set(jnp.where(beyond & further, 2 * null - pitch, pitch))
    swims = chords.minds & state.wet
    done = jnp.where(swims, held.at[SPEC.index("move")].set(1).at[SPEC.index("jump")].set(1), held)
    me = dataclasses.replace(me, age=me.age + 1, chord=chord, steps=steps - 1, stroke=stroke - 1, action=held)
    return me, done
