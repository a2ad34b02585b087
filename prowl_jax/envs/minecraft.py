"""Minecraft as a configuration names it: recordings of people alone, or beside them a game to act in."""

import dataclasses
import shlex
import shutil

from prowl_jax.envs.environment import Environment
from prowl_jax.envs.minerl import make_minerl
from prowl_jax.minecraft import SPEC
from prowl_jax.settings import NATURAL, setting


@dataclasses.dataclass(frozen=True)
class Recordings(Environment):
    """What people did, and nothing to act in."""

    name, spec, seeded, recordings = "recordings", SPEC, False, True


@dataclasses.dataclass(frozen=True)
class MineRL(Recordings):
    """A Minecraft that runs (docs/minerl.md)."""

    name = "minerl"
    checks = (
        (
            lambda settings: settings.python.split(),
            "python is empty; name the Python that MineRL is installed in (docs/minerl.md)",
        ),
    )

    python: str = setting("", "the interpreter that MineRL is installed in")
    make_with: str = setting("minerl", "or minestudio, module:function, file.py:function", key="make")
    episode_steps: int = setting(0, "0: as long as the task lasts", NATURAL)

    def check_installed(self):
        """The interpreter is there."""
        try:
            first = (shlex.split(self.python) or [""])[0]
        except ValueError as error:  # a quote that is not closed
            raise ValueError(f"env.minerl.python={self.python}: {error}") from None
        if shutil.which(first) is None:
            raise ValueError(f"env.minerl.python={self.python}: there is no command {first!r} here (docs/minerl.md)")

    def make(self, task, num_envs):
        """Games in processes of another Python."""
        return make_minerl(
            task,
            num_envs,
            python=self.python,
            make=self.make_with,
            frame_size=self.frame_size,
            episode_steps=self.episode_steps or None,
        )
