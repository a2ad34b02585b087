"""Environments, frames and actions from a configuration."""

import dataclasses

import jax

from prowl_jax import minecraft
from prowl_jax.envs import voxel
from prowl_jax.envs.device import DeviceVectorEnv
from prowl_jax.envs.gaps import Gaps
from prowl_jax.envs.minerl import make_minerl
from prowl_jax.envs.vizdoom import action_spec, make_vizdoom
from prowl_jax.settings import COUNT, FILE_NAME, FILE_NAMES, NATURAL, POSITIVE, one_of, setting, within

ENVIRONMENTS = ("vizdoom", "voxel", "minerl", "recordings")
MINECRAFT = ("minerl", "recordings")


@dataclasses.dataclass(frozen=True)
class EnvSettings:
    """Where the policy acts and what it sees."""

    name: str = setting("vizdoom", "or voxel, minerl, recordings: no phase 2", one_of(ENVIRONMENTS))
    task: str = setting("explore", "what is trained on", FILE_NAME)
    held_out_tasks: tuple = setting(("look_around", "gather", "freedoom"), "for evaluation alone", FILE_NAMES)
    num_envs: int = setting(16, "side by side", COUNT)
    workers: int = setting(2, "processes that drive them", COUNT)
    restarts: int = setting(
        3, "so often in a row all games may fail; fewer start again, what they played is dropped", NATURAL
    )
    frame_height: int = setting(48, "pixels; SSIM needs more than 10", within(16, 480))
    frame_width: int = setting(64, "pixels", within(16, 640))
    frame_skip: int = setting(3, "tics of 1/35 s a step, in vizdoom", COUNT)
    max_turn_degrees: float = setting(8.0, "a step, in vizdoom", POSITIVE)


@dataclasses.dataclass(frozen=True)
class MinerlSettings:
    """A Minecraft that runs (docs/minerl.md)."""

    python: str = setting("", "the interpreter that MineRL is installed in")
    make: str = setting("minerl", "or minestudio, module:function, file.py:function")
    episode_steps: int = setting(0, "0: as long as the task lasts", NATURAL)


@dataclasses.dataclass(frozen=True)
class VoxelSettings:
    """The world of blocks (docs/voxel.md)."""

    worlds: int = setting(64, "in the pool, 128 KiB each", COUNT)
    episode_steps: int = setting(1200, "of 1/20 s; 0: without end", NATURAL)
    look: str = setting("textured", "how blocks are drawn", one_of(voxel.LOOKS))
    hour: int = setting(-1, "the tick of the day at which time stands still; -1: it goes on", within(-1, voxel.DAY - 1))


def spec_of(config):
    """The ``ActionSpec`` of the configured environment."""
    if config.env.name in ("minerl", "recordings"):
        return minecraft.SPEC
    if config.env.name == "voxel":
        return voxel.SPEC
    return action_spec(config.env.max_turn_degrees)


def frame_shape(config):
    """(H, W, 3)."""
    return (config.env.frame_height, config.env.frame_width, 3)


def data_seed(config):
    """The seed of the demonstrations, of what is held out of them, and of the voxel worlds."""
    own = config.demonstrations.seed
    return config.seed if own < 0 else own


def gaps_of(config, task):
    """The ``Gaps`` that the demonstrator of ``task`` is told, None for none.

    What is trained on leaves them out, ``control`` does them, and other held-out tasks know nothing of them.
    """
    gaps = Gaps(**config.demonstrations.gaps)
    return gaps if gaps.planted and task in (config.env.task, "control") else None


def stage_key(config, name):
    """A key of its own for every stage, from the seed and the stage's name."""
    key = jax.random.key(config.seed)
    for byte in name.encode():
        key = jax.random.fold_in(key, byte)
    return key


def make_env(config, task, num_envs=None):
    """A ``HostEnv`` of ``task`` with the configured frames and workers."""
    env = config.env
    if env.name == "minerl":
        return make_minerl(
            task,
            num_envs or env.num_envs,
            python=env.minerl.python,
            make=env.minerl.make,
            frame_size=frame_shape(config)[:2],
            episode_steps=env.minerl.episode_steps or None,
        )
    if env.name == "voxel":
        return DeviceVectorEnv(make_device_env(config, task), num_envs or env.num_envs)
    return make_vizdoom(
        task,
        num_envs or env.num_envs,
        workers=env.workers,
        frame_size=frame_shape(config)[:2],
        frame_skip=env.frame_skip,
        max_turn_degrees=env.max_turn_degrees,
        restarts=env.restarts,
    )


def make_device_env(config, task):
    """The ``DeviceEnv`` of ``task``, where the environment is one (``env.name=voxel``)."""
    return voxel.make_world(task, **_voxel_settings(config))


def record_voxel(config, task, episodes, seed, on_progress):
    """Episodes of a voxel task's demonstrator: yields (frames, actions)."""
    settings = _voxel_settings(config)
    return voxel.record(
        task, config.demonstrations.episode_frames, episodes, seed, on_progress,
        gaps=gaps_of(config, task), num_envs=config.env.num_envs, world_seed=settings.pop("seed"), **settings,
    )  # fmt: skip


def _voxel_settings(config):
    v = config.env.voxel
    return {
        "worlds": v.worlds, "seed": data_seed(config), "frame_size": frame_shape(config)[:2],
        "episode_steps": v.episode_steps, "look": v.look, "hour": None if v.hour < 0 else v.hour,
    }  # fmt: skip


def action_maps(config):
    """``(to_env, from_env)`` between the policy's actions and the environment's; None where they are the same.

    VPT draws joint indices (``minecraft.VPT_SPEC``); the world model is told factors.
    """
    if not config.reference.weights:
        return None, None
    return minecraft.joint_to_factors, minecraft.factors_to_joint
