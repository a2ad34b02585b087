"""Craftax-Classic as a ``DeviceEnv``. Craftax itself is imported when a world is made: its import computes.

What would come in the way is kept away here: Craftax's own auto-reset makes a world in every step and throws it away,
so episodes begin in a pool of worlds; its textures are made of any size and written beside its code, so those of the
one size that is drawn are made in memory (seconds, once a process); its frames are floats of 63x63 pixels.
"""

import dataclasses
import functools
import types
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from prowl_jax.envs.base import DeviceStep
from prowl_jax.envs.craftax.environment import ACHIEVEMENTS, ACTIONS, SPEC
from prowl_jax.types import pytree

ROWS, COLUMNS = 9, 9
"""Tiles of a picture; the lower two rows are what one has."""
TILE = 7
"""Pixels of a tile at least, as Craftax draws for agents: fewer cannot be drawn."""
ANGLES = np.array([0.0, 180.0, 0.0, 90.0, 270.0], np.float32)
"""Degrees to the left of "right", of Craftax's directions (none, left, right, up, down)."""
ENDLESS = 2**30


@pytree
class State:
    """One environment.

    Attributes:
      key: of everything random; step t of episode i draws from ``fold_in(fold_in(key, i), t)``.
      episode: int32, episodes since ``reset``.
      game: Craftax's ``EnvState``.
    """

    key: jax.Array
    episode: jax.Array
    game: Any


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class CraftaxWorld:
    """Craftax-Classic in pixels; a ``DeviceEnv``.

    Tiles are drawn as large as the picture allows, at least seven pixels, and what is left around them stays black (one
    row and one column of 64x64); a smaller picture is averaged by areas.

    Attributes:
      starts: an ``EnvState`` of leaves ``[P, ...]``: the worlds that episodes begin in.
      textures: name -> array, Craftax's own.
      frame_size: (H, W). episode_steps: after as many an episode ends; 0 is never.
    """

    starts: Any
    textures: dict
    frame_size: tuple = dataclasses.field(default=(64, 64), metadata={"static": True})
    episode_steps: int = dataclasses.field(default=10000, metadata={"static": True})

    @property
    def spec(self):
        """The one factor: Craftax's seventeen actions."""
        return SPEC

    @property
    def frame_shape(self):
        """``(H, W, 3)``."""
        return (*self.frame_size, 3)

    def reset(self, key):
        """The first episode of ``key``: (state, ``DeviceStep``)."""
        state = self._start(key, jnp.int32(0))
        return state, self._see(state, jnp.bool_(False), jnp.zeros(len(ACHIEVEMENTS), bool))

    def step(self, state: State, action):
        """Do ``action`` (int32 ``[1]``): (state, ``DeviceStep``)."""
        params = _craftax().Params(max_timesteps=self.episode_steps or ENDLESS)
        key = jax.random.fold_in(jax.random.fold_in(state.key, state.episode), 1 + state.game.timestep)
        acted, _ = _craftax().step(key, state.game, action[0], params, _craftax().static)
        reached = acted.achievements & ~state.game.achievements
        done = _craftax().is_over(acted, params)
        acted = jax.tree.map(_as, acted, state.game)
        fresh = self._start(state.key, state.episode + 1)
        after = jax.tree.map(lambda new, old: jnp.where(done, new, old), fresh, State(state.key, state.episode, acted))
        return after, self._see(after, done, reached)

    def _start(self, key, episode):
        drawn = jax.random.fold_in(key, episode)
        which = jax.random.randint(jax.random.fold_in(drawn, 0), (), 0, self.starts.timestep.shape[0])
        return State(key, episode, jax.tree.map(lambda leaf: leaf[which], self.starts))

    def _see(self, state, done, reached):
        row, column = state.game.player_position
        angle = jnp.asarray(ANGLES)[state.game.player_direction]
        info = {"pose": jnp.stack([column.astype(jnp.float32), -row.astype(jnp.float32), angle])}
        info |= {f"event_{name}": reached[i] for i, name in enumerate(ACHIEVEMENTS)}
        return DeviceStep(self._draw(state.game), done, info)

    def _draw(self, game):
        """uint8 ``[H, W, 3]``."""
        tile = _tile(self.frame_size)
        picture = _renderer(tile, self.textures)(game)
        if min(self.frame_size) >= TILE * ROWS:
            spare = [size - tile * tiles for size, tiles in zip(self.frame_size, (ROWS, COLUMNS), strict=True)]
            picture = jnp.pad(picture, [*((n // 2, n - n // 2) for n in spare), (0, 0)])
        else:
            rows, columns = (_shares(n, m) for n, m in zip(picture.shape, self.frame_size, strict=False))
            picture = jnp.einsum("hr,rck,wc->hwk", rows, picture, columns)
        return jnp.clip(picture + 0.5, 0, 255).astype(jnp.uint8)


def make_world(worlds, seed, frame_size=(64, 64), episode_steps=10000):
    """A ``CraftaxWorld`` whose pool has so many worlds, made from ``seed``; it takes half a minute on a CPU.

    Raises:
      ValueError: this Craftax has other actions or achievements than 1.6.
    """
    keys = jax.random.split(jax.random.key(seed, impl="threefry2x32"), worlds)
    return CraftaxWorld(_generate(keys), _textures(_tile(frame_size)), tuple(frame_size), episode_steps)


@functools.cache
def _craftax():
    """What is used of Craftax. Its import makes arrays: of numbers, also where somebody is tracing."""
    with jax.ensure_compile_time_eval():
        from craftax.craftax_classic import constants, game_logic, renderer, world_gen
        from craftax.craftax_classic.envs import craftax_state

    for ours, theirs, what in ((ACTIONS, constants.Action, "actions"), (ACHIEVEMENTS, constants.Achievement, "goals")):
        if ours != tuple(one.name.lower() for one in theirs):
            raise ValueError(f"this Craftax has other {what} than 1.6: pip install --no-deps 'craftax==1.6.*'")
    return types.SimpleNamespace(
        Params=craftax_state.EnvParams, static=craftax_state.StaticEnvParams(), generate=world_gen.generate_world,
        step=game_logic.craftax_step, is_over=game_logic.is_game_over, renderer=renderer.make_craftax_pixel_renderer,
        textures=constants.load_all_textures_given_size,
    )  # fmt: skip


@jax.jit
@jax.vmap
def _generate(key):
    return jax.tree.map(_as, game := _craftax().generate(key, _craftax().Params(), _craftax().static), game)


def _as(new, old):
    """``new`` as an array of ``old``'s type. Craftax's are Python's numbers, or weakly typed: steps compile twice."""
    return jnp.asarray(new).astype(jnp.asarray(old).dtype)


def _tile(frame_size):
    """Pixels of a tile."""
    return max(TILE, min(frame_size[0] // ROWS, frame_size[1] // COLUMNS))


@functools.cache
def _textures(tile):
    """Craftax's textures of one size, made anew: its own cache is of three sizes, and a file beside its code."""
    return jax.tree.map(jnp.asarray, _craftax().textures(tile))


def _renderer(tile, textures):
    """Craftax's renderer with ``textures`` for what it would load: ``f(EnvState) -> float [63, 63, 3]`` in 0..255."""
    make = _craftax().renderer
    return types.FunctionType(make.__code__, {**make.__globals__, "load_all_textures": lambda: {tile: textures}})(tile)


def _shares(n, m):
    """float32 ``[m, n]``: which share of each of m pixels lies in each of n others along the same line."""
    edges = np.arange(m + 1) * n / m
    low, high = np.maximum(edges[:-1, None], np.arange(n)), np.minimum(edges[1:, None], np.arange(n) + 1)
    return jnp.asarray(np.clip(high - low, 0, None) * m / n, jnp.float32)
