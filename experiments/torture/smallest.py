"""The quick start with nothing left to leave out, to be broken:  --config=experiments/torture/smallest.py

Every stage is there: demonstrations in ViZDoom, three trainings, phase 2 with two arms, evaluation, report. It
saves 20 times, and on two idle cores with its programs compiled it takes about a minute.
"""

from experiments.configs import quickstart


def get_config():
    """The configuration; no figure of it means anything."""
    c = quickstart.get_config("tiny")
    c.name = "torture"
    c.env.update(held_out_tasks=(), num_envs=2, frame_height=32, frame_width=32)
    c.demonstrations.update(episodes=4, episode_frames=24)
    c.autoencoder.update(steps=10, batch=4)
    c.world_model.update(steps=10, batch=2)
    c.reference.update(steps=10, batch=2)
    c.inverse_dynamics.steps, c.metrics.frechet = 0, ""
    c.phase2.update(cycles=3, trajectories=2, warm_up=1, horizon=2, updates=1, batch=2, capacity=4)
    c.evaluation.update(clips=4, horizon=2, long_clips=2, long_horizon=4, resamples=10)
    c.log_every = c.checkpoint_every = 2
    return c
