"""A configuration for somebody's environment or recordings: sizes for this machine, and what they will take."""

import dataclasses
import math
import os
import pprint
import time

import numpy as np

from experiments.stages import budget

PIXELS, PIXELS_GPU = 64 * 64, 96 * 96
SIDES = range(32, 145, 16)  # what the U-Nets halve
STEP_CORE_SECONDS = 1.0  # a step of base_voxel's network on 32 windows of 64x64 frames (configs/base_voxel.py)
GPU_CORES = 60.0  # cores that a GPU stands for: a guess, said so
START_MINUTES = 5.0  # compiling all stages' programs: two cores, about
SHARES = {"world_model": 0.6, "phase2": 0.25, "reference": 0.05, "inverse_dynamics": 0.05}  # the rest: evaluation
SHOWN = 0.2  # so much of the whole may go into playing what is learned from, where that is slow
EPISODES, EPISODE = 192, 256  # of the demonstrator, and frames of each


@dataclasses.dataclass(frozen=True)
class Machine:
    """Cores that may be used, bytes of memory that are free, and GPUs or TPUs (JAX's names), "" for none."""

    cores: int
    memory: float
    accelerator: str

    @classmethod
    def here(cls):
        """This one."""
        import jax
        import psutil

        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        backend = jax.default_backend()
        return cls(cores, psutil.virtual_memory().available, "" if backend == "cpu" else backend)

    @property
    def speed(self):
        """Core-seconds a second."""
        return GPU_CORES if self.accelerator else _speed(self.cores)

    @property
    def start(self):
        """Minutes that starting and compiling take: longer on fewer cores, on more no shorter."""
        return round(START_MINUTES * max(1.0, _speed(2) / _speed(self.cores)), 1)


def _speed(cores):
    return 0.75 * cores + 0.25


@dataclasses.dataclass(frozen=True)
class Seen:
    """What a look at an environment told: its frames' (h, w), steps a second, how long episodes last; its actions.

    ``hints``: lines about what may be better set otherwise.
    """

    size: tuple
    rate: float
    length: int
    actions: str
    hints: tuple = ()


def look(environment, steps=400, seconds=20.0):
    """Play ``environment`` (``Gymnasium``) with its demonstrator for a while: ``Seen``.

    Raises:
      ValueError: it does not run; one line.
    """
    from prowl_jax.envs.action_spaces import words
    from prowl_jax.envs.gymnasium_game import Game, Picture

    environment.check_installed()
    actor, picture = environment.demonstrator("play"), Picture(environment.frame_size)
    game = _Lone(environment) if environment.vector else Game(environment)
    try:
        began, age, lengths, done_steps = time.monotonic(), 0, [], 0
        actor.reset(0)
        frame, info = game.reset(0)
        while done_steps < steps and time.monotonic() - began < seconds:
            action = actor.act(info.get("observation"), picture(frame))
            (frame, done, info), done_steps, age = game.step(action), done_steps + 1, age + 1
            if done:
                lengths.append(age)
                actor.reset(done_steps)
                (frame, info), age = game.reset(done_steps), 0
        took = time.monotonic() - began
    finally:
        game.close()
    length = int(np.median(lengths)) if len(lengths) > 2 else steps
    return Seen(picture.seen[:2], done_steps / took, length, words(environment.spec), tuple(_hints(environment)))


def _hints(environment):
    never = [factor for factor in environment.spec.factors if not factor.rests]
    if never and not environment.sticky and not environment.vector:
        done = ", ".join(f"{factor.name}={factor.labels[factor.null]}" for factor in never)
        yield (
            f"no value is known to do nothing: where no key is down, {done} is done; name one in env.gymnasium.names "
            "(docs/your_world.md), or let --sticky add one that repeats the last"
        )


def look_at_store(store):
    """(``Seen`` of a clip store, how many episodes it has)."""
    from prowl_jax.envs.action_spaces import words

    return Seen(store.frame_shape[:2], 0.0, int(np.median(store.lengths)), words(store.spec)), len(store.lengths)


class _Lone:
    """The one environment of a ``VectorHost`` as a ``gymnasium_game.Game``; its frames are as it shows them."""

    def __init__(self, environment):
        from prowl_jax.envs.gymnasium_vector import VectorHost

        self._host = VectorHost(environment, 1)
        self._host.picture = np.asarray
        self.close = self._host.close

    def reset(self, seed):
        frame, _, info = self._first(self._host.reset([seed]))
        return frame, info

    def step(self, action):
        return self._first(self._host.step(action[None]))

    def _first(self, step):
        return step.frames[0], bool(step.done[0]), {name: value[0] for name, value in step.info.items()}


