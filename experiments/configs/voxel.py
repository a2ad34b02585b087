"""PROWL in a world of blocks that is itself a JAX program (docs/voxel.md): 64x64 frames, 20 steps a second.

  python -m experiments.prowl_main --config=experiments/configs/voxel.py

In phase 2 whole cycles, environment included, run as one program (``phase2.program=device``), and the
log says how often each ground-truth event happened (``event_fell``, ..., in 1,000 steps): whether the
adversary finds what demonstrators avoid can be counted. About 25 minutes on 2 cores, 5.6 GB; expect a
regret of 0.65 of repeating the last frame (docs/voxel.md). ``:tiny`` is the smallest run, for tests.
"""

import ml_collections

from experiments.configs import quickstart


def get_config(arg="full"):
    """The whole run (``full``), or the smallest one that goes through every line (``tiny``)."""
    if arg not in ("full", "tiny"):
        raise ValueError(f"voxel has the variants 'full' and 'tiny', not {arg!r}")
    c = quickstart.get_config("scratch" if arg == "full" else "tiny")
    c.name = "voxel" if arg == "full" else "voxel_tiny"
    c.env.update(name="voxel", task="wander", held_out_tasks=("linger", "mine", "desert", "caves"))
    c.env.update(frame_height=64, frame_width=64)
    c.phase2.program = "device"
    c.evaluation.targets = ml_collections.ConfigDict()  # those there are the quick start's
    if arg == "tiny":
        c.env.voxel.worlds = 2
    return c
