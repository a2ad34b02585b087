"""Every configuration that cannot work is answered by lines that name what is off, before any work."""

import contextlib
import dataclasses
import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_world_model import FrameByFrame

from experiments.configs import minecraft
from experiments.configs import voxel as voxel_config
from experiments.configs.quickstart import get_config
from experiments.planning import consistency
from experiments.run import command_line, figure_writers
from experiments.torture import smallest, smallest_shipped
from prowl_jax.metrics.optical_flow import small_flow
from prowl_jax.models.dit import attention, sizes
from prowl_jax.rewards import REWARDS
from prowl_jax.rewards.dream import make_dream, make_score
from prowl_jax.settings import LARGEST
from prowl_jax.types import RealClip

# What the examples below are counted out for, whatever the quick start is set to.
BASE = {
    "world_model.chunk": 4,
    "world_model.window": 8,
    "world_model.patch": 2,
    "phase2.horizon": 8,
    "phase2.trajectories": 32,
    "phase2.batch": 16,
    "adversary.minibatches": 2,
    "evaluation.horizon": 8,
    "evaluation.long_horizon": 32,
    "demonstrations.episode_frames": 256,
    "reference.clip": 16,
}


WAN = {"autoencoder.kind": "wan", "autoencoder.weights": "random", "autoencoder.widths": (4, 4, 8, 8)}
UNET = {"autoencoder.kind": "pixels", "world_model.network": "unet"}
VOXEL = {"env.name": "voxel", "env.task": "wander", "env.held_out_tasks": ()}


def changed(values):
    """The quick start with changes such as ``{"world_model.steps": 3}``."""
    config = get_config("scratch")
    for key, value in (BASE | values).items():
        *groups, name = key.split(".")
        place = config
        for group in groups:
            place = place[group]
        place[name] = value
    return config.lock()


def said(config):
    """The lines that a broken configuration is answered with; none where it is sound."""
    stderr, code = io.StringIO(), 0
    with contextlib.redirect_stderr(stderr):
        try:
            command_line.validate(config, consistency.RULES)
        except SystemExit as exit:
            code = exit.code
    lines = stderr.getvalue().splitlines()
    assert code == (2 if lines else 0)
    return lines


@pytest.mark.parametrize("arg", ["full", "scratch", "tiny", "vizdoom"])
def test_the_shipped_configurations_pass(arg):
    assert said(get_config(arg)) == []


@pytest.mark.parametrize("arg", ["full", "small", "tiny"])
def test_the_configuration_of_minecraft_passes_with_recordings(arg):
    config = minecraft.get_config(arg)
    assert ["error: demonstrations.source is empty" in line for line in said(config)] == [True]
    config.demonstrations.source = "recordings"
    assert said(config) == []
    config.env.update(name="minerl")
    config.env.minerl.python = "python"
    assert said(config) == []


@pytest.mark.parametrize("arg", ["full", "tiny"])
def test_the_configuration_of_the_voxel_world_passes(arg):
    assert said(voxel_config.get_config(arg)) == []


@pytest.mark.parametrize("module", [smallest, smallest_shipped])
def test_what_is_broken_on_purpose_is_whole_before(module):
    assert said(module.get_config()) == []

OWN = {"env.name": "gymnasium", "env.task": "play", "env.held_out_tasks": ()}


