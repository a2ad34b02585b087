"""A study of the paper's claims: arms of phase 2, several seeds, intervals over both clips and seeds.

  python -m experiments.study --config=experiments/configs/study.py:vizdoom
  python -m experiments.study --config=experiments/configs/study.py:voxel

On 2 cores, a seed on each, both take about two hours: vizdoom 4 seeds of 9 arms, an hour a seed and 8 GB a process;
voxel 5 seeds of 5 arms, 40 minutes a seed on a quiet machine and up to 10 GB (docs/results.md).
``:tiny`` is for tests: nothing that it prints means anything.

``arms`` takes any rows of experiments/stages/arms.py and ``study.seeds`` any seeds; more of either can be added to
a finished study, which then does what is missing.
"""

import ml_collections

from experiments.configs import quickstart, voxel
from experiments.run import groups
from experiments.study.settings import STUDY


def get_config(arg="vizdoom"):
    """The study in ViZDoom (``vizdoom``), in the world of blocks (``voxel``), or the smallest (``tiny``)."""
    if arg not in ("vizdoom", "voxel", "tiny"):
        raise ValueError(f"study has the variants 'vizdoom', 'voxel' and 'tiny', not {arg!r}")
    made = {"vizdoom": (quickstart, "scratch"), "voxel": (voxel, "full"), "tiny": (voxel, "tiny")}
    file, variant = made[arg]
    c = file.get_config(variant)
    c.name = f"study_{arg}"
    c.demonstrations.seed = 0  # the demonstrations and the autoencoder are the same for all seeds
    c.evaluation.targets = ml_collections.ConfigDict()  # those there are the quick start's
    c.study = groups.make_config(STUDY).study
    # "broad" is not among them: at this c_kl and lambda it is "prowl".
    c.arms = (
        *("frozen_reference", "prowl", "passive", "uniform", "no_progress", "no_afs"),
        *("unanchored", "focused", "disagreement"),
    )
    c.phase2.update(cycles=10, updates=60)
    if arg != "tiny":
        c.inverse_dynamics.steps = 600  # trained once, to read actions off dreams (docs/metrics.md)
        c.metrics.frechet = "inverse_dynamics"
    if arg == "vizdoom":
        c.study.seeds = (0, 1, 2, 3)
        c.world_model.sampler_steps = 2
        c.phase2.update(learning_rate=1e-3, temperature=3.0, warm_up=30)
        c.phase2.update(trajectories=128, capacity=512, rescore="due", rescore_rows=128)
        # Enough steps of PPO that a weak anchor is seen to be one.
        c.adversary.update(learning_rate=1e-3, epochs=4, minibatches=4, kl_cost=0.2)
        c.adversary.kl_costs.update(weak=0.01, middle=0.2, strong=0.5)
    if arg == "voxel":
        c.arms = ("frozen_reference", "prowl", "passive", "unanchored", "focused")
        c.study.seeds = (0, 1, 2, 3, 4)
        # Demonstrators who hardly do anything but walk: what they seldom do can be learned, if somebody does it.
        c.env.update(task="stroll", held_out_tasks=("wander", "linger", "mine", "desert"))
        c.world_model.update(steps=2000, sampler_steps=2)
        # Few trajectories are learned by heart (python -m experiments.learnability): many of them, scored in turn.
        c.phase2.update(cycles=10, updates=100, learning_rate=1e-3, temperature=3.0, warm_up=30)
        c.phase2.update(trajectories=128, capacity=512, rescore="due", rescore_rows=128)
        c.study.event_rounds = 1
        c.evaluation.clips = 64
    if arg == "tiny":
        c.arms = ("frozen_reference", "prowl", "passive", "disagreement")
        c.study.seeds = (0, 1)
        c.study.update(event_rounds=1, event_steps=8, event_clips=2, event_episodes=2)
        c.env.held_out_tasks = ("linger",)
        c.demonstrations.update(episodes=4, episode_frames=24)
        c.world_model.steps = 4
        c.phase2.update(cycles=2, updates=2, warm_up=1, horizon=4)
        c.evaluation.update(clips=4, horizon=4, long_clips=2, long_horizon=8)
    return c
