"""What a method of post-training is: the contract that evaluation, report, study and planning ask, and nothing else.

A method makes a world model better than phase 1 left it, cycle by cycle. All of them begin at the same ``Start``, are
made from the same ``Shared`` parts with the same ``Budget``, and take what they learn from a ``Source``:

    method = METHODS[name](config, shared)               # config: a method.Config
    state = method.init(start, key)
    for cycle in ...:
        state, metrics = method.cycle(state, start, source, key)
    params = method.world_model_params(state, start)

``cycle`` is the one entry point: from Python, its parts compiled each for itself, around environments in processes;
or traced as a whole into one program (``one_program``), where the environment lives on the device.
"""

import dataclasses
import math
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from prowl_jax.rewards import OF_BRANCHES, REWARDS
from prowl_jax.rl.branches import BASELINES
from prowl_jax.settings import COUNT, NATURAL, SHARE, check, one_of, setting
from prowl_jax.train.sharding import compiled, on_mesh
from prowl_jax.train.state import TrainState, merge
from prowl_jax.types import RealClip, pytree


@pytree
class Start:
    """Where every method begins, and what none of them changes.

    Attributes:
      trained: theta_0's part that post-training changes.
      fixed: the world model's parameters, ``"dit"`` holding only the rest of the network; where one is known,
        ``"oracle"`` is a whole network that was trained on everything (``rewards.reducible``).
      reference: parameters of pi_ref; None where there is no policy.
    """

    trained: Any
    fixed: dict
    reference: Any = None


@pytree
class State:
    """All that changes of a method that trains the world model alone.

    Attributes:
      theta: the world model's trained part, a ``TrainState``. cycle: int32 scalar, cycles done.
    """

    theta: TrainState
    cycle: jax.Array


@dataclasses.dataclass(frozen=True)
class Budget:
    """What every method may spend, and the sizes that their comparison needs to be alike. Hashable.

    Attributes:
      context: S, real latents that a dream starts from. window: latents of one training clip.
      horizon: H, latents dreamt and scored; as the context whole chunks.
      updates: world-model steps a cycle. batch: clips of a training step.
      trajectories: that a policy may act out in a cycle, each of ``context + horizon`` latents after ``warm_up`` steps.
      cycles: length of schedules.
      branches: k trajectories begin in the same state, after one warm-up. branch_baseline: what the reward of each is
        against, see ``rl.branches``; with ``"reference"`` the first of them is acted by it and is not learned from.
      equal_steps: who makes a budget turns ``trajectories`` into ``equal_trajectories`` of them.
      score_batch: clips dreamt at a time, so that memory stays bounded.
      ema_decay: of the average of the trained parameters, which is what predicts and is evaluated; 0 keeps none.
    """

    context: int
    window: int
    cycles: int = setting(8, "of the loop", COUNT)
    trajectories: int = setting(32, "acted out in a cycle", COUNT)
    warm_up: int = setting(
        60, "steps of the reference before a trajectory begins, away from where episodes start", NATURAL
    )
    branches: int = setting(1, "trajectories that begin in the same state, after one warm-up", COUNT)
    branch_baseline: str = setting(
        "none", f"what a branch's reward is against: {', '.join(BASELINES)}", one_of(BASELINES)
    )
    equal_steps: bool = setting(
        False, "with branches, trajectories for all the steps that they would take without: the saved warm-ups' too"
    )
    horizon: int = setting(3, "latents predicted and scored", COUNT, source="paper: a chunk")
    updates: int = setting(30, "world-model steps a cycle", COUNT)
    batch: int = setting(32, "clips of an update", COUNT)
    ema_decay: float = setting(0.98, "of the averaged parameters, which predict and are evaluated", SHARE)
    score_batch: int = 32

    def __post_init__(self):
        check(self)
        if self.trajectories % self.branches:
            raise ValueError(
                f"phase2.trajectories={self.trajectories} are not whole groups of phase2.branches={self.branches}"
            )
        if self.branches == 1 and self.branch_baseline != "none":
            raise ValueError(f"phase2.branch_baseline={self.branch_baseline} needs phase2.branches of 2 or more")

    @property
    def reference_leads(self):
        """Whether the reference acts the first branch of each state."""
        return self.branch_baseline == "reference"

    @property
    def clip(self):
        """Latents of a context and what is dreamt after it."""
        return self.context + self.horizon


