"""Phase 1 on recordings of Minecraft players, and with MineRL the whole of PROWL. 48x80 frames at 20 Hz.

  python -m experiments.prowl_main --config=experiments/configs/minecraft.py --config.demonstrations.source=DIR_OR_INDEX

reads VPT or BASALT recordings (.mp4 and .jsonl), trains the autoencoder, the world model and a cloned
reference policy, evaluates on held-out stretches and writes the report. Nothing lives to act in, so
there is no phase 2. With a Minecraft that runs (docs/minerl.md), the same and phase 2:

  ... --config.env.name=minerl --config.env.minerl.python=PYTHON_WITH_MINERL

and with VPT as the reference policy, --config.reference.weights=foundation-model-1x.safetensors
(python -m experiments.convert vpt). ``:small`` after the file name is for seconds of video: it shows
that everything works, on as little as one recording of 20 seconds, which is learned by heart. ``:tiny``
is for tests. Phase 2 has not met a real Minecraft yet, and no score is known for hours of recordings
(docs/limits.md).
"""

import ml_collections

from experiments.configs import quickstart


def get_config(arg="full"):
    """Hours of recordings (``full``), seconds of them (``small``), or the smallest run of all (``tiny``)."""
    if arg not in ("full", "small", "tiny"):
        raise ValueError(f"minecraft has the variants 'full', 'small' and 'tiny', not {arg!r}")
    c = quickstart.get_config("tiny" if arg == "tiny" else "scratch")
    c.name = "minecraft" if arg == "full" else f"minecraft_{arg}"
    c.env.update(name="recordings", task="MineRLBasaltFindCave-v0", held_out_tasks=(), num_envs=2)
    c.env.update(frame_height=48, frame_width=64 if arg == "tiny" else 80)
    c.env.minerl.episode_steps = 1200  # a minute
    c.demonstrations.episode_frames = 400  # longer stretches are cut, so that some can be held out
    c.evaluation.training_clips = 32
    c.evaluation.targets = ml_collections.ConfigDict()  # those there are the quick start's
    if arg == "full":
        c.autoencoder.update(widths=(48, 96), steps=4000)
        c.world_model.update(size="S", steps=20000)
        c.reference.update(steps=4000, learning_rate=5e-4)
        c.phase2.update(cycles=50, trajectories=8, updates=100, capacity=256)
    if arg == "small":
        c.demonstrations.update(episode_frames=50, held_out_fraction=0.15)
        c.world_model.steps = 1000
        c.reference.steps = 100
        c.evaluation.update(clips=32, long_clips=8)
    if arg == "tiny":
        c.demonstrations.episode_frames = 20
        c.evaluation.training_clips = 4
    return c
