"""What ``env.name`` of a configuration names: an environment's settings, tasks, actions and demonstrators in one class.

    @dataclasses.dataclass(frozen=True)
    class Pond(Environment):
        name, tasks = "pond", {"feed": False, "hide": True}
        spec = ActionSpec((choice("move", "forward", "back"), camera("yaw", Camera(10.0))))
        ducks: int = setting(3, "on the pond", COUNT)

        def make(self, task, num_envs):
            return ProcessVectorEnv(functools.partial(Shore, self.ducks), num_envs, self.workers, self.spec, ...)

        def demonstrator(self, task, gaps):
            return Feeder()

A row in ``registry.ENVIRONMENTS`` makes ``env.name=pond`` and ``env.pond.ducks`` known everywhere: what differs between
environments is asked here, and nobody compares names. A module that defines one imports no game: its settings and
tasks are read where the game is not installed. Like the games' workers, this module knows no JAX.
"""

import contextlib
import dataclasses
import functools
from typing import Any, ClassVar

from prowl_jax.envs.demonstrators import record


@dataclasses.dataclass(frozen=True)
class Environment:
    """An environment as it is configured. A subclass is one that ``env.name`` can name.

    Of a class:
      name: of the environment.
      tasks: task -> whether it is held out, never trained on; None where any name may be one.
      spec: the ``ActionSpec``; a property where it depends on settings.
      seeded: whether a seed decides how an episode begins, so that two policies can be met with the same starts.
      recordings: whether it is Minecraft as people have played it: demonstrations are their recordings, and
        policies of VPT know its actions.
      events: names of the ground-truth events that the info of a ``DeviceEnv`` tells, without ``event_``.
      goals: goal -> what there is to gain, in words; see ``make_rewarded``.
      identity: fields that have to be the same for a trained world model to mean anything.
      source: where its demonstrations lie, if they are files of somebody's; a property where it depends on settings.
      checks: pairs (``holds(settings)``, words) of what spans several settings, asked where it is the one that is
        configured; the words begin with the name of a setting.

    Attributes:
      frame_size: (H, W). workers: processes that drive the games, where there are any. restarts: how often in a row
        all of them may fail. seed: of worlds that are generated.

    Its own settings are further fields, ``prowl_jax.settings.setting``s; ``group`` says where a configuration has them.
    """

    name: ClassVar[str]
    tasks: ClassVar[dict | None] = None
    spec: ClassVar[Any]
    seeded: ClassVar[bool] = True
    recordings: ClassVar[bool] = False
    events: ClassVar[tuple] = ()
    goals: ClassVar[dict] = {}
    identity: ClassVar[tuple] = ()
    checks: ClassVar[tuple] = ()
    source = ""

    frame_size: tuple = (64, 64)
    workers: int = 1
    restarts: int = 0
    seed: int = 0

    @classmethod
    def group(cls):
        """The group of a configuration that holds its settings."""
        return f"env.{cls.name}"

    @classmethod
    def goals_of(cls, task):
        """Those of ``goals`` that ``task`` has."""
        del task
        return cls.goals

    @classmethod
    def live_factors(cls, task):
        """Names of the action factors that do anything in ``task``; (): all of them."""
        del task
        return ()

    @classmethod
    def on_device(cls):
        """Whether it is a ``DeviceEnv`` as well, around which whole cycles are one program."""
        return cls.make_device is not Environment.make_device

    @classmethod
    def acts(cls):
        """Whether it can be acted in at all; where not, there is no phase 2."""
        return cls.make is not Environment.make or cls.on_device()

    def check_installed(self):
        """ValueError where what ``make`` starts is not on this machine; asked before a run that acts begins."""

    def make(self, task, num_envs):
        """``num_envs`` environments of ``task`` as a ``HostEnv``."""
        from prowl_jax.envs.device import DeviceVectorEnv  # which knows JAX

        return DeviceVectorEnv(self.make_device(task), num_envs)

    def make_device(self, task):
        """The ``DeviceEnv`` of ``task``."""
        raise ValueError(f"the environment {self.name} does not run on the device")

    def make_rewarded(self, task, goal, episode_steps, goes_on=False):
        """The ``DeviceEnv`` of ``task`` with something to gain: its info has ``"reward"`` and ``"over"``.

        Args:
          goal: of ``goals``. episode_steps: the limit of an episode. goes_on: what is over goes on nevertheless.
        """
        raise ValueError(f"the environment {self.name} has no goals")

    def make_rewarded_host(self, task, goal, episode_steps, num_envs, goes_on=False):
        """``make_rewarded`` of an environment that does not run on the device: a ``HostEnv`` of ``num_envs``.

        There the info's ``"reward"`` and ``"over"`` tell of the step itself, also where it ended the episode.
        """
        raise ValueError(f"the environment {self.name} has no goals")

    def rewarded_play(self, task, goal, steps, seeds, by="demonstrator", goes_on=True):
        """What is recorded for a goal's heads, and what a script gains: play in ``make_rewarded`` of ``steps`` steps.

        Args:
          seeds: int ``[N]``, an episode each. by: ``"demonstrator"`` (who knows the goal) or the name of a task, whose
            demonstrator acts. goes_on: as there.

        Returns:
          (frames uint8 ``[steps, N, H, W, 3]``, actions int32 ``[steps, N, A]``, done bool ``[steps, N]``, info of the
          steps, arrays ``[steps, N, ...]``).
        """
        raise ValueError(f"the environment {self.name} has no goals")

    def demonstrator(self, task, gaps=None):
        """Who shows ``task``: ``reset(seed)``, then ``act(pose, frame)`` gives the action, int32 ``[A]``.

        Args:
          gaps: ``Gaps`` that it leaves out, None for none.

        Raises:
          ValueError: gaps that it cannot leave out.
        """
        raise ValueError(f"the environment {self.name} has no scripted demonstrators")

    def record(self, task, frames_per_episode, episodes, seed, on_progress=None, *, gaps=None, num_envs=1):
        """Yield the demonstrators' episodes, (frames uint8 ``[T, H, W, 3]``, actions int32 ``[T, A]``).

        Args:
          frames_per_episode: T; an episode that ends early is shorter. episodes: how many.
          seed: the same seed gives the same episodes, for a given ``num_envs``, which are recorded side by side.
          on_progress: called with the number of frames so far. gaps: as of ``demonstrator``.
        """
        make = functools.partial(self.demonstrator, task, gaps)
        with contextlib.closing(self.make(task, num_envs)) as env:
            yield from record(env, make, frames_per_episode, episodes, seed, on_progress)

    def demonstrated_info(self, task, steps, seeds, gaps=None):
        """What the steps' info says while ``task``'s demonstrators act: name -> array ``[steps, N, ...]``.

        Asked where the class names ``events``. ``seeds``: int ``[N]``, an environment and a demonstrator each.
        """
        raise ValueError(f"the environment {self.name} counts no events of demonstrations")
