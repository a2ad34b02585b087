"""The choices behind the base model, each against one that changes a single thing (docs/world_model.md has the table).

  python -m experiments.ablation --config=experiments/configs/ablation.py

Fifteen variants of ten core-minutes each: about three and a half hours of one core with the looks at their dreams.
``:tiny`` is for tests: nothing that it prints means anything.
"""

from experiments.configs import base_voxel
from experiments.run import groups
from experiments.study.settings import ABLATION


def get_config(arg="full"):
    """The whole comparison (``full``), or the smallest one (``tiny``)."""
    if arg not in ("full", "tiny"):
        raise ValueError(f"ablation has the variants 'full' and 'tiny', not {arg!r}")
    c = base_voxel.get_config(arg)
    c.name = "ablation" if arg == "full" else "ablation_tiny"
    c.ablation = groups.make_config(ABLATION).ablation
    c.env.held_out_tasks = ()
    if arg == "full":
        c.demonstrations.episodes = 160
        c.world_model.ema_decay = 0.99  # of some hundred steps
    else:
        c.env.update(frame_height=32, frame_width=32)
        c.ablation.update(variants=("base", "fourfold"), core_minutes=1e-6, probe_steps=1)
    return c
