"""Measure the voxel world, or draw what it looks like.

``python -m prowl_jax.envs.voxel`` prints its speed on JAX's default device; with ``--picture PATH`` it
saves a sheet of pictures instead, a row a task.
"""

import argparse
import os

import jax
import jax.numpy as jnp
import numpy as np

from prowl_jax.envs.device import keys
from prowl_jax.envs.voxel.demonstrations import behaviour_of, demonstrate
from prowl_jax.envs.voxel.speed import steps_per_second
from prowl_jax.envs.voxel.tasks import TASKS, make_world


def main(argv=None):
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m prowl_jax.envs.voxel", description=__doc__.split("\n")[0])
    parser.add_argument("--envs", type=int, default=256, help="environments stepped together (256)")
    parser.add_argument("--picture", metavar="PATH", help="save a sheet of pictures (png or webp) and measure nothing")
    arguments = parser.parse_args(argv)
    if arguments.envs < 1:
        parser.error(f"--envs must be positive, not {arguments.envs}")
    if arguments.picture:
        save_sheet(arguments.picture)
        return
    jax.config.update("jax_num_cpu_devices", len(os.sched_getaffinity(0)))  # else only one core is busy
    devices = jax.devices()
    num_envs = -(-arguments.envs // len(devices)) * len(devices)
    rate = steps_per_second(num_envs)
    print(
        f"voxel_steps_per_s {rate:,.0f} ({num_envs} environments with 64x64 frames on {len(devices)} x "
        f"{devices[0].device_kind})"
    )


def save_sheet(path, *, columns=6, size=128, every=60):
    """One row a task, ``columns`` moments of one demonstration, ``size`` pixels square."""
    try:
        from PIL import Image
    except ImportError:
        raise SystemExit("saving pictures needs pillow: pip install pillow") from None
    rows = []
    for number, task in enumerate(TASKS):
        env = make_world(task, worlds=4, frame_size=(size, size), episode_steps=0)
        seed = keys(np.array([number + 1]), 1)
        frames = demonstrate(env, behaviour_of(task), seed, steps=columns * every)[0]
        rows.append(jnp.concatenate(list(frames[::every, 0]), axis=1))
        print(f"{task}: {TASKS[task].description}", flush=True)
    Image.fromarray(np.asarray(jnp.concatenate(rows, axis=0))).save(path, quality=85)


if __name__ == "__main__":
    main()
