"""Policies made in dreams of the world of blocks, from its shipped weights: is what they gain there gained in reality?

  python -m experiments.dream_policy --config=experiments/configs/dream_voxel.py
  python -m experiments.dream_policy --config=experiments/configs/dream_voxel.py:gather_logs

The goal is ``travel`` (metres without falling or drowning) unless another is named. Five temperatures, two learners
and five seeds; it can be stopped and goes on. How long it takes and what comes out has not been measured yet. ``:tiny``
is for tests: nothing that it prints means anything.
"""

import ml_collections

from experiments.configs import base_voxel, quickstart
from experiments.dreams.settings import DREAM
from experiments.run import groups

GOALS = ("travel", "gather_logs")


def get_config(arg="travel"):
    """One of the goals, from shipped weights, or the smallest run (``tiny``)."""
    if arg not in (*GOALS, "tiny"):
        raise ValueError(f"dream_voxel has the variants {', '.join(map(repr, GOALS))} and 'tiny', not {arg!r}")
    c = base_voxel.get_config("tiny") if arg == "tiny" else quickstart.get_config("full")
    c.name = f"dream_voxel_{arg}"
    c.arms = ()
    c.env.held_out_tasks = ()
    c.evaluation.targets = ml_collections.ConfigDict()
    c.dream = groups.make_config(DREAM).dream
    c.dream.goal = "travel" if arg == "tiny" else arg
    c.dream.ppo.update(kl_cost=0.02, entropy_cost=1e-3)  # entropy_cost: DIAMOND's
    c.dream.ppo.update(rows=8, steps=c.dream.steps)  # whole episodes: what is never acted in is never learned
    c.dream.beginnings = True  # as reality begins
    c.dream.evolution.update(generations=20, rollouts=2, steps=64)
    c.checkpoint_every, c.log_every = 20, 5
    if arg == "tiny":
        shrink(c)
    else:
        c.demonstrations.update(episodes=128, episode_frames=160)
    return c


def shrink(c):
    """As small as it goes while every line of the dreams still runs."""
    c.world_model.update(steps=2, batch=4)
    c.world_model.unet.update(own_frames=(1,), own_since=(0.0,))
    c.world_model.unet.update(widths=(8,), blocks=(1,), motion_widths=(8,), motion_blocks=(1,), width=8)
    c.world_model.unet.update(attention=False, sampler_levels=(1.0, 0.0))
    c.reference.update(features=8, memory=2, hidden=8)
    c.env.voxel.look = "flat"
    c.reference.steps = c.inverse_dynamics.steps = 2
    c.metrics.frechet = ""
    c.dream.update(steps=4, contexts=8, players=("demonstrator",), episodes=4, temperatures=(1.0,), seeds=(0,))
    c.dream.update(real_episodes=4, dreamt_episodes=4, resamples=50)
    c.dream.heads.update(steps=2, batch=4, width=4, hidden=8, measured=8)
    c.dream.ppo.update(updates=2, rows=2, steps=3, epochs=1, minibatches=1)
    c.dream.evolution.update(generations=2, population=4, rollouts=2, components=2)
    c.checkpoint_every = 1
