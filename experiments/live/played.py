"""What is played: a world model and the real world that it dreams of, from shipped weights or from a run."""

import dataclasses
import hashlib
import json
import pathlib
from typing import Any

import jax
import numpy as np

from experiments.configs import base_voxel, quickstart
from experiments.live.programs import Programs
from experiments.live.reality import DeviceWorld, HostWorld
from experiments.live.yardstick import ADVERSARY, PI_REF
from experiments.run.config_file import UsageError
from experiments.run.directory import Run
from experiments.run.finished_run import read_config
from experiments.run.groups import value_of
from experiments.run.training_loop import saved
from experiments.stages import build, error_heads
from experiments.stages.phase2 import load_arm, load_state, saved_arms
from experiments.stages.reference import has_reference, load_reference
from prowl_jax import zoo
from prowl_jax.rewards.inverse_dynamics import NAME

SECOND = 20
"""Frames of the last second, at the speed of Minecraft."""


@dataclasses.dataclass(frozen=True)
class Played:
    """What all who play share.

    Attributes:
      title: one line: which weights, which task.
      params: name of an arm -> the world model's parameters; the first is who dreams.
      programs, world: what is compiled, ``Programs`` and ``DeviceWorld`` or ``HostWorld``.
      config: of the environment, as ``build`` knows it. task: its task.
      judge: (inverse dynamics model, parameters), or None.
      policies: who -> (policy, parameters), ``yardstick.PI_REF`` and ``yardstick.ADVERSARY`` as far as they are there.
      horizon: latents that are dreamt to score the last second.
      weights: what tells these parameters from others, for files that are about them.
      error_head: (``ErrorHead``, parameters) that says where the dream is wrong, or None.
      buffer: {"mean": {raw: x}, "std": {raw: x}} of what an arm's buffer holds, or None.
    """

    title: str
    params: dict
    programs: Programs
    world: Any
    config: Any
    task: str
    judge: tuple | None
    policies: dict
    horizon: int
    weights: str
    buffer: dict | None = None
    error_head: tuple | None = None

    @property
    def spec(self):
        """The ``ActionSpec``."""
        return self.world.spec

    @property
    def dreamer(self):
        """Name of the arm that dreams."""
        return next(iter(self.params))


def of_weights(name, task=None):
    """``Played`` of shipped weights, or of a file of them.

    Raises:
      UsageError: there are none, or the task is none of their environment.
    """
    model = build.load_base(name)
    config = _config_of(model.environment)
    own = config.env.get(config.env.name, {})
    if "episode_steps" in own:
        own.episode_steps = 0  # without end, or as long as the task lasts
    task = task or config.env.task
    params = {"phase1": jax.device_put({**model.params, **build.flow_params(config)})}
    judge = model.inverse_dynamics and (model.inverse_dynamics, jax.device_put(model.inverse_dynamics_params))
    policies = {PI_REF: (model.policy, jax.device_put(model.policy_params))} if model.policy else {}
    own = getattr(model.world_model, "context", None) or config.world_model.window - config.world_model.chunk
    horizon = _whole(model.world_model, SECOND)
    sha = zoo.read_card(name).get("sha256") or _digest(params["phase1"])
    dreamer, params = _choosing(model.world_model, params, judge, config)
    programs = Programs(dreamer, params["phase1"], model.frame_shape, own, build.make_flow(config))
    title = f"weights {pathlib.Path(name).stem}, task {task}"
    return Played(title, params, programs, _world(config, task), config, task, judge, policies, horizon, sha)


