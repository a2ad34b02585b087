"""ViZDoom (https://vizdoom.farama.org): a first-person engine that runs headless on a CPU.

A task is a map together with the behaviour of its scripted demonstrator. All tasks share one
``ActionSpec``, so a world model or a policy of one runs on the others.

Frames show the world alone: no weapon, HUD, crosshair or messages, because what sits still on
the screen teaches a world model nothing and hides what moves.
"""

import contextlib
import dataclasses
import functools

from prowl_jax.actions import ActionSpec, Camera, camera, choice
from prowl_jax.envs.activities import Demonstrator
from prowl_jax.envs.behaviours import BEHAVIOURS
from prowl_jax.envs.environment import Environment
from prowl_jax.envs.gaps import Gaps
from prowl_jax.envs.vizdoom_game import Game, Shrink
from prowl_jax.envs.vizdoom_goals import GOALS, PLAYERS, Survival, play
from prowl_jax.envs.workers import ProcessVectorEnv
from prowl_jax.settings import COUNT, POSITIVE, setting


@dataclasses.dataclass(frozen=True)
class Task:
    """A map and a demonstrator's behaviour on it.

    Attributes:
      name: what the registry and the command line call it.
      wad: a scenario of the ``vizdoom`` package, or one of its two Freedoom games.
      doom_map: map of the wad; "" is its first.
      behaviour: key of ``behaviours.BEHAVIOURS``.
      held_out: True where it is for evaluation, never for training.
      description: one line for reports.
      remove: classes of things taken away at the start, such as a goal that ends the episode.
      monsters: whether there are any. They cannot end an episode: the player is invulnerable, or healed (``mortal``).
      wander: least and most legs of the random walk before the first frame, by which the
        episodes of a map with one starting point start in different places; None: where the map puts the player.
      mortal: whether the player can be hurt, and so has something to gain: a strip at the bottom of the frames tells
        the health, from green to red. Who would die is healed where no goal ends the episode.
      skill: the engine's, 1 to 5. keys: factors that do anything; empty: all.
      watched: class of things that a player who knows the goal is told of.
    """

    name: str
    wad: str
    behaviour: str
    held_out: bool
    description: str
    doom_map: str = ""
    remove: tuple = ()
    monsters: bool = False
    wander: tuple | None = (0, 4)
    mortal: bool = False
    skill: int = 1
    keys: tuple = ()
    watched: str = ""


TASKS = {
    task.name: task
    for task in (
        Task(
            "explore",
            "my_way_home.wad",
            "explore",
            held_out=False,
            description="walks through textured rooms and corridors, turning with purpose",
            remove=("GreenArmor",),
        ),
        Task(
            "look_around",
            "my_way_home.wad",
            "look_around",
            held_out=True,
            description="the rooms of explore, but mostly standing: turns, pauses, steps back",
            remove=("GreenArmor",),
        ),
        Task(
            "gather",
            "health_gathering_supreme.wad",
            "gather",
            held_out=True,
            description="walks from medikit to medikit in an open-air maze",
        ),
        Task(
            "strafe_duel",
            "deadly_corridor.wad",
            "strafe_duel",
            held_out=True,
            description="side-steps and shoots at soldiers in a corridor",
            remove=("GreenArmor",),
            monsters=True,
        ),
        Task(
            "freedoom",
            "freedoom2.wad",
            "explore",
            held_out=True,
            description="explores Freedoom's MAP01, a full game map with doors and stairs",
            doom_map="MAP01",
            wander=(10, 40),
        ),
        Task(
            "control",
            "my_way_home.wad",
            "control",
            held_out=True,
            description="the rooms of explore, but does with a calm camera what gaps leave out: strafes, walks back",
            remove=("GreenArmor",),
        ),
        Task(
            "wide",
            "my_way_home.wad",
            "wide",
            held_out=False,
            description="the rooms of explore, but keys held at random, calm or fast turns",
            remove=("GreenArmor",),
        ),
        Task(
            "take_cover",
            "take_cover.wad",
            "side_step",
            held_out=False,
            description="steps aside, now here, now there, while imps throw fireballs",
            monsters=True,
            wander=None,
            mortal=True,
            skill=4,
            keys=("strafe",),
            watched="DoomImpBall",
        ),
        Task(
            "health_gathering",
            "health_gathering.wad",
            "gather",
            held_out=False,
            description="walks from medikit to medikit on a floor that burns",
            wander=None,
            mortal=True,
            skill=3,
            watched="Medikit",
        ),
    )
}


GAMES = 16
"""Games that play side by side for a recording with something to gain."""


def action_spec(max_turn_degrees=10.0):
    """The factors of every ViZDoom task: move, strafe, attack, use, yaw.

    Yaw is in degrees a step (not a tic), + to the right, as in VPT; the engine's ``ANGLE``
    counts the other way round and falls by as much.
    """
    return ActionSpec(
        (
            choice("move", "forward", "back"),
            choice("strafe", "left", "right"),
            choice("attack", "attack"),
            choice("use", "use"),
            camera("yaw", Camera(max_turn_degrees)),
        )
    )


