"""Tasks: a kind of world together with what its scripted demonstrator does there."""

import dataclasses
import functools

import jax.numpy as jnp

from prowl_jax.envs.device import DeviceVectorEnv
from prowl_jax.envs.voxel.goals import GOALS
from prowl_jax.envs.voxel.render import DAY, LOOKS
from prowl_jax.envs.voxel.terrain import generate_pool
from prowl_jax.envs.voxel.world import VoxelWorld
from prowl_jax.types import pytree


@pytree
class Behaviour:
    """What a demonstrator does, as chances and ranges; times are in steps of 1/20 s.

    Attributes:
      walk, look, aside, mine, build: how often, in proportion, it walks on, stands and looks about,
        side-steps or backs off, holds attack, holds use.
      turn: degrees of a change of heading, least and most.
      stretch: steps of a walk, least and most.
      pitch: mean and spread of where it looks, degrees down.
      sprint, hop: chance that a walk is a sprint, and of a jump for no reason in a step of a walk.
      care: chance that an activity minds holes, water and walls ahead.
    """

    walk: float = 0.66
    look: float = 0.12
    aside: float = 0.14
    mine: float = 0.05
    build: float = 0.03
    turn: tuple = (15.0, 90.0)
    stretch: tuple = (15, 50)
    pitch: tuple = (6.0, 10.0)
    sprint: float = 0.15
    hop: float = 0.005
    care: float = 0.985


@dataclasses.dataclass(frozen=True)
class Task:
    """A world and a behaviour.

    Attributes:
      name: what the registry and the command line call it.
      biome: key of ``terrain.BIOMES``.
      underground: whether episodes start in dark caves.
      behaviour: what the demonstrator does: a walker's, or the name of one of ``envs.held_keys.KINDS``.
      held_out: True where it is for evaluation, never for training. What may be trained on may be held out as well.
      description: one line for reports.
    """

    name: str
    biome: str
    behaviour: Behaviour | str
    held_out: bool
    description: str
    underground: bool = False


_WALKER = Behaviour()
TASKS = {
    task.name: task
    for task in (
        Task(
            "wander", "meadow", _WALKER, False, "walks over grassy hills, minds holes and water, seldom digs or builds"
        ),
        Task(
            "stroll",
            "meadow",
            Behaviour(
                walk=0.92, look=0.06, aside=0.01, mine=0.005, build=0.005, pitch=(4.0, 3.0), sprint=0.02, hop=0.0005
            ),
            False,
            "the hills of wander, but hardly anything else than walking on, looking ahead",
        ),
        Task(
            "linger",
            "meadow",
            Behaviour(walk=0.12, look=0.5, aside=0.36, mine=0.01, build=0.01, turn=(30.0, 150.0), pitch=(0.0, 25.0)),
            False,
            "the hills of wander, but mostly standing: looks about, up and down, steps back and aside",
        ),
        Task(
            "mine",
            "meadow",
            Behaviour(
                walk=0.3, look=0.05, aside=0.05, mine=0.45, build=0.15, stretch=(6, 15), pitch=(35.0, 15.0), care=0.9
            ),
            True,
            "the hills of wander, but digs into them and places blocks, looking down",
        ),
        Task(
            "desert",
            "desert",
            _WALKER,
            True,
            "walks as in wander, over dunes and terraces with cacti, without grass or water",
        ),
        Task("tundra", "tundra", _WALKER, True, "walks as in wander, over snow"),
        Task("caves", "meadow", _WALKER, True, "walks as in wander, in the caves under the hills", underground=True),
        Task(
            "control",
            "meadow",
            "control",
            True,
            "the hills of wander, but does with a calm camera what gaps leave out: strafes, walks back, jumps",
        ),
        Task("wide", "meadow", "wide", False, "the hills of wander, but keys held at random, calm or fast turns"),
    )
}


def make_world(task: str, *, worlds: int = 16, seed: int = 0, **settings) -> VoxelWorld:
    """The environment of a task, with a pool of ``worlds`` worlds drawn from ``seed``.

    Args:
      task: key of ``TASKS``.
      worlds: 128 KiB each.
      seed: the same seed gives the same worlds.
      **settings: ``frame_size``, ``episode_steps``, ``look``, ``hour``, ``together``, ``goal``, ``goes_on`` of
        ``VoxelWorld``.

    Raises:
      ValueError: an unknown task, look or goal, or sizes or an hour out of range.
    """
    chosen = _task(task)
    height, width = settings.get("frame_size", (64, 64))
    if height < 1 or width < 1:
        raise ValueError(f"frame_size must be positive, got {(height, width)}")
    if settings.get("episode_steps", 0) < 0:
        raise ValueError(f"episode_steps must not be negative, got {settings['episode_steps']}")
    if settings.get("look", LOOKS[0]) not in LOOKS:
        raise ValueError(f"look must be one of {', '.join(LOOKS)}, got {settings['look']!r}")
    if settings.get("goal") and settings["goal"] not in GOALS:
        raise ValueError(f"goal must be one of {', '.join(GOALS)}, got {settings['goal']!r}")
    hour = settings.get("hour")
    if hour is not None and not 0 <= hour < DAY:
        raise ValueError(f"hour must be a tick of the day, 0..{DAY - 1}, or None, got {hour}")
    pool = _pool(seed, worlds, chosen.biome, chosen.underground)
    return VoxelWorld(jnp.asarray(pool.worlds), jnp.asarray(pool.starts), **settings)


def make_voxel(task: str, num_envs: int, **settings) -> DeviceVectorEnv:
    """``num_envs`` environments of a task as a ``HostEnv``; ``settings`` as of ``make_world``."""
    return DeviceVectorEnv(make_world(task, **settings), num_envs)


def _task(name):
    if name not in TASKS:
        raise ValueError(f"no voxel task {name!r}; there are {', '.join(TASKS)}")
    return TASKS[name]


@functools.lru_cache(maxsize=8)
def _pool(seed, worlds, biome, underground):
    return generate_pool(seed, worlds, biome, underground=underground)
