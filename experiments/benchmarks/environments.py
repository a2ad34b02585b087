"""Environments: ViZDoom beside its engine alone, and the voxel world beside what it aims at."""

import contextlib
import multiprocessing
import subprocess
import sys

import numpy as np

from experiments.benchmarks.timing import Row, alternate

TASK, FRAME_SIZE, FRAME_SKIP, MAX_TURN = "explore", (48, 64), 3, 8.0  # the quick start's
WORKERS = 2
VOXEL_REPEATS = 10
VOXEL_AIM = 3000.0  # steps a second with frames on 2 CPU cores


def rows(settings):
    """``vizdoom_over_raw`` for two numbers of games, then ``voxel_steps_per_s``."""
    try:
        import vizdoom  # noqa: F401
    except ImportError:
        yield Row.not_run("vizdoom_over_raw", "vizdoom is not installed")
    else:
        for num_envs in (4, 16):
            yield _vizdoom(num_envs, settings)
    yield _voxel(settings)


def _vizdoom(num_envs, settings):
    """Our vectorised games against the engine alone: the same starts, actions and processes."""
    from prowl_jax.envs.vizdoom import action_spec, make_vizdoom

    steps = 20 if settings.quick else 100
    spec = action_spec(MAX_TURN)
    rng = np.random.default_rng(0)
    actions = np.stack([rng.integers(0, n, (steps, num_envs)) for n in spec.sizes], axis=-1).astype(np.int32)
    seeds = np.arange(num_envs)
    sizes = {"frame_size": FRAME_SIZE, "frame_skip": FRAME_SKIP, "max_turn_degrees": MAX_TURN}
    with (
        contextlib.closing(make_vizdoom(TASK, num_envs, workers=WORKERS, **sizes)) as env,
        contextlib.closing(RawGames(actions, seeds)) as raw,
    ):
        env.reset(seeds)

        def ours():  # group by group, as adversary.collect does
            for t in range(steps):
                for group, rows in enumerate(env.groups):
                    if t:
                        env.receive(group)
                    env.send(actions[t, rows], group)
            for group in range(len(env.groups)):
                env.receive(group)

        seconds = alternate({"ours": ours, "raw": raw.play}, settings.repeats)
    ours, raw = (num_envs * steps / seconds[name] for name in ("ours", "raw"))
    name = "vizdoom_over_raw" if num_envs == 16 else f"vizdoom_over_raw_{num_envs}_games"
    return Row(
        name,
        ours,
        "steps/s",
        f"{raw:,.0f} steps/s of make_action and get_state alone, {num_envs} games in {WORKERS} processes that "
        f"never wait; ours in {len(env.groups)} groups, as collect steps them, and shrunken; 0.8 is aimed at",
        ours / raw,
        settings.repeats,
    )


class RawGames:
    """The engine alone: processes that step their games one after the other and look at the state.

    Each ``play`` does all of ``actions`` (int32 ``[steps, N, A]``) in every game and says nothing in
    between, so that no process waits for another.
    """

    def __init__(self, actions, seeds):
        context = multiprocessing.get_context("spawn")
        self._workers = []
        for games in np.array_split(np.arange(len(seeds)), WORKERS):
            pipe, theirs = context.Pipe()
            arguments = theirs, actions[:, games], seeds[games]
            process = context.Process(target=_play_raw, args=arguments, daemon=True)
            process.start()
            theirs.close()
            self._workers.append((process, pipe))
        self._wait()

    def play(self):
        """All steps in all games."""
        for _, pipe in self._workers:
            pipe.send("play")
        self._wait()

    def close(self):
        """End the processes."""
        for process, pipe in self._workers:
            pipe.close()
            process.join()

    def _wait(self):
        for _, pipe in self._workers:
            pipe.recv()


def _play_raw(pipe, actions, seeds):
    """A process of ``RawGames``. The games begin where ours do, so that they draw the same."""
    from prowl_jax.envs.vizdoom import TASKS, action_spec
    from prowl_jax.envs.vizdoom_game import Game

    games = [Game(TASKS[TASK], 1, FRAME_SKIP, action_spec(MAX_TURN)) for _ in seeds]
    for game, seed in zip(games, seeds, strict=True):
        game.reset(seed)
    buttons = [[game.buttons(a) for game, a in zip(games, row, strict=True)] for row in actions]
    engines = [game.game for game in games]
    pipe.send("ready")
    with contextlib.suppress(EOFError):
        while pipe.recv():
            for row in buttons:
                for engine, pressed in zip(engines, row, strict=True):
                    engine.make_action(pressed, FRAME_SKIP)
                    engine.get_state()
            pipe.send("done")
    for game in games:
        game.close()


def _voxel(settings):
    """The voxel world's own measurement, in a process where every core is a device."""
    command = [sys.executable, "-m", "prowl_jax.envs.voxel", "--envs", "64" if settings.quick else "256"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        return Row.not_run("voxel_steps_per_s", (result.stderr.strip() or "no message").splitlines()[-1])
    _, rate, setting = result.stdout.strip().split(maxsplit=2)
    rate = float(rate.replace(",", ""))
    against = f"{VOXEL_AIM:,.0f} steps/s aimed at on 2 cores; here {setting.strip('()')}"
    return Row("voxel_steps_per_s", rate, "steps/s", against, rate / VOXEL_AIM, VOXEL_REPEATS)
