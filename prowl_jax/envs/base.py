"""The protocols of environments; tests/envs/test_contract.py holds them.

A ``HostEnv`` is N environments stepped together in NumPy; a ``GroupedEnv`` can step some of them while
the caller thinks about the others. A ``DeviceEnv`` is one environment as pure
functions, made many by ``vmap`` and fast by ``jit``; ``device.DeviceVectorEnv`` makes a ``HostEnv`` of it.
This module knows no JAX, so that environment workers start without it.
"""

import dataclasses
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from prowl_jax.actions import ActionSpec


@dataclasses.dataclass(frozen=True)
class Step:
    """What N environments return after one step.

    Attributes:
      frames: uint8 ``[N, H, W, 3]``. Where ``done``, the first frame of the next episode.
      done: bool ``[N]``, True where the episode ended in this step and a new one began.
      info: arrays with leading axis N, such as ``"pose"`` (x, y, angle in degrees); ground
        truth for demonstrators and tests, never an input of a model. An environment that can
        break and restarts by itself reports ``"broken"``, bool ``[N]``: True where it did so in
        this step, which is then ``done`` as well.
    """

    frames: np.ndarray
    done: np.ndarray
    info: dict


@runtime_checkable
class HostEnv(Protocol):
    """N environments stepped together on the host, each deterministic for its seed.

    Attributes:
      spec: the factors of the actions.
      num_envs: N.
      frame_shape: ``(H, W, 3)``.
    """

    spec: ActionSpec
    num_envs: int
    frame_shape: tuple

    def reset(self, seeds) -> Step:
        """Start an episode in every environment from ``seeds`` (int ``[N]``); ``done`` is False."""

    def step(self, actions) -> Step:
        """Do ``actions`` (int32 ``[N, A]``) for one step; an episode that ends restarts by itself."""

    def close(self) -> None:
        """End all worker processes. Safe to call twice."""


@runtime_checkable
class GroupedEnv(HostEnv, Protocol):
    """A ``HostEnv`` dealt in groups: while the caller looks at one, the others go on stepping.

    ``step`` is ``send`` to every group, then ``receive`` from every group. Groups are received in the
    order in which they were sent to. ``reset`` drops what was sent and not received.

    Attributes:
      groups: a slice of the N environments for each group, one behind the other.
    """

    groups: tuple

    def send(self, actions, group) -> None:
        """Begin to do ``actions`` (int32 ``[n, A]``) in the n environments of ``groups[group]``."""

    def receive(self, group) -> Step:
        """Wait for the step of ``groups[group]`` that ``send`` began; its arrays have n rows."""


def grouped(env: HostEnv) -> GroupedEnv:
    """``env`` itself where it has groups; else seen as one group, which steps when it is received."""
    return env if isinstance(env, GroupedEnv) else _OneGroup(env)


class _OneGroup:
    """A ``HostEnv`` as a ``GroupedEnv`` of one group."""

    def __init__(self, env):
        self._env, self.groups = env, (slice(0, env.num_envs),)

    def __getattr__(self, name):
        return getattr(self._env, name)

    def send(self, actions, group):
        self._actions = actions

    def receive(self, group):
        return self._env.step(self._actions)


class DeviceStep(NamedTuple):
    """What one environment on the device returns after one step, without a batch axis.

    Attributes:
      frame: uint8 ``[H, W, 3]``. Where ``done``, the first frame of the next episode.
      done: bool, True where the episode ended in this step and a new one began.
      info: a dict of arrays, such as ``"pose"`` (float32 ``[3]``: x, y, angle in degrees counted to
        the left). What happened in a step is a bool named ``"event_..."``; it tells of the step
        itself, also where that ended an episode. All else belongs to ``frame``.
    """

    frame: Any
    done: Any
    info: dict


@runtime_checkable
class DeviceEnv(Protocol):
    """One environment as pure functions of arrays, to be used under ``jax.vmap`` and ``jax.jit``.

    An environment is a pytree: what it needs (worlds, textures) are its leaves, so that a jitted
    function takes it as an argument. Its state is a pytree as well and holds a key of its own: the
    same key and the same actions give the same frames, and an episode that ends restarts by itself
    inside ``step``, in a way that this key decides. Actions are not checked: they cannot be.
    """

    @property
    def spec(self) -> ActionSpec:
        """The factors of the actions."""

    @property
    def frame_shape(self) -> tuple:
        """``(H, W, 3)``."""

    def reset(self, key) -> tuple[Any, DeviceStep]:
        """Start the first episode of a ``jax.random`` key: (state, step); ``done`` is False."""

    def step(self, state, action) -> tuple[Any, DeviceStep]:
        """Do ``action`` (int32 ``[A]``): (state, step)."""
