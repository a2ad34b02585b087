"""An environment for tests whose programs compile in seconds: the walker on a ring, with something to gain."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from device_toy import Walker

from prowl_jax.actions import ActionSpec, Camera, camera, choice
from prowl_jax.envs.base import DeviceStep
from prowl_jax.envs.device import keys
from prowl_jax.envs.environment import Environment

SPEC = ActionSpec((choice("move", "forward", "back"), camera("look", Camera(10.0, bins=3))))
HOME, COLUMNS = 0, 16


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Ring:
    """A bright column on a ring of 16; each step forward is worth 1, and at column 0 the episode is over."""

    steps: int = dataclasses.field(default=8, metadata={"static": True})
    goes_on: bool = dataclasses.field(default=False, metadata={"static": True})
    spec = SPEC
    frame_shape = (16, 16, 3)

    def reset(self, key):
        state = self._start(key, jnp.int32(0))
        return state, self._see(state, jnp.bool_(False), jnp.float32(0), jnp.bool_(False))

    def step(self, state, action):
        column = (state.column + jnp.array([0, 1, -1])[action[0]]) % COLUMNS
        over = (column == HOME) & (action[0] > 0)
        done = (state.age + 1 >= self.steps) | (over & (not self.goes_on))
        moved = Walker(state.key, column, state.episode, state.age + 1)
        fresh = self._start(state.key, state.episode + 1)
        after = jax.tree.map(lambda new, old: jnp.where(done, new, old), fresh, moved)
        return after, self._see(after, done, (action[0] == 1).astype(jnp.float32), over)

    def _start(self, key, episode):
        column = jax.random.randint(jax.random.fold_in(key, episode), (), 1, COLUMNS)
        return Walker(key, column, episode, jnp.int32(0))

    def _see(self, state, done, reward, over):
        bright = jnp.where(jnp.arange(COLUMNS) == state.column, 250, 40).astype(jnp.uint8)
        frame = jnp.broadcast_to(bright[None, :, None], self.frame_shape)
        return DeviceStep(frame, done, {"reward": reward, "over": over})


@jax.jit(static_argnames=("steps", "forward"))
def play(env, seeds, *, steps, forward):
    """Drawn at random, or always forward: as ``Environment.rewarded_play``."""
    state, first = jax.vmap(env.reset)(seeds)
    sizes = np.array(SPEC.sizes)

    def body(carry, t):
        state, frame = carry
        drawn = jax.vmap(lambda key: jax.random.randint(jax.random.fold_in(key, 99 + t), (2,), 0, sizes))(seeds)
        actions = jnp.where(forward, jnp.ones_like(drawn), drawn)
        state, step = jax.vmap(env.step)(state, actions)
        return (state, step.frame), (frame, actions, step.done, step.info)

    return jax.lax.scan(body, (state, first.frame), jnp.arange(steps))[1]


@dataclasses.dataclass(frozen=True)
class RingWorld(Environment):
    """``Ring`` as a configuration names it."""

    name, spec = "ring", SPEC
    tasks = {"walk": False}
    goals = {"forward": "steps forward; home ends the episode"}

    def make_device(self, task):
        return Ring()

    def make_rewarded(self, task, goal, episode_steps, goes_on=False):
        return Ring(episode_steps, goes_on)

    def rewarded_play(self, task, goal, steps, seeds, by="demonstrator", goes_on=True):
        env = self.make_rewarded(task, goal, steps, goes_on)
        return play(env, keys(seeds, len(seeds)), steps=steps, forward=by == "demonstrator")

    def record(self, task, frames_per_episode, episodes, seed, on_progress=None, *, gaps=None, num_envs=1):
        seeds = np.random.SeedSequence(seed).generate_state(episodes)
        frames, actions = self.rewarded_play(task, "forward", frames_per_episode, seeds, by="walk")[:2]
        for i in range(episodes):
            yield np.asarray(frames[:, i]), np.asarray(actions[:, i])
