"""PROWL in minutes on two CPU cores: a shipped world model, hunted for its mistakes, mended, measured.

  python -m experiments.prowl_main --config=experiments/configs/quickstart.py

``:scratch`` after the file name trains everything from nothing, ``:vizdoom`` starts from ViZDoom's weights, ``:tiny``
is the smallest run, for tests.
"""

import ml_collections

from experiments.configs import default


def get_config(arg="full"):
    """The quick start: from shipped weights (``full``), from nothing (``scratch``), and others.

    ``full`` begins with the base model of the world of blocks (``python -m experiments.zoo check voxel``): it records
    a few demonstrations, shows their dream within a minute (report/first_look.webp), spends its time on phase 2,
    frozen reference and PROWL, evaluates and reports. Its targets are 8 minutes and 4 GB on 2 cores; README.md says
    what was measured. ``vizdoom`` does the same with the base model of ViZDoom, where there is one (base_vizdoom.py
    makes it).

    ``scratch`` records ViZDoom and first trains an autoencoder, a world model of 1.3 M parameters and a reference
    policy: 11 to 17 minutes. ``tiny`` is that as small as it goes, for tests.
    """
    if arg not in VARIANTS:
        raise ValueError(f"quickstart has the variants {', '.join(map(repr, VARIANTS))}, not {arg!r}")
    return VARIANTS[arg]()


def _voxel():
    from experiments.configs import base_voxel  # which is made from this file's other variants

    return _from_weights(base_voxel.get_config(), "voxel")


def _vizdoom():
    from experiments.configs import base_vizdoom

    return _from_weights(base_vizdoom.get_config(), "vizdoom")


def _from_weights(c, base):
    """The configuration ``c`` that shipped weights were trained with, made a run that begins with them."""
    c.name = "quickstart" if base == "voxel" else f"quickstart_{base}"
    c.base = base
    c.arms = ("frozen_reference", "prowl")
    c.env.update(num_envs=16, held_out_tasks=())
    c.demonstrations.update(episodes=16, episode_frames=160, held_out_fraction=0.25)
    c.reference.steps = 250  # where the weights bring none
    c.inverse_dynamics.steps = 0  # what the weights bring reads the actions off dreams; to train one takes too long
    c.phase2.program = "host"  # one program a cycle compiles for minutes
    c.phase2.update(cycles=4, updates=20, batch=16, trajectories=16, capacity=32, warm_up=30)
    c.evaluation.update(clips=32, long_horizon=20)
    c.evaluation.targets = ml_collections.ConfigDict(
        {
            "regret_over_repeat_last_frame": 0.85,
            "regret_exchanged_actions_over_true": 1.3,
            "minutes": 8.0,
            "peak_memory_gb": 4.0,
            "camera_speed_over_reference": 3.0,  # of every arm's policy
        }
    )
    return c


def _from_scratch():
    c = default.get_config()
    c.name = "quickstart_scratch"
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
    return c


def _tiny():
    c = _from_scratch()
    shrink(c)
    return c


VARIANTS = {"full": _voxel, "scratch": _from_scratch, "tiny": _tiny, "vizdoom": _vizdoom}


def shrink(c):
    """As small as it goes while every line still runs: minutes, nearly all compiling; no figure means anything."""
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
    c.adversary.error_head.update(width=8, steps=2, cycle_steps=1, batch=2)
    c.phase2.update(cycles=2, trajectories=4, warm_up=2, updates=2, batch=4, capacity=8)
    c.evaluation.update(clips=4, long_clips=4, long_horizon=12, resamples=100)
    c.log_every = 4
    c.checkpoint_every = 5