def frame_size(size, machine):
    """(H, W) for frames of ``size``: sides that halve, of about the same shape and as many pixels as are paid for."""
    pixels = PIXELS_GPU if machine.accelerator else PIXELS
    shape = min(max(size[0] / size[1], 1 / 3), 3)

    def off(side):
        h, w = side
        return abs(math.log(h / w / shape)) + abs(math.log(h * w / pixels))

    return min(((h, w) for h in SIDES for w in SIDES), key=off)


def changes(name, env, seen, machine, minutes):
    """What the configuration changes of the quick start from scratch: dotted key -> value.

    Args:
      name: of the run. env: key of ``env`` -> value, the environment's own.
      seen: ``Seen`` of it. machine: ``Machine``. minutes: that the run may take.
    """
    h, w = frame_size(seen.size, machine)
    batch = 32 if machine.memory > 4e9 else 16
    work = max(minutes - machine.start, 1.0)
    workers = max(1, min(machine.cores, 16))
    one = _playing(seen, workers)
    episodes = int(np.clip(SHOWN * work / one, budget.FEWEST, EPISODES)) if one else EPISODES
    playing = one * episodes
    work = max(work - playing, 0.2 * work)
    step = STEP_CORE_SECONDS * batch / 32 * h * w / PIXELS / machine.speed
    steps = {part: 60 * work * share / step for part, share in SHARES.items()}
    long = min(32, max(8, seen.length // 2))  # of what is dreamt in one go
    horizon = min(8, max(4, seen.length // 3))
    clip = min(16, max(4, seen.length // 2))
    return {
        "name": name,
        "minutes": 0.0,
        "estimate": (machine.start, round(work + playing, 1)),
        **env,
        "env.task": "play",
        "env.held_out_tasks": ("restless",),
        "env.frame_height": h,
        "env.frame_width": w,
        "env.workers": workers,
        "env.num_envs": 16,
        "demonstrations.episodes": episodes,
        "demonstrations.held_out_task_episodes": max(1, episodes // 12),
        "demonstrations.episode_frames": EPISODE,
        "world_model.batch": batch,
        "world_model.steps": _rounded(steps["world_model"]),
        "world_model.learning_rate": 8e-4,
        "reference.clip": clip,
        "reference.steps": _rounded(min(3000, 3 * steps["reference"])),
        "inverse_dynamics.clip": clip,
        "inverse_dynamics.steps": _rounded(min(3000, 3 * steps["inverse_dynamics"])),
        "phase2.horizon": horizon,
        "phase2.updates": 20,
        "phase2.batch": 16,
        "phase2.trajectories": 16,
        "phase2.capacity": 64,
        "phase2.cycles": max(2, round(steps["phase2"] / 60)),  # updates, both arms', and as much for acting and scoring
        "evaluation.horizon": horizon,
        "evaluation.long_horizon": long,
        "evaluation.clips": 64,
    }


def _playing(seen, workers):
    """Minutes that an episode and a twelfth of a held-out one take, 0 where nothing is played."""
    return 13 / 12 * min(EPISODE, seen.length) / (seen.rate * workers) / 60 if seen.rate else 0.0


TINY = {
    "env.frame_height": 32, "env.frame_width": 32, "world_model.unet.widths": (16, 24),
    "world_model.unet.blocks": (1, 1), "world_model.unet.motion_widths": (8,), "world_model.unet.motion_blocks": (1,),
    "world_model.unet.width": 16, "evaluation.long_horizon": 8, "reference.clip": 4, "inverse_dynamics.clip": 4,
}  # fmt: skip
"""Of the smallest run of such a configuration, over ``quickstart.shrink``."""


def _rounded(steps):
    """Two digits are enough for an estimate."""
    steps = max(20, steps)
    unit = 10 ** (int(math.log10(steps)) - 1)
    return int(steps // unit * unit)


def text(name, file, about, values):
    """The configuration as a Python file.

    Args:
      name: of the run. file: where it will lie. about: lines for its docstring. values: of ``changes``.
    """
    lines = "\n".join(about)
    written = pprint.pformat(values, width=110, sort_dicts=False)
    return f'''"""{name}: {lines}

  python -m experiments.prowl_main --config={file}

``--config.minutes=60`` scales the steps to an hour; ``:tiny`` after the file name is the smallest run that goes
through every line: a few minutes, and no figure of it means anything.
"""

import ml_collections

from experiments.configs import quickstart
from experiments.configs.base_voxel import pixel_world_model
from experiments.planning.own_world import TINY

CHANGES = {written}


def get_config(arg="full"):
    """The whole run (``full``), or the smallest one (``tiny``)."""
    c = quickstart.get_config("scratch")
    pixel_world_model(c)  # as of the world of blocks: what is the same as before costs no noise
    c.update_from_flattened_dict(CHANGES)
    c.evaluation.targets = ml_collections.ConfigDict()  # those there are the quick start's
    if arg == "tiny":
        quickstart.shrink(c)
        c.update_from_flattened_dict(TINY)
        c.name = CHANGES["name"] + "_tiny"
    return c
'''
