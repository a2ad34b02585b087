"""Few steps a frame: a short second stage of shortcut forcing (Dreamer 4, arXiv 2509.24527) on the shipped base model.

  XLA_FLAGS=--xla_force_host_platform_device_count=2 \\
    python -m experiments.prowl_main --config=experiments/configs/shortcut_voxel.py
  python -m experiments.sampler_steps --workdir=runs/shortcut_voxel --steps=1,2,4,8,32 --clips=64
  python -m experiments.sampler_steps --weights=voxel --steps=1,2,4,8,32 --clips=64

The first command trains, the other two make the table: the quality of 1 to 32 steps with and without. Counted in
evaluations of the network, an update costs half as much again as one of the base model's training. How long it takes
and what comes out has not been measured yet. ``:tiny`` is for tests, and begins from nothing.
"""

import ml_collections

from experiments.configs import base_voxel


def get_config(arg="full"):
    """The second stage (``full``), or the smallest run (``tiny``)."""
    if arg not in ("full", "tiny"):
        raise ValueError(f"shortcut_voxel has the variants 'full' and 'tiny', not {arg!r}")
    c = base_voxel.get_config(arg)
    c.name = "shortcut_voxel" if arg == "full" else "shortcut_voxel_tiny"
    c.env.held_out_tasks = ()
    c.evaluation.targets = ml_collections.ConfigDict()
    c.inverse_dynamics.steps, c.metrics.frechet = 0, ""
    c.world_model.objective = "shortcut"
    c.world_model.unet.sampler_levels = (1.0, 0.5, 0.0)
    if arg == "tiny":
        c.world_model.shortcut.most = 4
        return c
    c.world_model.update(weights="voxel", steps=1500, learning_rate=2e-4, warm_up=50)
    c.demonstrations.update(episodes=96, episode_frames=160)
    c.reference.steps = 1  # nobody acts
    c.evaluation.update(clips=32, long_clips=8)
    c.checkpoint_every = 50
    return c
