"""The protocol that every host-side environment keeps; tests/envs/test_contract.py holds it."""

import dataclasses
from typing import Protocol, runtime_checkable

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
