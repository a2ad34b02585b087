"""The quick start from shipped weights, to be broken:  --config=experiments/torture/smallest_shipped.py

Demonstrations in the world of blocks, phase 2 with two arms from the weights that are shipped, evaluation, report.
"""

from experiments.configs import quickstart


def get_config():
    """The configuration; no figure of it means anything."""
    c = quickstart.get_config("full")
    c.name = "torture_shipped"
    c.env.num_envs = 2
    c.demonstrations.update(episodes=4, episode_frames=24)
    c.reference.update(steps=4, batch=2)
    c.phase2.update(cycles=3, trajectories=2, warm_up=1, horizon=2, updates=1, batch=2, capacity=4)
    c.adversary.update(minibatches=1, epochs=1)
    c.evaluation.update(clips=4, horizon=2, long_clips=2, long_horizon=4, resamples=10)
    c.evaluation.targets = {}
    c.log_every = c.checkpoint_every = 1
    return c
