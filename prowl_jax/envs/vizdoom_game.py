"""One game of ViZDoom, as a worker process drives it."""

import os

import numpy as np

from prowl_jax.envs.area_average import AreaAverage

EPISODE_START_TICS = 10  # the scenarios' scripts place the player in the first tics
REST_TICS = 35  # sliding on from the walk before the first frame has ended after a second


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
