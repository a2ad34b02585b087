"""The environments that a configuration can name; a row makes a new one known (docs/extending.md)."""

from prowl_jax.envs.clips import Clips
from prowl_jax.envs.craftax.environment import Craftax
from prowl_jax.envs.gymnasium import Gymnasium
from prowl_jax.envs.minecraft import MineRL, Recordings
from prowl_jax.envs.vizdoom import ViZDoom
from prowl_jax.envs.voxel.environment import Voxel

ENVIRONMENTS = {
    environment.name: environment
    for environment in (ViZDoom, Voxel, Craftax, MineRL, Gymnasium, Recordings, Clips)
}
"""name -> ``Environment``."""


def names(holds):
    """The names of those for which ``holds(environment)``, in the order of the table."""
    return tuple(name for name, environment in ENVIRONMENTS.items() if holds(environment))
