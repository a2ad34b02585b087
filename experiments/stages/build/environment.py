"""Environments, frames and actions from a configuration."""

import dataclasses

import jax

from experiments.run.config_file import UsageError
from experiments.run.groups import value_of
from prowl_jax import minecraft
from prowl_jax.envs.gaps import Gaps
from prowl_jax.envs.registry import ENVIRONMENTS
from prowl_jax.settings import COUNT, FILE_NAME, FILE_NAMES, NATURAL, one_of, read, setting, settings_of, within


@dataclasses.dataclass(frozen=True)
class EnvSettings:
    """Where the policy acts and what it sees; each ``Environment`` has settings of its own beside these."""

    name: str = setting("vizdoom", "or voxel, gymnasium, minerl; recordings, clips: no phase 2", one_of(ENVIRONMENTS))
    task: str = setting("explore", "what is trained on", FILE_NAME)
    held_out_tasks: tuple = setting(("look_around", "gather", "freedoom"), "for evaluation alone", FILE_NAMES)
    num_envs: int = setting(16, "side by side", COUNT)
    workers: int = setting(2, "processes that drive them", COUNT)
    restarts: int = setting(
        3, "so often in a row all games may fail; fewer start again, what they played is dropped", NATURAL
    )
    frame_height: int = setting(48, "pixels; SSIM needs more than 10", within(16, 480))
    frame_width: int = setting(64, "pixels", within(16, 640))


ENV_GROUPS = {"env": (EnvSettings,)}
"""Group -> the classes whose settings it holds: those of all environments, and each one's own."""
for _environment in filter(settings_of, ENVIRONMENTS.values()):
    ENV_GROUPS[_environment.group()] = (*ENV_GROUPS.get(_environment.group(), ()), _environment)


def make_environment(config):
    """The configured ``Environment``."""
    env, kind = config.env, ENVIRONMENTS[config.env.name]
    own = value_of(config, kind.group()) if settings_of(kind) else {}
    return read(
        kind, own, frame_size=frame_shape(config)[:2], workers=env.workers, restarts=env.restarts,
        seed=data_seed(config),
    )  # fmt: skip


def spec_of(config):
    """The ``ActionSpec`` of the configured environment; UsageError where that has to be asked and does not answer."""
    try:
        return make_environment(config).spec
    except ValueError as error:
        raise UsageError(str(error)) from None


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
    return make_environment(config).make(task, num_envs or config.env.num_envs)


def make_device_env(config, task):
    """The ``DeviceEnv`` of ``task``, where the environment is one (``Environment.on_device``)."""
    return make_environment(config).make_device(task)


def action_maps(config):
    """``(to_env, from_env)`` between the policy's actions and the environment's; None where they are the same.

    VPT draws joint indices (``minecraft.VPT_SPEC``); the world model is told factors.
    """
    if not config.reference.weights:
        return None, None
    return minecraft.joint_to_factors, minecraft.factors_to_joint