def make_vizdoom(
    task: str,
    num_envs: int,
    *,
    workers: int = 2,
    frame_size=(48, 64),
    frame_skip: int = 4,
    max_turn_degrees: float = 10.0,
    restarts: int = 0,
    survival: Survival | None = None,
) -> ProcessVectorEnv:
    """N games of ``task`` in worker processes.

    ``info["pose"]`` is float32 ``[N, 3]``: x, y in map units, angle in degrees 0..360
    counted to the left. Episodes have no time limit; one ends (and restarts) only where the
    map is left through its exit.

    Args:
      task: key of ``TASKS``.
      num_envs: N; each is a process of the engine.
      workers: Python processes that drive the engines.
      frame_size: (H, W), at most (480, 640). The engine draws 4:3, at 160x120 where that is enough, 90 degrees
        wide; of another shape is the largest part in the middle, shrunk by area averages. So 64x64 is 74
        degrees wide, and nothing is squeezed.
      frame_skip: engine tics (1/35 s) a step.
      max_turn_degrees: largest turn in one step.
      restarts: how often in a row all games may fail; see ``ProcessVectorEnv``.
      survival: something to gain, of a ``mortal`` task: ``info["reward"]`` (float32 ``[N]``, tics lived) and
        ``info["over"]`` (bool ``[N]``) tell of the step itself, also where it ended the episode; ``info["things"]``
        (float32 ``[N, THINGS, 4]``) where the nearest watched things are and how they move.

    Raises:
      ValueError: an unknown task, sizes out of range, or something to gain where nobody can die.
    """
    if task not in TASKS:
        raise ValueError(f"no ViZDoom task {task!r}; there are {', '.join(TASKS)}")
    height, width = frame_size
    if not (1 <= height <= 480 and 1 <= width <= 640):
        raise ValueError(f"frame_size must be within (480, 640), got {tuple(frame_size)}")
    if frame_skip < 1:
        raise ValueError(f"frame_skip must be at least 1, got {frame_skip}")
    if survival is not None and not TASKS[task].mortal:
        raise ValueError(f"in the ViZDoom task {task} nobody can die; there is nothing to gain")
    spec = action_spec(max_turn_degrees)
    scale = next(s for s in (1, 2, 4) if 120 * s >= height and 160 * s >= width)
    make_one = functools.partial(Game, TASKS[task], scale, frame_skip, spec, survival)
    shrink = Shrink(scale, (height, width))
    return ProcessVectorEnv(make_one, num_envs, workers, spec, (height, width, 3), finish=shrink, restarts=restarts)


def make_demonstrator(task: str, spec: ActionSpec, seed: int, gaps: Gaps | None = None) -> Demonstrator:
    """The scripted demonstrator of a task.

    Args:
      task: key of ``TASKS``.
      spec: the action factors.
      seed: of everything random.
      gaps: what it leaves out; the demonstrator of ``control`` does that instead.

    Raises:
      ValueError: an unknown task, or gaps that it cannot have.
    """
    if task not in TASKS:
        raise ValueError(f"no demonstrator for task {task!r}; there are {', '.join(TASKS)}")
    return BEHAVIOURS[TASKS[task].behaviour](spec, seed, gaps)


@dataclasses.dataclass(frozen=True)
class ViZDoom(Environment):
    """ViZDoom as a configuration names it; its settings stand in the group ``env`` itself."""

    name = "vizdoom"
    tasks = {task.name: task.held_out for task in TASKS.values()}
    goals = GOALS
    identity = ("frame_skip", "max_turn_degrees")

    frame_skip: int = setting(3, "tics of 1/35 s a step, in vizdoom", COUNT)
    max_turn_degrees: float = setting(8.0, "a step, in vizdoom", POSITIVE)

    @classmethod
    def group(cls):
        """See ``Environment.group``."""
        return "env"

    @property
    def spec(self):
        """The factors of every task."""
        return action_spec(self.max_turn_degrees)

    @classmethod
    def live_factors(cls, task):
        """See ``Environment.live_factors``."""
        return TASKS[task].keys

    @classmethod
    def goals_of(cls, task):
        """See ``Environment.goals_of``."""
        return GOALS if task in TASKS and TASKS[task].mortal else {}

    def make(self, task, num_envs, survival=None):
        """Games in worker processes; ``survival`` as of ``make_vizdoom``."""
        return make_vizdoom(
            task,
            num_envs,
            workers=self.workers,
            frame_size=self.frame_size,
            frame_skip=self.frame_skip,
            max_turn_degrees=self.max_turn_degrees,
            restarts=self.restarts,
            survival=survival,
        )

    def make_rewarded_host(self, task, goal, episode_steps, num_envs, goes_on=False):
        """See ``Environment.make_rewarded_host``; there is one goal."""
        return self.make(task, num_envs, Survival(episode_steps, goes_on))

    def rewarded_play(self, task, goal, steps, seeds, by="demonstrator", goes_on=True):
        """See ``Environment.rewarded_play``."""
        knows, num_envs = by == "demonstrator", min(len(seeds), GAMES)
        make = functools.partial(PLAYERS[task] if knows else self.demonstrator, *((self.spec,) if knows else (by,)))
        with contextlib.closing(self.make_rewarded_host(task, goal, steps, num_envs, goes_on)) as env:
            return play(env, make, knows, steps, seeds)

    def demonstrator(self, task, gaps=None):
        """See ``make_demonstrator``."""
        return make_demonstrator(task, self.spec, 0, gaps)