@dataclasses.dataclass(frozen=True)
class Shared:
    """What all methods of a comparison are made from.

    Attributes:
      world_model: the ``WorldModel``. frame_shape: ``(H, W, 3)`` of its frames.
      loss: ``f(dit_params, batch, key) -> (scalar, metrics)``, how it learns from data, as ``make_loss`` makes it.
      optimizer: of what is trained of it.
      flow: optical flow ``f(params, first, second)``, see ``rewards.dream``.
      budget: ``Budget``.
      policy: the ``Policy`` of pi_ref; None where there is none.
      to_env: from the policy's actions to the world model's and the environment's; None where they are the same.
      rewards: name -> ``f(params, dream)``, those that a method may ask for.
    """

    world_model: Any
    frame_shape: tuple
    loss: Any
    optimizer: Any
    flow: Any
    budget: Budget
    policy: Any = None
    to_env: Any = None
    rewards: dict = dataclasses.field(default_factory=lambda: {**REWARDS, **OF_BRANCHES})

    @property
    def example_clip(self):
        """Shapes of one ``RealClip`` of ``budget.clip`` latents, without a batch axis."""
        model, budget, (height, width, _) = self.world_model, self.budget, self.frame_shape
        time, shape = model.frames_of(budget.clip), jax.ShapeDtypeStruct
        return RealClip(
            latents=shape((budget.clip, *model.latent_shape(self.frame_shape)), jnp.float32),
            actions=shape((time, len(model.action_sizes)), jnp.int32),
            frames=shape((time, height, width, 3), jnp.uint8),
            flow=shape((budget.horizon * model.stride, height, width, 2), jnp.float16),
        )

    @property
    def trajectory_length(self):
        """T, the frames of a trajectory."""
        return self.world_model.frames_of(self.budget.clip)


@dataclasses.dataclass(frozen=True)
class Needs:
    """What a method takes from its source in a cycle.

    Attributes:
      rows: clips of demonstrations for each update. length: latents of each.
      acts: whether a policy acts in the environment.
    """

    rows: int
    length: int
    acts: bool


class Source(Protocol):
    """Where one cycle's data comes from, ``Needs`` of it."""

    def act(self, params):
        """tau <- act(pi_phi, environment): a ``Trajectory`` with arrays ``[trajectories, T, ...]``."""

    def policy_is_final(self, params):
        """Told once phi is what the next cycle acts with: slow environments may begin with it now."""

    def demonstrations(self):
        """A ``Batch`` with leaves ``[updates, rows, ...]``, clips of ``length`` latents."""


@dataclasses.dataclass(frozen=True)
class Found:
    """Clips worth looking at that a method found and learned from; numpy, on the host.

    Attributes:
      clips: ``RealClip`` with leaves ``[n, ...]``.
      columns: name -> ``[n]``, what the method knows of each: ``score`` is how much it made of it.
    """

    clips: RealClip
    columns: dict


