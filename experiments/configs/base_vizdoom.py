r"""The base model of ViZDoom, trained from nothing: hours on two cores, which may be stopped.

  XLA_FLAGS=--xla_force_host_platform_device_count=2 \
    python -m experiments.prowl_main --config=experiments/configs/base_vizdoom.py
  python -m experiments.zoo export --workdir=runs/base_vizdoom --output=prowl_jax/zoo/weights/vizdoom.safetensors

64x64 frames of the task that the quick start trains on, on its one map; otherwise as ``base_voxel.py``, as many
core-hours included. ``:tiny`` is the smallest run, for tests. As long as no weights are shipped, those of a part of the
training lie in results/weights, to go on from: ``--config.world_model.weights=results/weights/vizdoom.safetensors``.
"""

from experiments.configs import quickstart
from experiments.configs.base_voxel import long_training, pixel_world_model


def get_config(arg="full"):
    """The whole training (``full``), or the smallest one (``tiny``)."""
    if arg not in ("full", "tiny"):
        raise ValueError(f"base_vizdoom has the variants 'full' and 'tiny', not {arg!r}")
    c = quickstart.get_config("scratch" if arg == "full" else "tiny")
    c.name = "base_vizdoom" if arg == "full" else "base_vizdoom_tiny"
    c.arms = ()
    c.env.update(frame_height=64, frame_width=64, held_out_tasks=("look_around",))
    pixel_world_model(c)
    if arg == "full":
        c.demonstrations.update(episodes=480, episode_frames=300, held_out_task_episodes=24)
        long_training(c)
    return c