def of_run(workdir, arms=(), task=None):
    """``Played`` of a run, which is only read, and may go on.

    Args:
      arms: whose world models dream; the first is played, the others may stand beside it. None named: ``phase1``.

    Raises:
      UsageError: there is no such run, arm or task.
    """
    config = read_config(workdir, quickstart.get_config(), unfinished=True)
    if not build.make_environment(config).acts():
        raise UsageError(f"--workdir={workdir} is a run on recordings: there is no environment to play in")
    run = Run(workdir, config, owned=False)
    known = ["phase1", *saved_arms(run)]
    for arm in arms:
        if arm not in known:
            raise UsageError(f"--arm={arm}: this run has {', '.join(known)}")
    done = {arm: load_arm(run, arm) for arm in dict.fromkeys((*arms, "phase1"))}
    params = {arm: jax.device_put(one.params) for arm, one in done.items()}
    buffers = (statistics(run, arm) for arm in done if arm != "phase1")
    buffer = next((each for each in buffers if each is not None), None)
    task, model, budget = task or config.env.task, build.make_world_model(config), build.make_budget(config)
    horizon = budget.horizon if buffer else _whole(model, SECOND)
    title = f"run {pathlib.Path(workdir).name}, {next(iter(params))}, task {task}"
    judge = _judge(run) if saved(run, "inverse_dynamics") or build.has_given_judge(config) else None
    sha = _digest(params[next(iter(params))])
    model, params = _choosing(model, params, judge, config)
    programs = Programs(model, params["phase1"], build.frame_shape(config), budget.context, build.make_flow(config))
    world, policies = _world(config, task), _policies(run, done)
    return Played(title, params, programs, world, config, task, judge, policies, horizon, sha, buffer)


def _policies(run, done):
    """``Played.policies`` of a run; the adversary is that of the first arm that has one."""
    params = {PI_REF: load_reference(run)} if has_reference(run) else {}
    hunters = [arm.policy for arm in done.values() if arm.policy is not None]
    params |= {ADVERSARY: hunters[0]} if hunters else {}
    policy = build.make_policy(run.config) if params else None
    return {who: (policy, jax.device_put(own)) for who, own in params.items()}


def _choosing(model, params, judge, config):
    """``(BestOf, parameters)`` with the judge's among them, where there is one; as they are where there is none."""
    dreams = config.world_model.best_of
    if judge is None:
        if dreams > 1:
            raise UsageError(f"world_model.best_of={dreams}: there is no model that reads actions to choose by")
        return model, params
    return build.choosing(model, judge[0], dreams), {arm: {**own, NAME: judge[1]} for arm, own in params.items()}


def with_error_head(played, path):
    """The same with the head that ``experiments.uncertainty`` wrote to ``path``.

    Raises:
      UsageError: there is none, it is for other actions, or the world model has more than one frame a latent.
    """
    model = played.programs.model
    if model.stride != 1:
        raise UsageError(f"--head={path}: the world model has {model.stride} frames a latent, a head takes one")
    head, params = error_heads.load(path, model.action_sizes)
    return dataclasses.replace(played, error_head=(head, jax.device_put(params)))


def statistics(run, arm):
    """Mean and deviation of the raw scores in an arm's buffer, or None where it keeps none."""
    from prowl_jax.pat import buffer as pat

    method, state, _ = load_state(run, arm)
    if not hasattr(state, "buffer"):
        return None
    scoring = method.config.scoring
    mean, std = (np.asarray(x).tolist() for x in pat.statistics(state.buffer, scoring))
    return {"mean": dict(zip(scoring.names, mean, strict=True)), "std": dict(zip(scoring.names, std, strict=True))}


def _judge(run):
    from experiments.stages.inverse_dynamics import load_inverse_dynamics

    return build.make_inverse_dynamics(run.config), jax.device_put(load_inverse_dynamics(run))


def _config_of(environment):
    """A configuration with the environment that weights were trained on."""
    makes = {"voxel": base_voxel.get_config, "vizdoom": quickstart.get_config}
    name = environment.get("env.name")
    if name not in makes:
        raise UsageError(f"weights for the environment {name!r} cannot be played; there are {', '.join(makes)}")
    config = makes[name]()
    for key, value in environment.items():
        *groups, last = key.split(".")
        group = value_of(config, ".".join(groups))
        if last not in group:
            raise UsageError(f"these weights are of another version: their environment has {key}")
        group[last] = value
    return config


def _world(config, task):
    try:
        if build.make_environment(config).on_device():
            return DeviceWorld(build.make_device_env(config, task))
        return HostWorld(lambda: build.make_env(config, task, 1), build.spec_of(config), build.frame_shape(config))
    except ValueError as error:
        raise UsageError(f"--task={task}: {error}") from None


def _whole(model, frames):
    """Latents of at least so many frames, whole chunks."""
    group = model.chunk * model.stride
    return model.chunk * -(-frames // group)


def _digest(params):
    """A short name of parameters by their content."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(params):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def environment_json(played):
    """What the environment of ``played`` is, for files of trajectories."""
    return json.dumps({**build.environment_of(played.config), "env.task": played.task}, sort_keys=True)