class Method:
    """A method; its state is a pytree of arrays, all that its cycles change: ``theta`` (a ``TrainState``, the world
    model's trained part) and ``cycle`` (int32, cycles done) among them.

    A new one says ``Config``, ``make_programs``, ``needs``, ``init``, ``cycle``, ``spent`` and ``calls``, and the rest
    where it is not as here.

    Attributes:
      Config: frozen dataclass of its own settings: defaults, sources, checks.
      trains_policy: whether ``policy`` has an answer.
      checks: names of metrics of ``cycle`` whose last value belongs beside the checks of an evaluation.

    Args:
      config: a ``Config``. shared: ``Shared``.
      programs: its compiled parts; made where they are not given.
    """

    Config: type
    trains_policy = False
    checks: tuple[str, ...] = ()

    def __init__(self, config, shared, programs=None):
        self.config, self.shared = config, shared
        self.programs = programs or compiled(self.make_programs())

    def on_mesh(self, mesh, state):
        """The same method, compiled to leave everything where it lies in ``state``."""
        return type(self)(self.config, self.shared, on_mesh(mesh, self.programs, state))

    def make_programs(self):
        """The parts of a cycle, not compiled yet: a dataclass of ``sharding.program`` fields."""
        raise NotImplementedError

    def needs(self):
        """``Needs``: what a cycle takes from its source."""
        raise NotImplementedError

    def init(self, start, key):
        """The state before the first cycle; what it holds of ``start`` is copied, since the state will be donated."""
        raise NotImplementedError

    def prepare(self, state, start, demonstrations, key):
        """The state after what is learned before the first cycle.

        ``demonstrations(steps, rows, length, first=0)`` is a ``Batch`` with leaves ``[steps, rows, ...]``, from step
        ``first`` on.
        """
        del start, demonstrations, key
        return state

    @classmethod
    def takes_in(cls):
        """Whether it keeps what others found (``take_in``)."""
        return cls.take_in is not Method.take_in

    def take_in(self, state, start, trajectory):
        """The state before the first cycle with others' finds, a ``Trajectory``; as it is where none are kept."""
        del start, trajectory
        return state

    def cycle(self, state, start, source, key):
        """One cycle: ``(state, metrics)``, scalars by name, ``world_model_loss`` among them. ``state`` is donated."""
        raise NotImplementedError

    def world_model_params(self, state, start):
        """The world model's parameters that evaluation predicts with: the averaged trained ones in their place."""
        return predicting(state.theta, start)

    def policy(self, state):
        """Parameters of the policy that it trains, or None."""

    def found(self, state):
        """``Found``: what its world model was trained on beside the demonstrations, where that is real; or None."""

    def spent(self):
        """A cycle's ``world_model_updates``, ``world_model_tokens``, ``environment_steps``, ``dreamt_latents``."""
        raise NotImplementedError

    def rewards_asked(self):
        """Names of the rewards that it asks for: who makes a ``Start`` puts their weights among what is fixed."""
        return ()

    def kept_bytes(self):
        """Bytes that its state takes beside the networks in training and their optimisers."""
        return 0

    def step_loss(self):
        """``f(network params, batch, key) -> (scalar, metrics)`` of one of its updates, for planning its memory."""
        return self.shared.loss

    def calls(self, state, start, trajectory, demonstrations, key):
        """program -> what a cycle calls it with, for those that take time: shapes in, shapes out, for planning.

        Args:
          trajectory: a ``Trajectory``, or None where nobody acts. demonstrations: the source's ``Batch``.
        """
        raise NotImplementedError


def predicting(theta, start):
    """The whole world model's parameters, with the averaged trained ones of the ``TrainState`` theta."""
    return {**start.fixed, "dit": merge(theta.ema, start.fixed["dit"])}


def training_cost(shared):
    """The part of ``Method.spent`` that all who use up the budget have in common."""
    budget = shared.budget
    tokens = shared.world_model.tokens(shared.frame_shape) * budget.window
    return {"world_model_updates": budget.updates, "world_model_tokens": budget.updates * budget.batch * tokens}


def acting_cost(shared):
    """Steps of the environment that all trajectories of a cycle take; branches share a warm-up.

    An environment whose state cannot be copied takes it again for each of them: that is time, and nothing is learned.
    """
    budget = shared.budget
    steps = budget.trajectories * (shared.trajectory_length - 1)
    return budget.trajectories // budget.branches * budget.warm_up + steps


def equal_trajectories(trajectories, branches, *, warm_up, steps, parts=1):
    """How many branched trajectories take as many environment steps as ``trajectories`` that share no warm-up.

    Args:
      branches: k, which share one. warm_up, steps: of the environment, before a trajectory and in it.
      parts: what their number must divide into.

    Returns:
      the number nearest to that in whole groups, at least one of them; ``acting_cost`` says what it takes.
    """
    at_a_time = math.lcm(branches, parts)
    taken = at_a_time * steps + at_a_time // branches * warm_up
    return max(1, round(trajectories * (warm_up + steps) / taken)) * at_a_time
