"""The world of blocks as a configuration names it."""

import dataclasses

from prowl_jax.envs.device import keys
from prowl_jax.envs.environment import Environment
from prowl_jax.envs.voxel.demonstrations import PLAYERS, behaviour_of, demonstrate, record
from prowl_jax.envs.voxel.goals import GOALS
from prowl_jax.envs.voxel.render import DAY, LOOKS
from prowl_jax.envs.voxel.tasks import TASKS, make_world
from prowl_jax.envs.voxel.world import EVENTS, SPEC
from prowl_jax.settings import COUNT, NATURAL, one_of, setting, within


@dataclasses.dataclass(frozen=True)
class Voxel(Environment):
    """The world of blocks (docs/voxel.md)."""

    name, spec, events = "voxel", SPEC, tuple(EVENTS)
    tasks = {task.name: task.held_out for task in TASKS.values()}
    goals = {goal.name: f"{goal.description} ({goal.unit})" for goal in GOALS.values()}
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

    def make_rewarded(self, task, goal, episode_steps, goes_on=False):
        """A ``VoxelWorld`` with a goal."""
        settings = self._settings | {"goal": goal, "episode_steps": episode_steps, "goes_on": goes_on}
        return make_world(task, seed=self.seed, **settings)

    def rewarded_play(self, task, goal, steps, seeds, by="demonstrator", goes_on=True):
        """See ``Environment.rewarded_play``."""
        env = self.make_rewarded(task, goal, steps, goes_on)
        behaviour = PLAYERS[goal] if by == "demonstrator" else behaviour_of(by)
        return demonstrate(env, behaviour, keys(seeds, len(seeds)), steps=steps)

    @property
    def _settings(self):
        return {
            "worlds": self.worlds, "frame_size": self.frame_size, "episode_steps": self.episode_steps,
            "look": self.look, "hour": None if self.hour < 0 else self.hour,
        }  # fmt: skip
