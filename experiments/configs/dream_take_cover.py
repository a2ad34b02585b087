"""World Models' own task (arXiv 1803.10122): policies learn in dreams of ViZDoom to step aside from fireballs.

  XLA_FLAGS=--xla_force_host_platform_device_count=2 \\
    python -m experiments.dream_policy --config=experiments/configs/dream_take_cover.py
  python -m experiments.dream_policy --config=experiments/configs/dream_take_cover.py:health_gathering

A step is worth the tics that it lived, and an episode is 525 steps of 4 tics, World Models' 2,100 tics. The world model
is trained from nothing on scripted play of the task: a small convolutional denoiser without explicit motion, two
evaluations a frame, since millions of frames are dreamt; its dreams are simpler than those of the shipped models. It
can be stopped and goes on. How long it takes and what comes out has not been measured yet. ``:tiny`` is for tests:
nothing that it prints means anything.
"""

import ml_collections

from experiments.configs import base_vizdoom, dream_voxel
from experiments.dreams.settings import DREAM
from experiments.run import groups

TASKS = ("take_cover", "health_gathering")


def get_config(arg="take_cover"):
    """One of the tasks, or the smallest run (``tiny``)."""
    if arg not in (*TASKS, "tiny"):
        raise ValueError(f"dream_take_cover has the variants {', '.join(map(repr, TASKS))} and 'tiny', not {arg!r}")
    task = TASKS[0] if arg == "tiny" else arg
    c = base_vizdoom.get_config("tiny" if arg == "tiny" else "full")
    c.name = f"dream_{arg}" if arg != "tiny" else "dream_take_cover_tiny"
    c.arms = ()
    c.env.update(task=task, held_out_tasks=(), frame_skip=4, num_envs=16)
    c.evaluation.targets = ml_collections.ConfigDict()
    c.inverse_dynamics.steps = 0
    c.metrics.frechet = ""
    c.dream = groups.make_config(DREAM).dream
    c.dream.update(goal="survive", steps=525, players=("demonstrator", task), beginnings=True)
    c.dream.ppo.update(kl_cost=0.02, entropy_cost=1e-3, reward_scale=0.05, discount=0.99)
    c.checkpoint_every, c.log_every = 20, 5
    small = {"motion": False, "predict_residual": False, "widths": (24, 48), "blocks": (1, 1), "width": 96}
    c.world_model.unet.update(small)
    c.world_model.unet.update(attention=True, sampler_levels=(1.0, 0.3, 0.0))  # two evaluations: there are many frames
    if arg == "tiny":
        c.env.update(num_envs=2, frame_height=32, frame_width=32)
        dream_voxel.shrink(c)
        c.world_model.unet.update(widths=(8,), blocks=(1,), width=8, attention=False)
        return c
    c.world_model.update(steps=6000, batch=32)
    c.world_model.unet.levels.mean = 0.3  # DIAMOND's: there is no motion beneath it whose error is small
    c.demonstrations.update(episodes=160, episode_frames=300)
    c.dream.ppo.update(updates=60, rows=8, steps=256)  # longer than those live that pi_ref is cloned from
    c.dream.evolution.update(generations=30, population=24, rollouts=2, steps=260)
    c.dream.dreamt_episodes = 32
    return c
