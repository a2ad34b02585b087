r"""Methods of post-training beside each other: one base, as many trained tokens, everything else that they spend told.

  python -m experiments.study --config=experiments/configs/post_training.py:voxel
  python -m experiments.study --config=experiments/configs/post_training.py:vizdoom

theta_0, passive fine-tuning, PROWL, NFT (PersistWorld), GRPO (RLIR) and the best of N, distilled, from the weights of
the proof, whose errors can be mended, on its demonstrations and with its settings, but for half of the updates.
``:voxel_combined`` is the same study with more arms, NFT and GRPO in the pasts that PROWL finds: it goes on where
``:voxel`` ended. Written are results/NAME.json and NAME.md, after every seed; a study that was stopped goes on. Before
it, ``experiments.probe`` and ``experiments.best_of`` say whether a reward has anything to teach
(docs/post_training.md). An hour and a half of one core a seed is reckoned, and as much for the combinations; nothing
has been measured. ``:tiny`` is for tests: nothing that it prints means anything; with
JAX_DISABLE_MOST_OPTIMIZATIONS=1 it ends in a few minutes.
"""

from experiments.configs import proof

ARMS = ("fine_tuned", "prowl", "nft", "grpo", "best_of_n")
"""With ``phase1``, theta_0, which every study measures."""

COMBINED = ("prowl_nft", "prowl_grpo", "prowl_nft_learnable", "prowl_grpo_learnable")
"""What nobody has tried: branches in pasts that PROWL found, also those whose dreams are told apart best."""


def get_config(arg="voxel"):
    """The comparison in the world of blocks (``voxel``), in ViZDoom (``vizdoom``), or the smallest (``tiny``)."""
    world, combined, _ = arg.partition("_combined")
    if world not in ("voxel", "vizdoom", "tiny") or arg != world + combined:
        raise ValueError(f"post_training has the variants voxel, vizdoom and tiny, each also as _combined, not {arg!r}")
    c, arg = proof.get_config(world), world
    c.name = f"post_training_{arg}"
    c.arms = ARMS + COMBINED * bool(combined)
    c.study.oracles = c.study.by_cycle = c.phase2.watched = c.phase2.keep_cycles = ()
    c.study.seeds = tuple(range(5))
    c.grpo.reward = "inverse_dynamics"  # RLIR
    c.grpo.update(noise="cps", strength=0.8)  # of three evaluations a frame the other forms leave noise in what is seen
    c.nft.fresh_every, c.grpo.fresh_every = 1, 2  # as their papers' own
    c.best_of_n.best_by = "group_similarity"  # as NFT's, so that what differs is how it is learned from
    if arg == "tiny":
        _tiny(c)
        return c
    c.study.update(dreams=4, unseen_clips=64)
    c.inverse_dynamics.steps = 2000  # the judge, where the weights bring none
    c.phase2.updates = 60  # half of the proof's: of NFT and GRPO each costs several dreams
    for method in (c.nft, c.grpo):
        method.update(branches=8, prefix=6)
    c.best_of_n.dreams = 4
    c.evaluation.update(long_clips=24, long_horizon=14 * c.phase2.horizon)  # PersistWorld's 14 steps
    return c


def _tiny(c):
    """A transformer over pixels in the convolutional network's place: it compiles faster."""
    c.study.update(dreams=2, unseen_clips=0, seeds=(0,))
    c.env.update(frame_height=32, frame_width=32)
    c.world_model.update(network="dit", steps=2)
    c.reference.steps = c.inverse_dynamics.steps = 1
    c.nft.update(branches=2, prefix=1)
    c.grpo.update(branches=2, prefix=1, fresh_every=0)
    c.best_of_n.dreams = 2
    c.phase2.update(cycles=1, updates=1, horizon=4)
    c.evaluation.update(long_horizon=14)
