"""A first-person world of blocks in pure JAX: see docs/voxel.md.

``make_world`` gives a ``DeviceEnv``, ``make_voxel`` a ``HostEnv``; ``record`` yields demonstrations.
"""

from prowl_jax.envs.voxel.demonstrations import behaviour_of, demonstrate, record
from prowl_jax.envs.voxel.render import DAY, LOOKS
from prowl_jax.envs.voxel.tasks import TASKS, Behaviour, Task, make_voxel, make_world
from prowl_jax.envs.voxel.world import EVENTS, SPEC, State, VoxelWorld

__all__ = [
    "DAY",
    "EVENTS",
    "LOOKS",
    "SPEC",
    "TASKS",
    "Behaviour",
    "State",
    "Task",
    "VoxelWorld",
    "behaviour_of",
    "demonstrate",
    "make_voxel",
    "make_world",
    "record",
]
