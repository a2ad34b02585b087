"""One game of ViZDoom, as a worker process drives it."""

import os

import numpy as np

from prowl_jax.envs.area_average import AreaAverage
from prowl_jax.envs.vizdoom_goals import THINGS

EPISODE_START_TICS = 10  # the scenarios' scripts place the player in the first tics
REST_TICS = 35  # sliding on from the walk before the first frame has ended after a second
STRIP = 8  # of 120 rows, the lowest, tell the health
DYING, WELL = 1.0, 100.0  # points of health


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

    def __init__(self, task, scale, frame_skip, spec, survival=None):
        import vizdoom  # here, so that listing the tasks does not need the engine

        self.task, self.frame_skip, self.scale, self.survival = task, frame_skip, scale, survival
        self.idle = [bool(task.keys) and name not in task.keys for name in spec.names]
        self.null, self.age, self.told = spec.null, 0, {}
        # The engine applies a turn on every tic of a frame skip.
        self.turns = [degrees / frame_skip for degrees in spec.factors[-1].camera.degrees]
        self.game = _configure(vizdoom.DoomGame(), task, scale, things=survival is not None)
        self.game.init()

    def reset(self, seed):
        """A new episode, its start chosen by ``seed``."""
        self.age = 0
        self.told = self.told or {"reward": np.float32(0), "over": np.bool_(False)}
        for state in np.random.SeedSequence(int(seed)).generate_state(100):
            self.game.set_seed(int(state))
            self.game.new_episode()
            # With "buddha" wounds leave one point of health where they would kill.
            for command in ("buddha" if self.task.mortal else "god", *(f"remove {name}" for name in self.task.remove)):
                self.game.send_game_command(command)
            if self._wander(np.random.default_rng(state)):
                return self._observe()
        raise RuntimeError(f"task {self.task.name!r}: no start found for seed {seed}")

    def step(self, action):
        """``frame_skip`` tics of one action."""
        self.game.make_action(self.buttons(action), self.frame_skip)
        if self.game.is_episode_finished():
            return None, True, None
        if self._ended():
            return None, True, None
        frame, info = self._observe()
        return frame, False, info

    def _ended(self):
        """What the step gained, noted; whether it ends the episode. Who dies and goes on is healed."""
        if not self.task.mortal:
            return False
        over, self.age = self.game.get_state().game_variables[-1] <= DYING, self.age + 1
        if self.survival is not None:
            self.told = {"reward": np.float32(self.frame_skip), "over": np.bool_(over)}
            if (over and not self.survival.goes_on) or self.age >= self.survival.steps:
                return True
        if over:
            self.game.send_game_command(f"give health {WELL:g}")
        return False

    def buttons(self, action):
        """What the engine is told to do on every tic of ``action`` (int32 ``[A]``): seven floats."""
        move, strafe, attack, use, yaw = np.where(self.idle, self.null, action).tolist()
        pressed = (move == 1, move == 2, strafe == 1, strafe == 2, attack, use)
        return [*map(float, pressed), self.turns[yaw]]

    def close(self):
        """End the engine."""
        self.game.close()

    def _wander(self, rng):
        """Walk a few random legs, face anywhere, come to rest; False if that ended the episode."""
        if self.task.wander is None:
            self._do([0] * 7, 1, see=True)
            return not self.game.is_episode_finished()
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
        pose, frame = np.asarray(state.game_variables[:3], np.float32), state.screen_buffer
        if not self.task.mortal:
            return frame, {"pose": pose}
        health, frame = float(np.clip(state.game_variables[-1] / WELL, 0.0, 1.0)), frame.copy()
        frame[-STRIP * self.scale :] = np.round([255 * (1 - health), 255 * health, 0]).astype(np.uint8)
        if self.survival is None:
            return frame, {"pose": pose}
        return frame, {"pose": pose, "things": self._things(state, pose), **self.told}

    def _things(self, state, pose):
        """The nearest watched things: float32 ``[THINGS, 4]``, x and y from the player and their speed a tic; or 0."""
        near = np.zeros((THINGS, 4), np.float32)
        there = [
            (o.position_x - pose[0], o.position_y - pose[1], o.velocity_x, o.velocity_y)
            for o in state.objects
            if o.name == self.task.watched
        ]
        for i, thing in enumerate(sorted(there, key=lambda one: np.hypot(*one[:2]))[:THINGS]):
            near[i] = thing
        return near


def _configure(game, task, scale, things):
    """Set up ``game`` (a DoomGame, not yet started) for ``task`` at ``scale`` times 160x120; ``things`` told of."""
    import vizdoom

    if task.wad.startswith("freedoom"):
        game.set_doom_game_path(os.path.join(vizdoom.root_path, task.wad))
    else:
        game.set_doom_scenario_path(os.path.join(vizdoom.scenarios_path, task.wad))
    if task.doom_map:
        game.set_doom_map(task.doom_map)
    if not task.monsters:
        game.set_game_args("-nomonsters")
    game.set_doom_skill(task.skill)
    game.set_objects_info_enabled(things)
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
    watched = [variable.HEALTH] if task.mortal else []
    game.set_available_game_variables([variable.POSITION_X, variable.POSITION_Y, variable.ANGLE, *watched])
    return game
