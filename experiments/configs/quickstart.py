"""PROWL in a quarter of an hour on two CPU cores: ViZDoom, 48x64 frames, a world model of 1.3 M parameters.

  python -m experiments.prowl_main --config=experiments/configs/quickstart.py

``:tiny`` after the file name is the same run with everything as small as it goes, for tests.
"""

import ml_collections

from experiments.configs import default


def get_config(arg="full"):
    """The quick start (``full``), or the smallest run that goes through every line (``tiny``)."""
    if arg not in ("full", "tiny"):
        raise ValueError(f"quickstart has the variants 'full' and 'tiny', not {arg!r}")
    c = default.get_config()
    c.name = "quickstart"
    c.autoencoder.update(widths=(32, 64), blocks=1)
    c.world_model.update(chunk=1, window=3)  # here a latent is a frame
    c.world_model.update(action_modulation=True, rope_base=20.0)  # a grid of 3x4 tokens
    # A little signal tells the motion without the action, and so does a longer past.
    c.world_model.update(shift=10.0, clean_prefix=1.0, sampler_steps=4, sampler_shift=5.0)
    c.reference.update(features=96, hidden=192)
    c.adversary.update(learning_rate=3e-4, epochs=3, kl_cost=0.1)  # of a policy of 0.2 M parameters
    c.adversary.kl_costs.update(weak=0.02, middle=0.1, strong=0.3)
    c.phase2.update(horizon=8, capacity=128, temperature=1.0)
    c.evaluation.update(clips=128, horizon=8, long_clips=32, long_horizon=32)
    c.evaluation.targets = ml_collections.ConfigDict(
        {
            "autoencoder_psnr_db": 25.0,
            "regret_over_repeat_last_frame": 0.85,
            "regret_exchanged_actions_over_true": 1.1,
            "minutes": 15.0,
            "peak_memory_gb": 4.0,
            "camera_speed_over_reference": 3.0,  # of every arm's policy
        }
    )
    if arg == "tiny":
        _shrink(c)
    return c


def _shrink(c):
    """As small as it goes while every line still runs: about a minute, no figure means anything."""
    c.name = "tiny"
    c.env.num_envs = 4
    c.demonstrations.update(episodes=8, episode_frames=40, held_out_task_episodes=4, held_out_fraction=0.25)
    c.autoencoder.update(widths=(16, 32), blocks=1, steps=12, batch=8)
    c.world_model.update(size="XXS", steps=12, batch=4, warm_up=2, sampler_steps=2)
    c.reference.update(features=32, hidden=32, steps=8, batch=4, clip=8)
    c.inverse_dynamics.update(steps=4, batch=4, clip=8, width=8, features=16, hidden=16)
    c.metrics.frechet = "inverse_dynamics"
    c.adversary.update(epochs=1, minibatches=2)
    c.adversary.ensemble.update(members=2, width=16, steps=4)
    c.phase2.update(cycles=2, trajectories=4, warm_up=2, updates=2, batch=4, capacity=8)
    c.evaluation.update(clips=8, long_clips=4, long_horizon=12, resamples=100)
    c.log_every = 4
    c.checkpoint_every = 5
