"""Weights from a file (``prowl_jax.zoo``) that a run begins with: in phase 1's place, or as where phase 1 starts."""

import dataclasses
import functools
import zipfile

import jax
import numpy as np
from flax import traverse_util

from experiments.run.config_file import CONFIGS, UsageError
from experiments.stages.build.environment import frame_shape, make_environment, spec_of, stage_key
from experiments.stages.build.judges import make_inverse_dynamics
from experiments.stages.build.policy import make_policy
from experiments.stages.build.world_model import make_world_model
from prowl_jax import zoo
from prowl_jax.settings import setting

SAMPLER = (
    *("sampler_levels", "start_noise", "context_noise", "sampler_steps", "sampler_shift", "cache", "cache_latents"),
    "dtype",
)
"""Settings of how it is dreamt and computed, which may differ from those that the weights came with."""


@dataclasses.dataclass(frozen=True)
class BaseSettings:
    """What a run begins with."""

    base: str = setting(
        "", "weights to begin with (python -m experiments.zoo), or a .safetensors file; empty: train from nothing"
    )


def load_base(name):
    """The ``zoo.Model`` of ``config.base``; UsageError in one line where there is none or it is damaged."""
    return _load("base", name)


@functools.cache
def _load(key, name):
    try:
        return zoo.load(name)
    except ValueError as error:
        raise UsageError(f"{key}={name}: {error}{_how_to_make(name)}") from None


def _how_to_make(name):
    """How a model is made that has a configuration and is not shipped."""
    config = CONFIGS / f"base_{name}.py"
    if name in zoo.names() or not config.exists():
        return ""
    return f"; {config.name} trains them, python -m experiments.zoo export makes a file of them"


def environment_of(config):
    """What a world model was trained on, key -> value: what has to be the same for its weights to mean anything."""
    env = config.env
    keys = {"env.name": env.name, "env.frame_height": env.frame_height, "env.frame_width": env.frame_width}
    environment = make_environment(config)
    for name in environment.identity:  # whose seed is that of the demonstrations
        key = "demonstrations.seed" if name == "seed" else f"{environment.group()}.{name}"
        keys[key] = getattr(environment, name)
    return keys


def check_base(config):
    """UsageError of one line, naming both, where the weights of ``config.base`` are for something else."""
    if not config.base:
        return
    base = load_base(config.base)
    for key, value in environment_of(config).items():
        theirs = base.environment.get(key, value)
        if theirs != value:
            raise UsageError(f"base={config.base} was trained with {key}={theirs}, not {value}; set {key}={theirs}")
    if base.spec != spec_of(config) or tuple(base.frame_shape) != frame_shape(config):
        raise UsageError(
            f"base={config.base} is for {base.frame_shape} frames and actions {', '.join(base.spec.names)} of sizes "
            f"{base.spec.sizes}; the environment has {frame_shape(config)}, {', '.join(spec_of(config).names)} and "
            f"{spec_of(config).sizes}"
        )
    parts = {"world_model": (base.world_model, make_world_model(config))}
    if base.policy is not None and config.reference.of_base:
        parts["reference"] = (base.policy, make_policy(config))
    if base.inverse_dynamics is not None and not config.inverse_dynamics.weights:
        parts["inverse_dynamics"] = (base.inverse_dynamics, make_inverse_dynamics(config))
    for part, (theirs, ours) in parts.items():
        lines = [line for line in zoo.differences(theirs, ours) if line.split(":")[0] not in SAMPLER]
        if lines:
            raise UsageError(f"base={config.base} and {part} of the configuration differ: {lines[0]}")


def check_unet_weights(config):
    """UsageError of one line, naming both, where ``world_model.weights`` do not fit the configured unet."""
    name = config.world_model.weights
    theirs, spec, network = _load("world_model.weights", name), spec_of(config), make_world_model(config).dit
    lines = zoo.differences(dataclasses.replace(theirs.world_model.dit, shortcut=network.shortcut), network)
    if theirs.spec != spec:
        lines = [f"actions: {', '.join(theirs.spec.names)} of sizes {theirs.spec.sizes}, "
                 f"not {', '.join(spec.names)} of sizes {spec.sizes}"]  # fmt: skip
    if lines:
        raise UsageError(f"world_model.weights={name} do not fit the configured unet: {lines[0]}")


def load_oracle(config):
    """Parameters of the network in ``phase2.oracle``; UsageError of one line where it is another than the run's.

    Of a study's own ``oracles/NAME.npz`` that is not asked: it is theta_0's network.
    """
    name = config.phase2.oracle
    if name.endswith(".npz"):
        try:
            with np.load(name) as file:
                return traverse_util.unflatten_dict({key: file[key] for key in file.files}, sep="/")
        except (OSError, ValueError, zipfile.BadZipFile):
            raise UsageError(f"phase2.oracle={name} is not there, or no file of a network's arrays") from None
    theirs = _load("phase2.oracle", name)
    if lines := zoo.differences(theirs.world_model.dit, make_world_model(config).dit):
        raise UsageError(f"phase2.oracle={config.phase2.oracle} is another network than the run's: {lines[0]}")
    return theirs.params["dit"]


def unet_weights(config):
    """The unet's parameters in ``world_model.weights``, numpy arrays.

    Where they know no lengths of steps and the configured network does, it begins as one that heeds none.
    """
    params = _load("world_model.weights", config.world_model.weights).params["dit"]
    network = make_world_model(config).dit
    if not network.shortcut or "lengths" in params:
        return {name: leaf for name, leaf in params.items() if network.shortcut or name != "lengths"}
    fresh = network.fresh_lengths(stage_key(config, "world model init"))
    return {**params, "lengths": jax.tree.map(np.asarray, fresh)}
