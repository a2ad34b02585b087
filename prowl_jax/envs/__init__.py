"""Environments: the protocols, the adapters and worlds that there are, and who plays in them to show what to do."""

from typing import TYPE_CHECKING

from prowl_jax.lazy import lazily

if TYPE_CHECKING:
    from prowl_jax.envs import registry, voxel
    from prowl_jax.envs.action_spaces import Actions, words
    from prowl_jax.envs.base import DeviceEnv, DeviceStep, GroupedEnv, HostEnv, Step, grouped
    from prowl_jax.envs.demonstrators import record
    from prowl_jax.envs.device import DeviceVectorEnv
    from prowl_jax.envs.environment import Environment
    from prowl_jax.envs.gaps import Gaps
    from prowl_jax.envs.registry import ENVIRONMENTS
    from prowl_jax.envs.workers import EnvironmentFailure, ProcessVectorEnv

__getattr__, __dir__, __all__ = lazily(__name__, __file__)
