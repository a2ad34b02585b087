r"""The proof again, where errors can be mended: shipped weights as theta_0, gaps planted in actions, and a ceiling.

  python -m experiments.gate --weights=voxel_gaps                          # first: is there enough to mend?
  python -m experiments.study --config=experiments/configs/proof.py:voxel
  python -m experiments.study --config=experiments/configs/proof.py:vizdoom   # needs the weights of base_vizdoom.py
  python -m experiments.study --config=experiments/configs/proof.py:lora
  python -m experiments.study --config=experiments/configs/proof.py:dose \
    --config.study.dose.bases="('early.safetensors', 'voxel_gaps')"

Every arm of every seed begins with the same weights (``base``), and spends the same updates, tokens and environment
steps (where trajectories branch, as near as whole groups come: 0.5 % more); ``oracle`` and ``oracle_all`` are no arms:
they learn from wide data until they no longer improve. The study can be stopped and goes on, and writes
results/NAME.json and NAME.md after every seed. Reckoned are an hour and a half of one core a seed, and a quarter of an
hour for the oracles of all. ``:dose`` asks when hunting pays: fewer arms and seeds, with fewer and with more
trajectories, and from each of ``study.dose.bases``. ``:lora`` is the second block: low-rank updates in the place of the
action conditioning, fewer arms and seeds. ``:tiny`` is for tests: nothing that it prints means anything.

The settings were chosen on seed 100, which is none of the study's (docs/proof.md tells what was tried), and are frozen
since the commit before the first seed was run; in ViZDoom nothing is tuned.
"""

import ml_collections

from experiments.configs import base_vizdoom, base_voxel
from experiments.run import groups
from experiments.study.settings import STUDY

ARMS = (
    "frozen_reference", "prowl", "action_fidelity", "prowl_branched", "passive", "uniform", "unanchored", "focused",
)  # fmt: skip
"""With ``phase1``, which every study measures, and the oracles."""

RARE = {"strafe": 0.5, "back": 0.5, "fast_turn": 0.03, "fast_degrees": 3.0}
"""What the base model has never seen is done by the demonstrators of the study once in a hundred steps each: by them
pi_ref is cloned, as a prior of people has seen what a world model's recordings seldom contain, and of them half of
every batch is. Once in a thousand, a policy of 576 steps a cycle never finds it (a development seed said so)."""

DOSED = ("frozen_reference", "prowl", "action_fidelity")
"""Of which it is asked when hunting pays."""


def get_config(arg="voxel"):
    """The study in the world of blocks (``voxel``; ``dose`` and ``lora`` are of it), in ViZDoom (``vizdoom``), or the
    smallest (``tiny``).
    """
    if arg not in ("voxel", "vizdoom", "dose", "lora", "tiny"):
        raise ValueError(f"proof has the variants 'voxel', 'vizdoom', 'dose', 'lora' and 'tiny', not {arg!r}")
    file, variant = (base_vizdoom, "full") if arg == "vizdoom" else (base_voxel, "gaps")
    c = file.get_config("tiny" if arg == "tiny" else variant)
    c.name = f"proof_{arg}"
    c.arms = ARMS
    c.demonstrations.seed = 0  # that of the weights' worlds
    c.evaluation.targets = ml_collections.ConfigDict()
    c.study = groups.make_config(STUDY).study
    c.study.oracles = ("oracle", "oracle_all")
    c.phase2.watched = ("reducible",)  # how much of PAT is beyond learning, in every cycle
    if arg == "tiny":
        _tiny(c)
        return c
    c.base = "vizdoom" if arg == "vizdoom" else "voxel_gaps"
    c.env.num_envs = 16
    c.demonstrations.update(episodes=96, episode_frames=300, held_out_task_episodes=16)
    c.reference.steps = 800  # of pi_ref, cloned of these demonstrations; in ViZDoom where the weights bring none
    if arg != "vizdoom":
        c.demonstrations.gaps.update(RARE)
        c.reference.of_base = False
    c.inverse_dynamics.steps = 0  # voxel_gaps brings none, so no actions are read off dreams
    c.phase2.update(cycles=16, updates=120, batch=16, trajectories=64, capacity=192, warm_up=30, horizon=8)
    c.phase2.update(learning_rate=5e-4, temperature=3.0, rescore="due", rescore_rows=32, program="host")
    c.adversary.update(learning_rate=1e-3, epochs=4, minibatches=4, kl_cost=0.03)
    c.adversary.kl_costs.update(weak=0.0, middle=0.03, strong=0.2)
    c.evaluation.update(clips=48, horizon=8, long_clips=32, long_horizon=20)
    c.study.update(event_rounds=1, unseen_clips=96, by_cycle=(*DOSED, "prowl_branched"))
    c.phase2.keep_cycles, c.phase2.checkpoint_every = (2, 4, 8), 4
    if arg != "vizdoom":
        c.env.held_out_tasks = ("control", "wide", "mine", "desert")  # of these desert is a gap in places
        c.study.seeds = tuple(range(8))
    else:
        c.env.held_out_tasks = ("control", "wide", "look_around")
        c.study.seeds = tuple(range(5))
    if arg == "dose":
        c.arms, c.study.seeds, c.study.by_cycle = DOSED, (0, 1, 2), DOSED
        c.study.dose.update(trajectories=(32, 64, 128, 256), seeds=(0, 1, 2))
    if arg == "lora":
        c.arms, c.study.seeds, c.study.by_cycle = (*DOSED, "passive"), (0, 1, 2), DOSED
        c.phase2.update(trainable="lora", lora_rank=16)  # 23 % of the network, where action conditioning is 20 %
    return c


def _tiny(c):
    """As ``study.py:tiny``, with a world model trained in seconds in the weights' place."""
    c.arms = ("frozen_reference", "prowl")
    c.env.held_out_tasks = ("control",)
    c.study.seeds = (0, 1)
    c.study.update(event_rounds=1, event_steps=8, event_clips=2, event_episodes=2, unseen_clips=4)
    c.study.oracle.update(updates=4, look_every=2, episodes=2, frames=24, develop_clips=4)
    c.study.oracles, c.study.by_cycle, c.phase2.keep_cycles = ("oracle",), c.arms, (1,)
    c.demonstrations.update(episodes=4, episode_frames=24)
    c.inverse_dynamics.steps, c.metrics.frechet = 0, ""
    c.world_model.steps = 4
    c.phase2.update(cycles=2, updates=2, warm_up=1, horizon=4)
    c.evaluation.update(clips=4, horizon=4, long_clips=2, long_horizon=8)