BROKEN = [
    ({"world_model.steps": 0}, "world_model.steps=0 is not within 1..2147483647"),
    ({"log_every": 0}, "log_every=0 is not within"),
    ({"phase2.capacity": 0}, "phase2.capacity=0 is not within"),
    ({"evaluation.resamples": 2**31}, "evaluation.resamples=2147483648 is not within"),
    ({"seed": -1}, "seed=-1 is not within 0.."),
    ({"demonstrations.seed": -2}, "demonstrations.seed=-2 is neither -1"),
    ({"env.voxel.look": "clay"}, "env.voxel.look=clay is not one of textured, flat"),
    ({"env.voxel.hour": 24000}, "env.voxel.hour=24000 is not within -1..23999"),
    ({"demonstrations.gaps.back": 1.5}, "demonstrations.gaps.back=1.5 is not a share within 0..1"),
    ({"phase2.warm_up": -2}, "phase2.warm_up=-2 is not within 0.."),
    ({"demonstrations.episodes": 1}, "demonstrations.episodes=1 is not within 2.."),
    ({"mesh.data": 0}, "mesh.data=0 is neither -1 (all devices) nor 1 or more"),
    ({"on_nan": "hope"}, "on_nan=hope is not one of stop, rewind"),
    ({"checkpoint_keep": 0}, "checkpoint_keep=0 is not within 1.."),
    ({"rewinds": -1}, "rewinds=-1 is not within 0.."),
    ({"loss_limit": 0.0}, "loss_limit=0.0 is not a number above 0"),
    ({"mesh.fsdp": 0}, "mesh.fsdp=0 is not within"),
    ({"world_model.clean_prefix": 1.5}, "world_model.clean_prefix=1.5 is not a share within 0..1"),
    ({"phase2.staleness": -0.1}, "phase2.staleness=-0.1 is not a share"),
    ({"adversary.lambda_": float("nan")}, "adversary.lambda_=nan is not a share"),
    ({"phase2.temperature": 0.0}, "phase2.temperature=0.0 is not a number above 0"),
    ({"reference.learning_rate": -1e-3}, "reference.learning_rate=-0.001 is not a number above 0"),
    ({"adversary.learning_rate": float("inf")}, "adversary.learning_rate=inf is not a number above 0"),
    ({"world_model.rope_base": 0.0}, "world_model.rope_base=0.0 is not a number above 0"),
    ({"phase2.lambda_afs": -1.0}, "phase2.lambda_afs=-1.0 is not a number of at least 0"),
    ({"adversary.kl_bound": float("nan")}, "adversary.kl_bound=nan is not a finite number"),
    ({"name": "a/b"}, "name=a/b cannot be the name of a folder"),
    ({"name": ""}, "name= cannot be the name of a folder"),
    ({"autoencoder.widths": (32,)}, "autoencoder.widths=(32,) is not two whole numbers"),
    ({"autoencoder.widths": (32, 0)}, "autoencoder.widths=(32, 0) is not two whole numbers"),
    ({"autoencoder.kind": "vqgan"}, "autoencoder.kind=vqgan is not one of small, pixels, wan"),
    ({"autoencoder.weights": "a"}, "autoencoder.weights=a is read for autoencoder.kind=wan only"),
    (WAN | {"autoencoder.weights": ""}, "autoencoder.weights is empty; name Wan's vae/diffusion_pytorch_model"),
    (WAN | {"autoencoder.widths": (4, 4, 8)}, "autoencoder.widths=(4, 4, 8) is not two whole numbers"),
    (WAN | {"autoencoder.widths": (4, 4, 6, 8)}, "autoencoder.widths=(4, 4, 6, 8) is not two whole numbers"),
    (WAN | {"arms": ("prowl", "disagreement")}, "the head of predicted_error take a latent a frame"),
    (WAN | {"autoencoder.blocks": 0}, "autoencoder.blocks=0 is not within 1.."),
    (WAN | {"phase2.horizon": 64}, "and phase2.horizon=64"),
    (WAN | {"evaluation.long_horizon": 64}, "and evaluation.long_horizon=64"),
    (
        WAN | VOXEL | {"phase2.program": "device"},
        "phase2.program=device keeps a latent a frame on the device; with autoencoder.kind=wan set",
    ),
    ({"world_model.network": "gan"}, "world_model.network=gan is not one of dit, unet"),
    (WAN | {"arms": ("predicted_error",)}, "the head of predicted_error take a latent a frame"),
    ({"world_model.objective": "shortcut", "world_model.sampler_steps": 3}, "takes 1, 2, 4 ... "),
    (UNET | {"world_model.objective": "shortcut"}, "of a unet world_model.unet.sampler_levels such as (1.0, 0.5, 0.0)"),
    ({"world_model.shortcut.most": 2**31}, "world_model.shortcut.most=2147483648 is not a power of two"),
    ({"world_model.shortcut.most": 6}, "world_model.shortcut.most=6 is not a power of two"),
    ({"world_model.objective": "guess"}, "world_model.objective=guess is not one of diffusion, shortcut"),
    ({"world_model.objective": "shortcut", "world_model.weights": "w"}, "of a dit know no lengths of steps"),
    ({"world_model.unet.dropout": 1.0}, "world_model.unet.dropout=1.0 is no share below 1"),
    ({"world_model.network": "unet"}, "world_model.unet.motion=True moves pixels; set autoencoder.kind=pixels, or"),
    ({"base": "a", "world_model.weights": "b"}, "base=a stands in phase 1's place and world_model.weights=b begins it"),
    (WAN | {"world_model.network": "unet"}, "world_model.network=unet takes a latent a frame, which autoencoder"),
    ({"autoencoder.downsampling": 2}, "autoencoder.downsampling=2 is not one of 8, 4"),
    (UNET | {"phase2.trainable": "lora", "phase2.lora_rank": 33}, "lora_rank=33 is more than the channels of a level"),
    (UNET | {"dry_run": True}, "dry_run=True counts the steps of a transformer; world_model.network=unet is none"),
    (UNET | {"world_model.action_text": "a"}, "world_model.action_text=a is read by world_model.network=dit only"),
    (UNET | {"env.frame_height": 40}, "env.frame_height=40 and env.frame_width=64 do not halve into the levels of"),
    ({"world_model.unet.blocks": (1, 2)}, "world_model.unet: widths and blocks, motion_widths and motion_blocks need"),
    ({"world_model.unet.sampler_levels": (1.0, 0.5)}, "sampler_levels=(1.0, 0.5) does not fall from 1 to 0"),
    ({"world_model.unet.own_frames": (1, 1, 4)}, "world_model.unet.own_frames=(1, 1, 4) and own_since=(0.0, 0.1, 0.3)"),
    (
        UNET | {"world_model.unet.predict_residual": True, "world_model.unet.motion": False},
        "world_model.unet.predict_residual=True is of what the motion misses",
    ),
    ({"world_model.unet.own_by": "dream"}, "world_model.unet.own_by=dream is not one of answer, sampler"),
    (UNET | {"world_model.batch": 3}, "own_frames=(1, 2, 4) and own_since=(0.0, 0.1, 0.3) must rise together, from"),
    ({"world_model.unet.levels.lowest": 1.0}, "world_model.unet.levels.lowest=1.0 is not a level above 0 and below 1"),
    ({"world_model.fall": 0.0}, "world_model.fall=0.0 is not a share above 0 and at most 1"),
    ({"arms": ("prowl", "vpt")}, "arms=('prowl', 'vpt') holds something other than frozen_reference, prowl"),
    ({"arms": ("prowl", "prowl")}, "each at most once"),
    ({"env.name": "doom"}, "env.name=doom is not one of vizdoom, voxel, craftax, minerl, gymnasium, recordings, clips"),
    ({"env.name": "craftax", "env.task": "dig"}, "env.task=dig is not one of wander"),
    (
        {"env.name": "craftax", "env.task": "wander", "env.held_out_tasks": ("dig",)},
        "env.held_out_tasks=('dig',) holds something other than wander, restless",
    ),
    (
        {"env.name": "recordings", "demonstrations.play": "plays"},
        "demonstrations.play=plays is of a game that is played on the page; env.name=recordings reads",
    ),
    ({"env.name": "voxel"}, "env.task=explore is not one of wander"),
    (
        {"env.name": "voxel", "env.task": "wander"},
        "env.held_out_tasks=('look_around', 'gather', 'freedoom') holds something other than wander, stroll",
    ),
    ({"env.voxel.worlds": 0}, "env.voxel.worlds=0 is not within"),
    ({"phase2.program": "tpu"}, "phase2.program=tpu is not one of host, device"),
    ({"phase2.program": "device"}, "phase2.program=device needs an environment on the device, env.name=voxel"),
    ({"phase2.cycles_per_call": 0}, "phase2.cycles_per_call=0 is not within"),
    ({"demonstrations.source": "a"}, "demonstrations.source=a is read for env.name=minerl or recordings only"),
    ({"reference.weights": "a"}, "reference.weights=a is read for env.name=minerl or recordings only"),
    ({"evaluation.action_prior": "a"}, "evaluation.action_prior=a is read for env.name=minerl or recordings only"),
    ({"env.name": "recordings"}, "demonstrations.source is empty; name a folder of recordings"),
    (
        {"env.name": "clips", "env.task": "recordings", "env.held_out_tasks": ()},
        "env.clips.path is empty; name a clip store",
    ),
    (
        {"env.name": "clips", "env.clips.path": "a", "env.held_out_tasks": ()},
        "env.task=explore is not one of recordings",
    ),
    (
        {"env.name": "clips", "env.task": "recordings", "env.clips.path": "a", "env.held_out_tasks": ("gather",)},
        "env.held_out_tasks=('gather',) holds something other than recordings",
    ),
    (
        {"env.name": "recordings", "demonstrations.source": "a", "env.held_out_tasks": ("gather",)},
        "env.held_out_tasks=('gather',) must be empty: recordings of one task are read",
    ),
    ({"env.name": "minerl", "env.task": "MineRLBasaltFindCave-v0"}, "env.minerl.python is empty; name the Python"),
    ({"env.name": "minerl", "env.minerl.python": "python", "env.task": "a/b"}, "env.task=a/b cannot be the name of"),
    (
        {"env.name": "minerl", "env.minerl.python": "python", "env.task": "a", "env.held_out_tasks": ("",)},
        "env.held_out_tasks=('',) holds what cannot be the name of a folder",
    ),
    ({"env.minerl.episode_steps": -1}, "env.minerl.episode_steps=-1 is not within 0.."),
    ({"env.task": "explor"}, "env.task=explor is not one of explore"),
    ({"env.task": "gather", "env.held_out_tasks": ()}, "env.task=gather is not one of explore"),
    ({"env.held_out_tasks": ("moon",)}, "env.held_out_tasks=('moon',) holds something other than explore, look_a"),
    ({"env.held_out_tasks": ("explore",)}, "env.task=explore is trained on, so it cannot stand in env.held_out_"),
    ({"world_model.size": "XXL"}, "world_model.size=XXL is not one of XXS, XXS2, XS, Ti, S, B"),
    ({"world_model.attention": "flash"}, "world_model.attention=flash is not one of einsum, xla, cudnn"),
    ({"world_model.attention": "cudnn"}, "world_model.attention=cudnn wants world_model.dtype=bfloat16"),
    ({"world_model.dtype": "float16"}, "world_model.dtype=float16 is not one of float32, bfloat16"),
    ({"world_model.cache": "none"}, "world_model.cache=none is not one of window, rolling"),
    ({"metrics.flow": "raft"}, "metrics.flow=raft is not one of small, sea_raft"),
    (
        {"metrics.flow": "sea_raft"},
        "metrics.flow_weights is empty; name SEA-RAFT's weights (python -m experiments.conv",
    ),
    ({"metrics.flow_weights": "a"}, "metrics.flow_weights=a is read for metrics.flow=sea_raft only"),
    ({"metrics.frechet": "i3d"}, "metrics.frechet=i3d is neither empty (no Frechet distance) nor one of inverse_dy"),
    ({"metrics.frechet": "inverse_dynamics"}, "metrics.frechet=inverse_dynamics needs that model; set inverse_"),
    ({"metrics.frechet": "lpips_trunk"}, "metrics.frechet=lpips_trunk needs metrics.lpips_weights (python -m experi"),
    ({"inverse_dynamics.window": 3}, "inverse_dynamics.window=3 is not an even number of at least 2 frames"),
    ({"inverse_dynamics.clip": 1}, "inverse_dynamics.clip=1 is not within 2.."),
    ({"inverse_dynamics.steps": 9, "inverse_dynamics.clip": 300}, "episode_frames=256 is shorter than inverse_"),
    ({"best_of_n.best_by": "beauty"}, "best_of_n.best_by=beauty is not one of regret, afs"),
    ({"evaluation.modes.share": 0.0}, "evaluation.modes.share=0.0 is not a share above 0 and at most 1"),
    ({"evaluation.modes.window": 0}, "evaluation.modes.window=0 is not within 1.."),
    ({"phase2.priority": "best"}, "phase2.priority=best is not one of rank, softmax, power"),
    ({"phase2.rescore": "some"}, "phase2.rescore=some is not one of all, due"),
    ({"phase2.trainable": "all"}, "phase2.trainable=all is not one of action_conditioning, lora"),
    ({"phase2.lora_rank": 0}, "phase2.lora_rank=0 is not within 1.."),
    ({"phase2.lora_rank": 129}, "phase2.lora_rank=129 is more than the width of world_model.size=Ti"),
    ({"env.frame_height": 50}, "env.frame_height=50 is not a multiple of what a patch of the network is"),
    ({"env.frame_width": 72}, "env.frame_width=72 is not a multiple of what a patch of the network is"),
    ({"env.frame_width": 656}, "env.frame_width=656 is not within 16..640"),
    ({"env.frame_height": 8, "world_model.patch": 1}, "env.frame_height=8 is not within 16..480"),
    ({"world_model.window": 10}, "world_model.window=10 is not whole chunks of world_model.chunk=4"),
    ({"phase2.horizon": 6}, "phase2.horizon=6 is not whole chunks"),
    ({"evaluation.horizon": 9}, "evaluation.horizon=9 is not whole chunks"),
    ({"evaluation.long_horizon": 3}, "evaluation.long_horizon=3 is not whole chunks"),
    ({"world_model.window": 4}, "world_model.window=4 holds fewer than 2 chunks"),
    ({"demonstrations.episode_frames": 7}, "episode_frames=7 is shorter than world_model.window=8"),
    ({"reference.clip": 300}, "episode_frames=256 is shorter than reference.clip=300"),
    ({"demonstrations.episode_frames": 11}, "chunk) and evaluation.horizon=8"),
    ({"demonstrations.episode_frames": 35}, "chunk) and evaluation.long_horizon=32"),
    ({"adversary.minibatches": 3}, "phase2.trajectories=32 does not divide into adversary.minibatches=3"),
    ({"arms": ("prowl", "reducible")}, "phase2.oracle is empty"),
    ({"phase2.watched": ("reducible",)}, "phase2.watched=('reducible',): phase2.oracle is empty"),
    ({"phase2.score": "novelty"}, "phase2.score=novelty is not one of regret, afs, spread_corrected, energy,"),
    ({"phase2.watched": ("novelty",)}, "phase2.watched"),
    ({"nft.advantage_scale": "all"}, "nft.advantage_scale=all is not one of batch, group"),
    ({"nft.decay": 3}, "nft.decay=3 is not one of 1, 2"),
    ({"nft.branches": 1}, "nft.branches=1 is not within 2.."),
    ({"grpo.branches": 1}, "grpo.branches=1 is not within 2.."),
    ({"world_model.best_of": 0}, "world_model.best_of=0 is not within 1..64"),
    (
        {"world_model.best_of": 2, "world_model.cache": "rolling"},
        "world_model.best_of=2 runs the past anew for every chunk; set world_model.cache=window, not rolling",
    ),
    ({"inverse_dynamics.weights": "a"}, "inverse_dynamics.weights=a is read for env.name="),
    ({"nft.reward": "beauty"}, "nft.reward=beauty is not one of regret, afs, similarity, group_similarity"),
    ({"grpo.advantage_scale": "all"}, "grpo.advantage_scale=all is not one of batch, group"),
    ({"grpo.noise": "white"}, "grpo.noise=white is not one of flow_grpo, constant"),
    ({"grpo.reward": "beauty"}, "grpo.reward=beauty is not one of regret, afs, similarity, group_similarity"),
    ({"estimate": (1.0,)}, "estimate=(1.0,) is not (minutes of starting and compiling, of steps)"),
    ({**OWN, "env.gymnasium.bins": 4}, "env.gymnasium.bins=4 is not an odd number within 3..255"),
    ({**OWN, "env.gymnasium.law": "log"}, "env.gymnasium.law=log is not one of uniform, mu_law"),
    ({**OWN, "env.gymnasium.limits": ((1.0, -1.0),)}, "is not pairs of a number and a larger one"),
    ({**OWN, "env.gymnasium.hold": (0, 2)}, "env.gymnasium.hold=(0, 2) is not (least, most) steps, at least 1"),
    ({**OWN, "env.gymnasium.stroke": (3, 2)}, "env.gymnasium.stroke=(3, 2) is not (least, most) steps, at least 1"),
    ({**OWN, "env.gymnasium.arguments": "fast"}, "env.gymnasium.arguments=fast is no JSON object"),
    ({**OWN, "env.gymnasium.make": ""}, "env.gymnasium.make is empty; name an ID of Gymnasium, or module:function"),
    ({**OWN, "env.gymnasium.vector": True, "env.gymnasium.frame_skip": 2}, "vector=True skips no frames: frame_skip=1"),
    ({**OWN, "env.task": "fly"}, "env.task=fly is not one of play"),
    ({**OWN, "env.held_out_tasks": ("fly",)}, "holds something other than play, restless, each at most once"),
    ({"phase2.branches": 5}, "phase2.trajectories=32 are not whole groups of phase2.branches=5"),
    ({"phase2.branch_baseline": "mean"}, "branch_baseline=mean is not one of none, siblings, scaled, reference"),
    ({"phase2.branch_baseline": "siblings"}, "phase2.branch_baseline=siblings needs phase2.branches of 2 or more"),
    ({"phase2.keep_cycles": (0,)}, "phase2.keep_cycles=(0,) are not whole numbers of at least 1"),
    (
        {"phase2.keep_cycles": (1,), "phase2.program": "device", "phase2.cycles_per_call": 2},
        "phase2.keep_cycles=(1,) are not all ends of calls of phase2.cycles_per_call=2 cycles",
    ),
    ({"phase2.pat_share": 0.97}, "phase2.pat_share=0.97 leaves no row of phase2.batch=16 for the demonstrations"),
]


