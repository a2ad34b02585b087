"""Where arrays lie: a ``(data, fsdp)`` mesh, batches split over it, the rest replicated.

Steps are plain ``jit``; XLA inserts the communication that the placement of the arguments asks
for. With one device all of this is a no-op.
"""

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec


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


def split_leading(mesh):
    """Sharding that splits the leading axis over all devices of the mesh."""
    return NamedSharding(mesh, PartitionSpec(("data", "fsdp")))


def replicated(mesh):
    """Sharding that keeps a whole copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def place_batch(mesh, batch):
    """A host batch on the devices, its leading axis split over them.

    Each process passes its own rows; together they make the global batch. ValueError if the
    rows do not divide by the devices.
    """
    local = len(mesh.local_devices)
    for leaf in jax.tree.leaves(batch):
        if leaf.shape[0] % local:
            raise ValueError(f"{leaf.shape[0]} rows of a batch do not divide over {local} devices")
    sharding = split_leading(mesh)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), batch)


def replicate(mesh, tree):
    """A tree with a whole copy on every device."""
    return jax.device_put(tree, replicated(mesh))
