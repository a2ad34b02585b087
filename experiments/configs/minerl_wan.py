"""PROWL at the paper's scale: Wan2.1-T2V-1.3B, its autoencoder, VPT 2x and SEA-RAFT, in live Minecraft (docs/wan.md).

  python -m experiments.prowl_main --config=experiments/configs/minerl_wan.py --config.mesh.fsdp=8

Regimes after the file name: ``:broad`` (the default: c_kl 1.0, lambda 0.10), ``:focused`` (1.5, 0.25) and
``:unanchored`` (0.5, whose camera thrashes). What the paper gives is marked so below; it says neither the
size of frames nor steps, batches and rates, so those are ours. All files are looked for under ``weights/``.
``:rewards`` is NFT and GRPO in PROWL's place, with low-rank factors and VPT's inverse dynamics model as GRPO's judge.
Before any of that is there, ``--config.dry_run=True`` says on any machine what a step needs. This has not
run at full size (docs/limits.md). ``:reduced`` and ``:rewards_reduced`` are the same code at 2 layers in the voxel
world, in a few minutes, with random weights: their figures mean nothing.
"""

import ml_collections

from experiments.configs import quickstart

REWARDS = "rewards"
"""Beside the regimes: low-rank NFT and GRPO with K = 16, PersistWorld's and RLIR's number (docs/post_training.md)."""

REGIMES = {"unanchored": (0.5, 0.10), "broad": (1.0, 0.10), "focused": (1.5, 0.25)}
"""Name -> (c_kl, lambda_AFS): the paper's, but for the lambda of ``unanchored``."""


def get_config(arg="broad"):
    """A regime or ``rewards`` at full size, or ``reduced``, ``rewards_reduced``: as small as it goes, for tests."""
    small = {"reduced": False, f"{REWARDS}_reduced": True}
    if arg not in (*REGIMES, REWARDS, *small):
        raise ValueError(f"minerl_wan has the variants {', '.join((*REGIMES, REWARDS, *small))}, not {arg!r}")
    c = quickstart.get_config("tiny" if arg in small else "scratch")
    c.name = f"minerl_wan_{arg}"
    c.autoencoder.kind = "wan"  # paper
    c.world_model.update(action_modulation=False, rope_base=10000.0)  # as Wan's transformer
    c.world_model.update(chunk=3, shift=5.0, sampler_shift=5.0)  # paper: 3 latents, 0.6 s
    c.adversary.kl_costs.update(weak=0.5, middle=1.0, strong=1.5)  # paper; the regimes as arms of one run
    c.adversary.kl_cost, c.phase2.lambda_afs = REGIMES.get(arg, REGIMES["broad"])
    c.evaluation.targets = ml_collections.ConfigDict()  # those there are the quick start's
    if arg in small:
        _shrink(c)
        if small[arg]:
            _rewards(c, branches=2, prefix=1, rank=2)
            c.inverse_dynamics.steps = 2  # VPT's model reads Minecraft alone
        return c

    c.env.update(name="minerl", task="MineRLBasaltFindCave-v0", held_out_tasks=(), num_envs=16)  # paper: FindCave
    c.env.update(frame_height=352, frame_width=640)  # MineRL's 640x360, cut to whole patches
    c.env.minerl.update(python="weights/minerl/bin/python", episode_steps=3600)
    c.demonstrations.update(source="weights/basalt_find_cave", episode_frames=400)
    c.autoencoder.update(channels=16, widths=(96, 192, 384, 384), blocks=2)
    c.autoencoder.weights = "weights/Wan2.1-T2V-1.3B-Diffusers/vae/diffusion_pytorch_model.safetensors"
    c.world_model.update(
        size="wan1.3b",
        weights="weights/Wan2.1-T2V-1.3B-Diffusers/transformer",
        action_text="weights/action_text.safetensors",
        window=21,  # paper
        attention="cudnn",  # blocked on a TPU
        dtype="bfloat16",
        remat=True,
        steps=20000,
        batch=64,
        learning_rate=1e-5,
        warm_up=500,
        ema_decay=0.999,
        clean_prefix=0.5,
        sampler_steps=10,
    )
    c.reference.update(weights="weights/foundation-model-2x.safetensors", batch=4)  # paper: VPT 2x
    c.adversary.update(learning_rate=3e-5, epochs=2, minibatches=4)  # the rate: paper
    c.phase2.update(
        cycles=50,
        trajectories=16,
        horizon=3,
        updates=100,
        batch=16,
        pat_share=0.5,  # paper
        capacity=256,  # paper
        learning_rate=1e-5,
        ema_decay=0.99,
        temperature=0.3,
    )
    c.metrics.update(flow="sea_raft", flow_weights="weights/sea_raft_m.safetensors")  # paper
    c.evaluation.update(clips=64, horizon=3, long_clips=30, long_horizon=54)  # paper: 64; 18 chunks, 30
    c.checkpoint_every = 1000
    if arg == REWARDS:
        _rewards(c, branches=16, prefix=9, rank=32)  # PersistWorld's K and P; rank of DiffusionNFT's code
        c.inverse_dynamics.weights = "weights/4x_idm.safetensors"  # RLIR: VPT's
        c.phase2.update(updates=12, batch=128, learning_rate=3e-4)  # a group a device of eight; DiffusionNFT's rate
    return c


def _rewards(c, branches, prefix, rank):
    """NFT as PersistWorld's, GRPO as RLIR's; both train low-rank factors of all attention, and the adapter."""
    c.arms = ("nft", "grpo")
    c.nft.update(branches=branches, prefix=prefix, reward="group_similarity")
    c.grpo.update(branches=branches, prefix=prefix, reward="inverse_dynamics")
    c.phase2.update(trainable="lora", lora_rank=rank)


def _shrink(c):
    c.env.update(name="voxel", task="wander", held_out_tasks=(), num_envs=4, frame_height=32, frame_width=48)
    c.env.voxel.worlds = 2
    c.demonstrations.update(episodes=4, episode_frames=40)
    c.autoencoder.update(weights="random", channels=4, widths=(4, 4, 8, 8), blocks=1)
    c.world_model.update(size="XXS2", window=6, steps=4)
    c.inverse_dynamics.steps = 0
    c.metrics.frechet = ""
    c.reference.steps = 4
    c.phase2.update(cycles=1, horizon=3)
    c.evaluation.update(clips=4, horizon=3, long_clips=2, long_horizon=6)