@pytest.mark.parametrize("values, line", BROKEN, ids=lambda v: str(v)[:40])
def test_each_mistake_is_named(values, line):
    lines = said(changed(values))
    assert any(line in answer for answer in lines), lines
    assert all(answer.startswith("error: ") for answer in lines)


def test_a_target_of_no_check_is_told_the_nearest():
    config = get_config().unlock()
    config.evaluation.targets.update(minuts=3.0, peak_memory_gb=1.0)
    (line,) = said(config)
    assert line == "error: evaluation.targets.minuts is no check; did you mean 'minutes'?"
    config.evaluation.targets = {"beauty": 1.0}
    (line,) = said(config)
    assert line.startswith("error: evaluation.targets.beauty is no check; there are autoencoder_psnr_db, regret_over_")


def test_a_head_that_does_not_split_is_named(monkeypatch):
    for width, heads in ((100, 3), (36, 4), (16, 4)):
        monkeypatch.setitem(consistency.DIT_SIZES, "odd", {"width": width, "heads": heads})
        (line,) = said(changed({"world_model.size": "odd"}))
        assert "world_model.size=odd: its head width does not split" in line


def test_a_logger_that_is_not_installed_is_named_and_one_that_is_not_asked_for_is_not(monkeypatch):
    monkeypatch.setattr(figure_writers, "installed", lambda package: False)
    assert said(changed({})) == []
    assert said(changed({"log.tensorboard": True, "log.wandb": "mine"})) == [
        "error: log.tensorboard=True needs tensorboardX, which is not installed: pip install '.[tensorboard]'",
        "error: log.wandb=mine needs wandb, which is not installed: pip install '.[wandb]'",
    ]
    monkeypatch.setattr(figure_writers, "installed", lambda package: True)
    assert said(changed({"log.tensorboard": True, "log.wandb": "mine"})) == []


