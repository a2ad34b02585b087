"""Where arrays lie: a ``(data, fsdp)`` mesh, batches split over it, the rest replicated.

Steps are plain ``jit``; XLA inserts the communication that the placement of the arguments asks
for. With one device all of this is a no-op.
"""

import dataclasses

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from prowl_jax.settings import COUNT, LARGEST, Check, setting
from prowl_jax.spans import span

ALL_OR_COUNT = Check(lambda v: v == -1 or 1 <= v <= LARGEST, "is neither -1 (all devices) nor 1 or more")


@dataclasses.dataclass(frozen=True)
class MeshSettings:
    """The mesh of a run."""

    data: int = setting(-1, "devices that batches are split over; -1: all that fsdp leaves", ALL_OR_COUNT)
    fsdp: int = setting(1, "devices that the world model's parameters are split over", COUNT)


def make_mesh(data=-1, fsdp=1, devices=None):
    """A mesh with axes ``("data", "fsdp")``.

    Args:
      data: extent of the data axis; -1 takes all devices that ``fsdp`` leaves.
      fsdp: extent of the axis over which parameters may be split.
      devices: defaults to all devices of all processes.

    Raises:
      ValueError: the extents do not use the devices exactly.
    """
    devices = jax.devices() if devices is None else devices
    if data == -1:
        data = len(devices) // fsdp
    if data * fsdp != len(devices):
        raise ValueError(f"a mesh of data={data} x fsdp={fsdp} does not use {len(devices)} devices exactly")
    grid = np.asarray(devices).reshape(data, fsdp)
    return Mesh(grid, ("data", "fsdp"), axis_types=(AxisType.Auto,) * 2)


def split_rows(mesh, axis=0):
    """Sharding that splits the rows, which lie along ``axis``, over all devices of the mesh."""
    return NamedSharding(mesh, PartitionSpec(*(None,) * axis, ("data", "fsdp")))


def replicated(mesh):
    """Sharding that keeps a whole copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


@span("transfers")
def place_batch(mesh, batch, axis=0):
    """A host batch on the devices, its rows split over them; ``axis`` says which axis they are.

    Each process passes its own rows; together they make the global batch. ValueError if the
    rows do not divide by the devices.
    """
    local = len(mesh.local_devices)
    for leaf in jax.tree.leaves(batch):
        if leaf.shape[axis] % local:
            raise ValueError(f"{leaf.shape[axis]} rows of a batch do not divide over {local} devices")
    sharding = split_rows(mesh, axis)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), batch)


def replicate(mesh, tree):
    """A tree with a whole copy on every device; every process passes the same values."""
    return put(tree, jax.tree.map(lambda _: replicated(mesh), tree))


@span("transfers")
def put(tree, placement):
    """The tree on the devices as ``placement``, a tree of shardings, says; over all processes."""
    if jax.process_count() == 1:
        return jax.device_put(tree, placement)

    def build(x, sharding):
        if isinstance(x, jax.Array) and jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            data = build(jax.random.key_data(x), sharding)
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(x))
        x = np.asarray(x)
        return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])

    return jax.tree.map(build, tree, placement)


def local_copy(tree):
    """This process's own copy, on one of its devices, of what lies whole on every device."""
    return jax.tree.map(lambda x: x.addressable_data(0), tree)
