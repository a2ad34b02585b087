"""The world of blocks as a configuration names it."""

import dataclasses

from prowl_jax.envs.device import keys
from prowl_jax.envs.environment import Environment
from prowl_jax.envs.voxel.demonstrations import behaviour_of, demonstrate, record
from prowl_jax.envs.voxel.render import DAY, LOOKS
from prowl_jax.envs.voxel.tasks import TASKS, make_world
from prowl_jax.envs.voxel.world import EVENTS, SPEC
from prowl_jax.settings import COUNT, NATURAL, one_of, setting, within


@dataclasses.dataclass(frozen=True)
class Voxel(Environment):
    """The world of blocks (docs/voxel.md)."""

    name, spec, events = "voxel", SPEC, tuple(EVENTS)
    tasks = {task.name: task.held_out for task in TASKS.values()}
    identity = ("worlds", "look", "hour", "seed")

    worlds: int = setting(64, "in the pool, 128 KiB each", COUNT)
    episode_steps: int = setting(1200, "of 1/20 s; 0: without end", NATURAL)
    look: str = setting("textured", "how blocks are drawn", one_of(LOOKS))
    hour: int = setting(-1, "the tick of the day at which time stands still; -1: it goes on", within(-1, DAY - 1))

    def make_device(self, task):
        """A ``VoxelWorld``."""
        return make_world(task, seed=self.seed, **self._settings)

    def record(self, task, frames_per_episode, episodes, seed, on_progress=None, *, gaps=None, num_envs=1):
        """As ``Environment.record``: demonstrators and worlds in one scan."""
        return record(
            task, frames_per_episode, episodes, seed, on_progress,
            gaps=gaps, num_envs=num_envs, world_seed=self.seed, **self._settings,
        )  # fmt: skip

    def demonstrated_info(self, task, steps, seeds, gaps=None):
        """See ``Environment.demonstrated_info``."""
        behaviour = behaviour_of(task, gaps)
        return demonstrate(self.make_device(task), behaviour, keys(seeds, len(seeds)), steps=steps, gaps=gaps)[3]

    @property
    def _settings(self):
        return {
            "worlds": self.worlds, "frame_size": self.frame_size, "episode_steps": self.episode_steps,
            "look": self.look, "hour": None if self.hour < 0 else self.hour,
        }  # fmt: skip