def test_every_rule_has_an_example():
    broken = [changed(values) for values, _ in BROKEN]
    unbroken = [message for condition, message in consistency.RULES if all(map(condition, broken))]
    # Rules made alike from a list of keys have an example for the list, not for every key.
    alike = ("is not within", "is not a share", "is not a number", "is not a finite", "is not installed")
    texts = [message for message in unbroken if not callable(message)]
    assert [m for m in texts if not any(words in m for words in alike)] == [
        "world_model.size={config.world_model.size}: its head width does not split for 3-D RoPE"
    ]


def test_all_mistakes_are_told_at_once_and_each_once():
    lines = said(changed({"world_model.chunk": 0, "phase2.batch": -4, "env.task": "x", "seed": -3}))
    assert len(lines) == 4 and len(set(lines)) == 4


def test_any_even_number_of_trajectories_and_any_capacity_are_fine():
    assert said(changed({"phase2.trajectories": 34, "phase2.capacity": 101})) == []
    assert said(changed({"phase2.pat_share": 0.0, "arms": (), "env.held_out_tasks": ()})) == []


def numeric_leaves(config, prefix=""):
    for name, value in config.items():
        if hasattr(value, "items"):
            yield from numeric_leaves(value, f"{prefix}{name}.")
        elif type(value) in (int, float):
            yield prefix + name, type(value)


