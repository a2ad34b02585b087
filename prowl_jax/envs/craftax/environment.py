"""Craftax as a configuration names it: ``env.name=craftax`` (docs/your_world.md)."""

import contextlib
import dataclasses
import importlib.util

import numpy as np

from prowl_jax.actions import ActionSpec, Factor
from prowl_jax.envs.craftax.wanderer import Wanderer
from prowl_jax.envs.environment import Environment
from prowl_jax.envs.hands import Restless
from prowl_jax.settings import COUNT, NATURAL, setting

ACTIONS = (
    "noop", "left", "right", "up", "down", "do", "sleep", "place_stone", "place_table", "place_furnace", "place_plant",
    "make_wood_pickaxe", "make_stone_pickaxe", "make_iron_pickaxe", "make_wood_sword", "make_stone_sword",
    "make_iron_sword",
)  # fmt: skip
"""In Craftax-Classic's order."""
ACHIEVEMENTS = (
    "collect_wood", "place_table", "eat_cow", "collect_sapling", "collect_drink", "make_wood_pickaxe",
    "make_wood_sword", "place_plant", "defeat_zombie", "collect_stone", "place_stone", "eat_plant", "defeat_skeleton",
    "make_stone_pickaxe", "make_stone_sword", "wake_up", "place_furnace", "collect_coal", "collect_iron",
    "collect_diamond", "make_iron_pickaxe", "make_iron_sword",
)  # fmt: skip
"""In Craftax-Classic's order; each is an event where it is reached for the first time in an episode."""
SPEC = ActionSpec((Factor("action", ACTIONS),))
INSTALL = "pip install --no-deps 'craftax>=1.6,<1.7' imageio (docs/your_world.md says why so)"


@dataclasses.dataclass(frozen=True)
class Craftax(Environment):
    """Craftax-Classic. ``wander`` is a walk that tries things; ``restless`` draws every action anew."""

    name, spec, events = "craftax", SPEC, ACHIEVEMENTS
    tasks = {"wander": False, "restless": True}
    identity = ("worlds", "seed")

    worlds: int = setting(64, "in the pool that episodes begin in, 20 KiB each", COUNT)
    episode_steps: int = setting(10000, "after as many an episode ends, if it has not before; 0: never", NATURAL)

    def check_installed(self):
        """ValueError of one line where Craftax, or what reads its pictures, is not there."""
        for package in ("craftax", "imageio"):
            if importlib.util.find_spec(package) is None:
                raise ValueError(f"env.name=craftax needs the package {package}: {INSTALL}")

    def make_device(self, task):
        """A ``CraftaxWorld``; the demonstrator is all that differs between tasks."""
        if task not in self.tasks:
            raise ValueError(f"craftax has the tasks {', '.join(self.tasks)}, not {task!r}")
        self.check_installed()
        from prowl_jax.envs.craftax.world import make_world  # which knows JAX, and imports Craftax

        return make_world(self.worlds, self.seed, self.frame_size, self.episode_steps)

    def demonstrator(self, task, gaps=None):
        """``Wanderer`` or ``Restless``."""
        if gaps:
            raise ValueError("demonstrations.gaps cannot be planted: who wanders in Craftax does not know them")
        return Restless(SPEC) if task == "restless" else Wanderer(SPEC)

    def demonstrated_info(self, task, steps, seeds, gaps=None):
        """See ``Environment.demonstrated_info``."""
        actors, info = [self.demonstrator(task, gaps) for _ in seeds], []
        with contextlib.closing(self.make(task, len(seeds))) as env:
            step = env.reset(np.asarray(seeds))
            for actor, seed in zip(actors, seeds, strict=True):
                actor.reset(int(seed))
            for _ in range(steps):
                seen = zip(actors, step.info["pose"], step.frames, strict=True)
                step = env.step(np.stack([actor.act(pose, frame) for actor, pose, frame in seen]))
                info.append(step.info)
        return {name: np.stack([now[name] for now in info]) for name in info[0]}
