"""PROWL in Craftax-Classic, a survival game seen from above that is itself a JAX program (docs/your_world.md).

  python -m experiments.prowl_main --config=experiments/configs/craftax.py

Needs the package craftax (docs/your_world.md says how it is installed beside ViZDoom). 64x64 frames, seventeen actions
and no camera; the log says how often each of Craftax's achievements was reached (``event_collect_wood``, ..., in 1,000
steps). What a step costs to compile is paid once a number of environments: half a minute on a core. ``:tiny`` is the
smallest run, for tests.
"""

import ml_collections

from experiments.configs import quickstart


def get_config(arg="full"):
    """The whole run (``full``), or the smallest one that goes through every line (``tiny``)."""
    if arg not in ("full", "tiny"):
        raise ValueError(f"craftax has the variants 'full' and 'tiny', not {arg!r}")
    c = quickstart.get_config("scratch" if arg == "full" else "tiny")
    c.name = "craftax" if arg == "full" else "craftax_tiny"
    c.env.update(name="craftax", task="wander", held_out_tasks=("restless",))
    c.env.update(frame_height=64, frame_width=64)
    c.evaluation.targets = ml_collections.ConfigDict()  # those there are the quick start's
    if arg == "tiny":
        c.env.craftax.worlds = 4
    return c