LEAVES = list(numeric_leaves(get_config("scratch")))
INTEGERS = st.integers(-3, 70) | st.sampled_from([-(10**400), -(2**63), 2**31, 2**64, 10**400])
CHANGES = st.lists(
    st.sampled_from(LEAVES).flatmap(
        lambda leaf: st.tuples(st.just(leaf[0]), INTEGERS if leaf[1] is int else st.floats())
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=200, deadline=None)
@given(CHANGES)
def test_any_numbers_pass_or_are_answered_in_lines(changes):
    changes = dict(changes)
    lines = said(changed(changes))
    assert all(line.startswith("error: ") and "{" not in line for line in lines)
    for key, value in changes.items():
        if isinstance(value, int) and (value < -1 or value > LARGEST):
            assert any(line.startswith(f"error: {key}=") for line in lines)


def test_every_named_size_has_heads_that_split():
    for size in sizes.DIT_SIZES.values():
        attention.rope_split(size["width"] // size["heads"])


@dataclasses.dataclass(frozen=True)
class ToyWorldModel(FrameByFrame):
    """Repeats the last latent; a frame is the first channel."""

    chunk: int = 2

    def rollout(self, params, key, context, actions, n_chunks, common_noise):
        return jnp.repeat(context[:, -1:], n_chunks * self.chunk, axis=1) + params

    def decode(self, params, latents):
        return jnp.repeat(jnp.repeat(jax.nn.sigmoid(latents), 8, axis=2), 8, axis=3)


def test_trajectories_are_scored_alike_whatever_their_number():
    """No rule asks for whole score batches: the last one is filled up, and nothing of it is seen."""
    rng = np.random.default_rng(0)
    items = RealClip(
        latents=rng.normal(size=(5, 4, 2, 2, 3)).astype(np.float32),
        actions=np.zeros((5, 4, 1), np.int32),
        frames=rng.integers(0, 255, (5, 4, 16, 16, 3), np.uint8),
        flow=rng.normal(size=(5, 2, 16, 16, 2)).astype(np.float16),
    )
    score = make_score(make_dream(ToyWorldModel(), 2, small_flow, common_noise=True), REWARDS, rows=2)
    forward, backward = score(0.5, items), score(0.5, jax.tree.map(lambda x: x[::-1], items))
    error = items.latents[:, 1:2] + 0.5 - items.latents[:, 2:]
    np.testing.assert_allclose(forward["regret"], np.sqrt(np.mean(error**2, axis=(1, 2, 3, 4))), rtol=1e-5)
    for name, one in forward.items():
        assert one.shape[0] == 5
        np.testing.assert_allclose(one, backward[name][::-1], rtol=1e-5, atol=1e-6)
