"""Environments: the protocols, the adapters and worlds that there are, and who plays in them to show what to do."""

from typing import TYPE_CHECKING

from prowl_jax.lazy import lazily

if TYPE_CHECKING:
    from prowl_jax.envs import registry as registry
    from prowl_jax.envs import voxel as voxel
    from prowl_jax.envs.action_spaces import Actions as Actions
    from prowl_jax.envs.action_spaces import words as words
    from prowl_jax.envs.base import DeviceEnv as DeviceEnv
    from prowl_jax.envs.base import DeviceStep as DeviceStep
    from prowl_jax.envs.base import GroupedEnv as GroupedEnv
    from prowl_jax.envs.base import HostEnv as HostEnv
    from prowl_jax.envs.base import Step as Step
    from prowl_jax.envs.base import grouped as grouped
    from prowl_jax.envs.demonstrators import record as record
    from prowl_jax.envs.device import DeviceVectorEnv as DeviceVectorEnv
    from prowl_jax.envs.environment import Environment as Environment
    from prowl_jax.envs.gaps import Gaps as Gaps
    from prowl_jax.envs.registry import ENVIRONMENTS as ENVIRONMENTS
    from prowl_jax.envs.workers import EnvironmentFailure as EnvironmentFailure
    from prowl_jax.envs.workers import ProcessVectorEnv as ProcessVectorEnv

__getattr__, __dir__, __all__ = lazily(__name__, __file__)
