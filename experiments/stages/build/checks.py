"""What a configuration asks of this machine: files, devices, a mesh; a mistake is one line."""

import os

import jax

from experiments.run.config_file import UsageError
from experiments.stages.arms import ARMS, configured
from experiments.stages.build import plays
from experiments.stages.build.base import check_base, check_unet_weights, load_oracle
from experiments.stages.build.environment import gaps_of, make_environment, spec_of
from experiments.stages.build.judges import load_flow, load_judge, load_lpips
from experiments.stages.build.phase2 import arms, make_budget, passive_rows
from experiments.stages.build.policy import load_vpt
from experiments.stages.build.recordings import check_recordings
from experiments.stages.build.rewards import check_rewards
from experiments.stages.build.world_model import (
    check_dit_weights,
    load_action_text,
    make_autoencoder,
    make_world_model,
)
from prowl_jax.envs.registry import ENVIRONMENTS
from prowl_jax.methods import METHODS
from prowl_jax.train.mesh import make_mesh


def check_device(config):
    """UsageError of one line where the configuration wants a device that is not there."""
    if config.world_model.attention == "cudnn" and jax.default_backend() != "gpu":
        raise UsageError("world_model.attention=cudnn wants a GPU, and JAX sees none; take einsum or xla")


def check_files(config):
    """UsageError of one line where what the configuration names is not there, or cannot be read as the run will."""
    for key in ("demonstrations.source", "demonstrations.play", "evaluation.action_prior"):
        group, name = key.split(".")
        path = config[group][name]
        if path and not os.path.exists(path):
            raise UsageError(f"{key}={path} is not there; name a folder of recordings")
    check_recordings(config)
    if config.demonstrations.play:
        plays.check(config)
    if arms(config) or not ENVIRONMENTS[config.env.name].recordings:
        _check_installed(config)
    if config.phase2.include and not config.dry_run:
        read_included(config)
    check_base(config)
    check_rewards(config)
    if config.phase2.oracle:
        load_oracle(config)
    _check_gaps(config)
    if config.inverse_dynamics.weights and not config.dry_run:
        load_judge(config.inverse_dynamics.weights)
    if config.reference.weights:
        load_vpt(config.reference.weights)
    if config.autoencoder.kind == "wan":
        make_autoencoder(config)
    if config.world_model.weights:
        {"dit": check_dit_weights, "unet": check_unet_weights}[config.world_model.network](config)
    if config.metrics.flow == "sea_raft":
        load_flow(config.metrics.flow_weights)
    if config.metrics.lpips_weights:
        load_lpips(config)
    if config.world_model.action_text:
        load_action_text(config.world_model.action_text, spec_of(config))


def read_included(config):
    """The ``Trajectories`` in ``phase2.include``; UsageError of one line where they do not fit the configuration."""
    path = config.phase2.include
    if not any(METHODS[ARMS[arm].method].takes_in() for arm in arms(config)):
        raise UsageError(f"phase2.include={path}: no arm of arms={tuple(config.arms)} keeps what others found")
    length = make_world_model(config).frames_of(make_budget(config).clip)
    found = plays.fitting(config, "phase2.include", path)
    if found.frames.shape[1] < length:
        raise UsageError(f"phase2.include={path} has {found.frames.shape[1]} frames each, a trajectory {length}")
    if jax.process_count() > 1:
        raise UsageError("phase2.include is for runs of one process")
    return found


def _check_installed(config):
    try:
        make_environment(config).check_installed()
    except ValueError as error:
        raise UsageError(str(error)) from None


def _check_gaps(config):
    gaps = gaps_of(config, config.env.task)
    try:
        if gaps:
            gaps.check(spec_of(config))
    except ValueError as error:
        raise UsageError(f"demonstrations.{error}") from None


def check_mesh(config):
    """UsageError of one line where the devices that are there do not fit the mesh, or the batches the mesh."""
    try:
        devices = make_config_mesh(config).size
    except ValueError as error:
        raise UsageError(f"{error}; set mesh.data and mesh.fsdp, or mesh.data=-1") from None
    if arms(config) and config.phase2.program == "device" and jax.process_count() > 1:
        raise UsageError("phase2.program=device runs in one process; set phase2.program=host")
    if arms(config) and config.phase2.keep_cycles and jax.process_count() > 1:
        raise UsageError("phase2.keep_cycles is for runs of one process")
    check_division(config, devices)


def check_division(config, devices):
    """UsageError of one line where rows that are split over so many ``devices`` do not divide by their number."""
    rows = {f"{name}.batch": config[name].batch for name in ("autoencoder", "world_model", "reference")}
    if config.inverse_dynamics.steps:
        rows["inverse_dynamics.batch"] = config.inverse_dynamics.batch
    if config.reference.weights:
        del rows["reference.batch"]
    if arms(config):
        rows |= {f"phase2.{name}": config.phase2[name] for name in ("trajectories", "capacity", "batch")}
        rows["(1 - phase2.pat_share) * phase2.batch"] = passive_rows(config)
        budgets = {arm: make_budget(configured(config, arm)) for arm in arms(config)}
        equal = {arm: budget.trajectories for arm, budget in budgets.items() if budget.equal_steps}
        rows |= {f"the trajectories of {arm}": count for arm, count in equal.items()}
    misfits = [f"{key}={value}" for key, value in rows.items() if value % devices]
    if misfits:
        raise UsageError(
            f"{', '.join(misfits)} {'does' if len(misfits) == 1 else 'do'} not divide over {devices} devices"
        )


def make_config_mesh(config):
    """The configured mesh over all devices of all processes."""
    return make_mesh(config.mesh.data, config.mesh.fsdp)
