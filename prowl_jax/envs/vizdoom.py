"""ViZDoom (https://vizdoom.farama.org): a first-person engine that runs headless on a CPU.

A task is a map together with the behaviour of its scripted demonstrator. All tasks share one
``ActionSpec``, so a world model or a policy of one runs on the others.

Frames show the world alone: no weapon, HUD, crosshair or messages, because what sits still on
the screen teaches a world model nothing and hides what moves.
"""

import dataclasses
import functools
import os

import numpy as np

from prowl_jax.actions import ActionSpec, Camera, camera, choice
from prowl_jax.envs.area_average import AreaAverage
from prowl_jax.envs.workers import ProcessVectorEnv

EPISODE_START_TICS = 10  # the scenarios' scripts place the player in the first tics
REST_TICS = 35  # sliding on from the walk before the first frame has ended after a second


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
      monsters: whether there are any. They cannot end an episode: the player is invulnerable.
      wander: least and most legs of the random walk before the first frame, by which the
        episodes of a map with one starting point start in different places.
    """

    name: str
    wad: str
    behaviour: str
    held_out: bool
    description: str
    doom_map: str = ""
    remove: tuple = ()
    monsters: bool = False
    wander: tuple = (0, 4)


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
    )
}


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

    Raises:
      ValueError: an unknown task, or sizes out of range.
    """
    if task not in TASKS:
        raise ValueError(f"no ViZDoom task {task!r}; there are {', '.join(TASKS)}")
    height, width = frame_size
    if not (1 <= height <= 480 and 1 <= width <= 640):
        raise ValueError(f"frame_size must be within (480, 640), got {tuple(frame_size)}")
    if frame_skip < 1:
        raise ValueError(f"frame_skip must be at least 1, got {frame_skip}")
    spec = action_spec(max_turn_degrees)
    scale = next(s for s in (1, 2, 4) if 120 * s >= height and 160 * s >= width)
    make_one = functools.partial(Game, TASKS[task], scale, frame_skip, spec)
    shrink = Shrink(scale, (height, width))
    return ProcessVectorEnv(make_one, num_envs, workers, spec, (height, width, 3), finish=shrink, restarts=restarts)


class Shrink:
    """Makes pictures of ``scale`` times 160x120 ones of ``target`` (H, W): cut to its shape, then area averages."""

    def __init__(self, scale, target):
        height, width = 120 * scale, 160 * scale
        rows = min(height, round(width * target[0] / target[1]))
        columns = min(width, round(height * target[1] / target[0]))
        top, left = (height - rows) // 2, (width - columns) // 2
        self.cut = np.s_[top : top + rows, left : left + columns]
        self.average = AreaAverage((rows, columns), target)

    def __call__(self, image):
        """uint8 ``[H, W, 3]`` -> uint8 of the target size."""
        return self.average(image[self.cut])


class Game:
    """One game, drawn at ``scale`` times 160x120: a ``worker_process.SingleEnv``."""

    def __init__(self, task, scale, frame_skip, spec):
        import vizdoom  # here, so that listing the tasks does not need the engine

        self.task, self.frame_skip = task, frame_skip
        # The engine applies a turn on every tic of a frame skip.
        self.turns = [degrees / frame_skip for degrees in spec.factors[-1].camera.degrees]
        self.game = _configure(vizdoom.DoomGame(), task, scale)
        self.game.init()

    def reset(self, seed):
        """A new episode, its start chosen by ``seed``."""
        for state in np.random.SeedSequence(int(seed)).generate_state(100):
            self.game.set_seed(int(state))
            self.game.new_episode()
            for command in ("god", *(f"remove {name}" for name in self.task.remove)):
                self.game.send_game_command(command)
            if self._wander(np.random.default_rng(state)):
                return self._observe()
        raise RuntimeError(f"task {self.task.name!r}: no start found for seed {seed}")

    def step(self, action):
        """``frame_skip`` tics of one action."""
        self.game.make_action(self.buttons(action), self.frame_skip)
        if self.game.is_episode_finished():
            return None, True, None
        frame, info = self._observe()
        return frame, False, info

    def buttons(self, action):
        """What the engine is told to do on every tic of ``action`` (int32 ``[A]``): seven floats."""
        move, strafe, attack, use, yaw = action.tolist()
        pressed = (move == 1, move == 2, strafe == 1, strafe == 2, attack, use)
        return [*map(float, pressed), self.turns[yaw]]

    def close(self):
        """End the engine."""
        self.game.close()

    def _wander(self, rng):
        """Walk a few random legs, face anywhere, come to rest; False if that ended the episode."""
        legs = rng.integers(self.task.wander[0], self.task.wander[1] + 1)
        for turn in rng.uniform(-120, 120, legs):
            self._do([0, 0, 0, 0, 0, 0, turn], 1)
            self._do([1, 0, 0, 0, 0, 1, 0], 12)  # with "use", which opens doors
        self._do([0, 0, 0, 0, 0, 0, rng.uniform(-180, 180)], 1)
        self._do([0] * 7, REST_TICS - 1)
        self._do([0] * 7, 1, see=True)
        return not self.game.is_episode_finished()

    def _do(self, buttons, tics, see=False):
        """Press ``buttons`` for ``tics``, drawing the last frame only to ``see`` it."""
        if not self.game.is_episode_finished():
            self.game.set_action([float(b) for b in buttons])
            self.game.advance_action(tics, see)

    def _observe(self):
        state = self.game.get_state()
        pose = np.asarray(state.game_variables, np.float32)
        return state.screen_buffer, {"pose": pose}


def _configure(game, task, scale):
    """Set up ``game`` (a DoomGame, not yet started) for ``task`` at ``scale`` times 160x120."""
    import vizdoom

    if task.wad.startswith("freedoom"):
        game.set_doom_game_path(os.path.join(vizdoom.root_path, task.wad))
    else:
        game.set_doom_scenario_path(os.path.join(vizdoom.scenarios_path, task.wad))
    if task.doom_map:
        game.set_doom_map(task.doom_map)
    if not task.monsters:
        game.set_game_args("-nomonsters")
    game.set_doom_skill(1)
    game.set_mode(vizdoom.Mode.PLAYER)
    game.set_window_visible(False)
    game.set_sound_enabled(False)
    game.set_screen_format(vizdoom.ScreenFormat.RGB24)
    game.set_screen_resolution(getattr(vizdoom.ScreenResolution, f"RES_{160 * scale}X{120 * scale}"))
    for overlay in ("hud", "weapon", "crosshair", "messages", "screen_flashes"):
        getattr(game, f"set_render_{overlay}")(False)
    game.set_episode_timeout(0)
    game.set_episode_start_time(EPISODE_START_TICS)
    button = vizdoom.Button
    game.set_available_buttons(
        [
            button.MOVE_FORWARD,
            button.MOVE_BACKWARD,
            button.MOVE_LEFT,
            button.MOVE_RIGHT,
            button.ATTACK,
            button.USE,
            button.TURN_LEFT_RIGHT_DELTA,
        ]
    )
    variable = vizdoom.GameVariable
    game.set_available_game_variables([variable.POSITION_X, variable.POSITION_Y, variable.ANGLE])
    return game
