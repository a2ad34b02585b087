"""A toy ``DeviceEnv``: a walker on a ring, drawn as a bright column, who now and then starts over."""

import jax
import jax.numpy as jnp

from prowl_jax.actions import ActionSpec, Camera, camera, choice
from prowl_jax.envs.base import DeviceStep
from prowl_jax.types import pytree


@pytree
class Walker:
    """Its key, column, how often it began, and the age of the episode."""

    key: jax.Array
    column: jax.Array
    episode: jax.Array
    age: jax.Array


@pytree
class Ring:
    """A ring of 16 columns of the brightness ``shade``; an episode lasts ``length`` steps."""

    shade: jax.Array
    length: jax.Array

    spec = ActionSpec((choice("move", "forward", "back"), camera("yaw", Camera(10.0, bins=5))))
    frame_shape = (16, 16, 3)

    def reset(self, key):
        state = self._start(key, jnp.int32(0))
        return state, self._see(state, jnp.bool_(False), jnp.bool_(False))

    def step(self, state, action):
        column = (state.column + jnp.array([0, 1, -1])[action[0]]) % 16
        done = state.age + 1 >= self.length
        moved = Walker(state.key, column, state.episode, state.age + 1)
        fresh = self._start(state.key, state.episode + 1)
        after = jax.tree.map(lambda new, old: jnp.where(done, new, old), fresh, moved)
        return after, self._see(after, done, column == 0)

    def _start(self, key, episode):
        return Walker(key, jax.random.randint(jax.random.fold_in(key, episode), (), 0, 16), episode, jnp.int32(0))

    def _see(self, state, done, home):
        bright = jnp.where(jnp.arange(16) == state.column, self.shade, 40).astype(jnp.uint8)
        frame = jnp.broadcast_to(bright[None, :, None], (16, 16, 3))
        return DeviceStep(frame, done, {"pose": state.column.astype(jnp.float32), "event_home": home})
