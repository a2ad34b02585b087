"""What a configuration must satisfy; every broken rule is one line, before any work.

A setting's own check stands beside the setting. Here is what spans several of them; such a rule holds its peace where
one of its values is out of range by itself: that has a line of its own.
"""

from experiments.configs.default import GROUPS
from experiments.evaluation.settings import unknown_targets
from experiments.run import groups
from experiments.run.groups import value_of
from experiments.stages.arms import OF_SINGLE_FRAMES, asks_oracle
from experiments.stages.build.world_model import FRAMES_PER_LATENT
from prowl_jax.diffusion.shortcut import POWER_OF_TWO
from prowl_jax.envs import registry
from prowl_jax.models.dit.sizes import DIT_SIZES
from prowl_jax.models.unet.world_model import even_levels, powers
from prowl_jax.rewards import OF_BRANCHES, OF_JUDGE, REWARDS
from prowl_jax.settings import LARGEST, one_of, some_of

RECORDED = registry.names(lambda environment: environment.recordings)
ON_DEVICE = registry.names(lambda environment: environment.on_device())
RECORDED_KEYS = ("demonstrations.source", "reference.weights", "inverse_dynamics.weights", "evaluation.action_prior")
BRANCH_REWARDS = (*REWARDS, *OF_BRANCHES, *OF_JUDGE)


def _together(keys, condition):
    """``condition(config)``, asked only where all ``keys`` hold numbers within 1..LARGEST."""
    return lambda c: not all(1 <= value_of(c, key) <= LARGEST for key in keys) or condition(c)


def _whole_chunks(key):
    return (
        _together([key, "world_model.chunk"], lambda c: value_of(c, key) % c.world_model.chunk == 0),
        f"{key}={{config.{key}}} is not whole chunks of world_model.chunk={{config.world_model.chunk}}",
    )


def _side(c):
    """Pixels of a frame's side for one of a latent's."""
    return {"pixels": c.autoencoder.block, "small": c.autoencoder.downsampling}.get(c.autoencoder.kind, 8)


def _whole_patches(key):
    return (
        _together([key, "world_model.patch"], lambda c: value_of(c, key) % (_side(c) * _patch(c)) == 0),
        f"{key}={{config.{key}}} is not a multiple of what a patch of the network is wide: pixels of a latent (8, or "
        "autoencoder.downsampling, of kind=pixels autoencoder.block) by world_model.patch={config.world_model.patch} "
        "of a dit",
    )


def _patch(c):
    return c.world_model.patch if c.world_model.network == "dit" else 1


def _episode_holds(key, with_context, in_latents=True):
    """An episode is long enough for what ``key`` asks, after the context where ``with_context``."""

    def condition(c):
        context = c.world_model.window - c.world_model.chunk if with_context else 0
        stride = FRAMES_PER_LATENT.get(c.autoencoder.kind, 1) if in_latents else 1
        return c.demonstrations.episode_frames >= 1 + stride * (max(context, 0) + value_of(c, key) - 1)

    keys = ["demonstrations.episode_frames", "world_model.window", "world_model.chunk", key]
    before = "the context (world_model.window - world_model.chunk) and " if with_context else ""
    return (
        _together(keys, condition),
        (
            "demonstrations.episode_frames={config.demonstrations.episode_frames} is shorter than "
            f"{before}{key}={{config.{key}}}"
        ),
    )


def _head_splits(c):
    """3-D RoPE gives each of three axes an even part of a head."""
    size = DIT_SIZES.get(c.world_model.size)
    if size is None:
        return True
    head, rest = divmod(size["width"], size["heads"])
    return rest == 0 and head % 2 == 0 and head >= 6


def _only_where_recorded(key):
    """``key`` is empty unless people's recordings are the demonstrations."""
    return (
        lambda c: c.env.name in RECORDED or not value_of(c, key),
        f"{key}={{config.{key}}} is read for env.name={' or '.join(RECORDED)} only",
    )


def _where(asked, rule):
    """``rule``, only where ``asked(config)``."""
    condition, words = rule
    return lambda c: not asked(c) or condition(c), words


def _has_oracle(c):
    """Whether it is a study that trains an oracle of its own, which ``study/oracle.py`` hands to the arms that ask."""
    return "study" in c and "oracle" in c.study.oracles


def _wan(c):
    return c.autoencoder.kind == "wan"


def _stages(c):
    """Widths of an autoencoder's stages: two of the small one, four of Wan's, multiples of the first."""
    widths = c.autoencoder.widths
    if not all(1 <= width <= LARGEST for width in widths):
        return False
    if _wan(c):
        return len(widths) == 4 and all(width % widths[0] == 0 for width in widths)
    return len(widths) == 2


def _of_environment(environment):
    """Rules where it is the configured one: its own; and what is trained on and held out are its tasks, once each."""
    group, tasks = environment.group(), environment.tasks
    rules = [
        (lambda c, holds=holds: holds(value_of(c, group)), f"{group}.{words}") for holds, words in environment.checks
    ]
    if tasks is not None:
        trained = [name for name, held_out in tasks.items() if not held_out]
        rules += [
            (lambda c: c.env.task in trained, f"env.task={{config.env.task}} {one_of(trained).words}"),
            (
                lambda c: some_of(tasks).holds(c.env.held_out_tasks),
                f"env.held_out_tasks={{config.env.held_out_tasks}} {some_of(tasks).words}",
            ),
        ]
    return [_where(lambda c: c.env.name == environment.name, rule) for rule in rules]


def _own_frames(c):
    """Ever more frames from ever later shares of training on, from its start; a U-Net's batch holds them."""
    u = c.world_model.unet
    rises = [all(a < b for a, b in zip(v, v[1:], strict=False)) for v in (u.own_frames, u.own_since)]
    whole = len(u.own_frames) == len(u.own_since) > 0 and u.own_since[0] == 0 and u.own_since[-1] <= 1
    fits = c.world_model.network != "unet" or u.own_frames[-1] <= c.world_model.batch
    return whole and all(rises) and u.own_frames[0] >= 1 and fits


def _halves(c):
    """A grid of latents that halves as often as the U-Nets have levels but one."""
    u = c.world_model.unet
    levels = max(len(u.widths), len(u.motion_widths)) if u.motion else len(u.widths)
    block = _side(c) * 2 ** (levels - 1)
    return c.world_model.network != "unet" or not (c.env.frame_height % block or c.env.frame_width % block)


def _widths_and_blocks(c):
    """As many block counts as widths, in both U-Nets."""
    u = c.world_model.unet
    pairs = ((u.widths, u.blocks), (u.motion_widths, u.motion_blocks))
    return all(len(w) == len(b) > 0 and min(w) >= 1 and min(b) >= 1 for w, b in pairs)


def _narrowest(c):
    """Channels of the narrowest level of either U-Net."""
    u = c.world_model.unet
    return min((*u.widths, *u.motion_widths) if u.motion else u.widths)


def _even_steps(c):
    """What a network that takes shortcuts is asked for: a power of two of steps of one length."""
    w = c.world_model
    if w.objective != "shortcut" or not POWER_OF_TWO.holds(w.shortcut.most):
        return True
    if w.network == "unet":
        return tuple(w.unet.sampler_levels) in map(even_levels, powers(w.shortcut.most))
    return w.sampler_steps in powers(w.shortcut.most) and w.sampler_shift == 1


NAMES = (
    (
        _stages,
        (
            "autoencoder.widths={config.autoencoder.widths} is not two whole numbers of at least 1, or, with "
            "autoencoder.kind=wan, four, multiples of the first"
        ),
    ),
    (
        lambda c: not _wan(c) or c.autoencoder.weights,
        (
            "autoencoder.weights is empty; name Wan's vae/diffusion_pytorch_model.safetensors, or set it to random "
            "for a run whose pictures mean nothing"
        ),
    ),
    (
        lambda c: _wan(c) or not c.autoencoder.weights,
        "autoencoder.weights={config.autoencoder.weights} is read for autoencoder.kind=wan only",
    ),
    (
        lambda c: not _wan(c) or c.autoencoder.blocks != 0,
        "autoencoder.blocks={config.autoencoder.blocks} is not within 1.., which autoencoder.kind=wan needs",
    ),
    (
        lambda c: not _wan(c) or not {arm for arm in c.arms if arm in OF_SINGLE_FRAMES},
        "arms={config.arms}: the ensemble of disagreement and the head of predicted_error take a latent a frame, which "
        "autoencoder.kind=wan has not",
    ),
    *(
        (
            lambda c, method=method: c[method].reward in BRANCH_REWARDS,
            f"{method}.reward={{config.{method}.reward}} is not one of {', '.join(BRANCH_REWARDS)}",
        )
        for method in ("nft", "grpo")
    ),
    (
        lambda c: c.phase2.oracle or _has_oracle(c) or not [arm for arm in c.arms if asks_oracle(c, arm)],
        "arms={config.arms} with phase2.watched={config.phase2.watched}: phase2.oracle is empty; name the weights of a "
        "network that was trained on everything, or let a study train one (study.oracles)",
    ),
    *(rule for environment in registry.ENVIRONMENTS.values() for rule in _of_environment(environment)),
    (
        lambda c: c.env.name not in RECORDED or not c.demonstrations.play,
        "demonstrations.play={config.demonstrations.play} is of a game that is played on the page; "
        "env.name={config.env.name} reads demonstrations.source",
    ),
    *map(_only_where_recorded, RECORDED_KEYS),
    (
        lambda c: c.env.name not in RECORDED or c.demonstrations.source,
        "demonstrations.source is empty; name a folder of recordings (.mp4 and .jsonl) or an index of them",
    ),
    (
        lambda c: c.env.name not in RECORDED or not c.env.held_out_tasks,
        "env.held_out_tasks={config.env.held_out_tasks} must be empty: recordings of one task are read",
    ),
    (
        lambda c: c.env.task not in c.env.held_out_tasks,
        "env.task={config.env.task} is trained on, so it cannot stand in env.held_out_tasks as well",
    ),
    (
        lambda c: c.world_model.network == "dit" or not c.dry_run,
        "dry_run=True counts the steps of a transformer; world_model.network={config.world_model.network} is none",
    ),
    (
        lambda c: c.world_model.best_of <= 1 or c.world_model.network == "unet" or c.world_model.cache == "window",
        "world_model.best_of={config.world_model.best_of} runs the past anew for every chunk; set "
        "world_model.cache=window, not {config.world_model.cache}",
    ),
    (
        lambda c: c.world_model.network != "unet" or not _wan(c),
        "world_model.network=unet takes a latent a frame, which autoencoder.kind=wan has not",
    ),
    (
        lambda c: not c.world_model.unet.predict_residual or c.world_model.unet.motion,
        "world_model.unet.predict_residual=True is of what the motion misses; set it to False, or motion=True",
    ),
    (
        lambda c: c.world_model.network != "unet" or c.autoencoder.kind == "pixels" or not c.world_model.unet.motion,
        "world_model.unet.motion=True moves pixels; set autoencoder.kind=pixels, or motion=False over the latents of "
        "autoencoder.kind={config.autoencoder.kind}",
    ),
    (
        lambda c: c.world_model.network == "dit" or not c.world_model.action_text,
        "world_model.action_text={config.world_model.action_text} is read by world_model.network=dit only",
    ),
    (
        lambda c: _even_steps(c),
        "world_model.objective=shortcut takes 1, 2, 4 ... world_model.shortcut.most={config.world_model.shortcut.most} "
        "steps of one length: of a dit world_model.sampler_steps={config.world_model.sampler_steps} with "
        "world_model.sampler_shift=1, of a unet world_model.unet.sampler_levels such as (1.0, 0.5, 0.0)",
    ),
    (
        lambda c: c.world_model.objective != "shortcut" or c.world_model.network == "unet" or not c.world_model.weights,
        "world_model.objective=shortcut: world_model.weights of a dit know no lengths of steps; begin from nothing",
    ),
    (
        lambda c: not (c.base and c.world_model.weights),
        "base={config.base} stands in phase 1's place and world_model.weights={config.world_model.weights} begins it; "
        "set one of them",
    ),
    (
        lambda c: c.world_model.attention != "cudnn" or c.world_model.dtype == "bfloat16",
        "world_model.attention=cudnn wants world_model.dtype=bfloat16",
    ),
    (
        lambda c: c.phase2.program != "device" or c.env.name in ON_DEVICE,
        f"phase2.program=device needs an environment on the device, env.name={' or '.join(ON_DEVICE)}, "
        "not {config.env.name}",
    ),
    (
        lambda c: c.phase2.program != "device" or not _wan(c),
        "phase2.program=device keeps a latent a frame on the device; with autoencoder.kind=wan set phase2.program=host",
    ),
    (
        lambda c: not unknown_targets(c.evaluation.targets),
        lambda c: unknown_targets(c.evaluation.targets),
    ),
    (
        lambda c: c.metrics.flow != "sea_raft" or c.metrics.flow_weights,
        (
            "metrics.flow_weights is empty; name SEA-RAFT's weights (python -m experiments.convert sea_raft) "
            "or set metrics.flow=small"
        ),
    ),
    (
        lambda c: c.metrics.flow == "sea_raft" or not c.metrics.flow_weights,
        "metrics.flow_weights={config.metrics.flow_weights} is read for metrics.flow=sea_raft only",
    ),
    (
        lambda c: c.metrics.frechet != "inverse_dynamics" or c.inverse_dynamics.steps != 0,
        "metrics.frechet=inverse_dynamics needs that model; set inverse_dynamics.steps to more than 0",
    ),
    (
        lambda c: c.metrics.frechet != "lpips_trunk" or c.metrics.lpips_weights,
        "metrics.frechet=lpips_trunk needs metrics.lpips_weights (python -m experiments.convert lpips)",
    ),
)

SHAPES = (
    (
        _halves,
        "env.frame_height={config.env.frame_height} and env.frame_width={config.env.frame_width} do not halve into the "
        "levels of world_model.unet.widths",
    ),
    (
        _widths_and_blocks,
        "world_model.unet: widths and blocks, motion_widths and motion_blocks need as many numbers of at least 1 each",
    ),
    (
        _own_frames,
        "world_model.unet.own_frames={config.world_model.unet.own_frames} and "
        "own_since={config.world_model.unet.own_since} must rise together, from share 0 on, to at most "
        "world_model.batch",
    ),
    (_head_splits, "world_model.size={config.world_model.size}: its head width does not split for 3-D RoPE"),
    (
        lambda c: c.world_model.size not in DIT_SIZES or c.phase2.lora_rank <= DIT_SIZES[c.world_model.size]["width"],
        "phase2.lora_rank={config.phase2.lora_rank} is more than the width of "
        "world_model.size={config.world_model.size}",
    ),
    (
        lambda c: (
            c.world_model.network != "unet" or c.phase2.trainable != "lora" or c.phase2.lora_rank <= _narrowest(c)
        ),
        "phase2.lora_rank={config.phase2.lora_rank} is more than the channels of a level of world_model.unet",
    ),
    *map(_whole_patches, ("env.frame_height", "env.frame_width")),
    *map(_whole_chunks, ("world_model.window", "phase2.horizon", "evaluation.horizon", "evaluation.long_horizon")),
    (
        _together(
            ["world_model.window", "world_model.chunk"],
            lambda c: c.world_model.window >= 2 * c.world_model.chunk,
        ),
        (
            "world_model.window={config.world_model.window} holds fewer than 2 chunks of "
            "world_model.chunk={config.world_model.chunk}: one of context, one to predict"
        ),
    ),
    _episode_holds("world_model.window", with_context=False),
    _where(_wan, _episode_holds("phase2.horizon", with_context=True)),
    _episode_holds("reference.clip", with_context=False, in_latents=False),
    _where(
        lambda c: c.inverse_dynamics.steps != 0 or c.base,
        _episode_holds("inverse_dynamics.clip", with_context=False, in_latents=False),
    ),
    _episode_holds("evaluation.horizon", with_context=True),
    _episode_holds("evaluation.long_horizon", with_context=True),
    (
        _together(
            ["phase2.trajectories", "adversary.minibatches"],
            lambda c: c.phase2.trajectories % c.adversary.minibatches == 0,
        ),
        (
            "phase2.trajectories={config.phase2.trajectories} does not divide into "
            "adversary.minibatches={config.adversary.minibatches}"
        ),
    ),
    (
        _together(["phase2.trajectories", "phase2.branches"], lambda c: c.phase2.trajectories % c.phase2.branches == 0),
        (
            "phase2.trajectories={config.phase2.trajectories} are not whole groups of "
            "phase2.branches={config.phase2.branches}"
        ),
    ),
    (
        lambda c: (
            c.phase2.program != "device"
            or c.phase2.cycles_per_call < 1
            or all(cycle % c.phase2.cycles_per_call == 0 for cycle in c.phase2.keep_cycles)
        ),
        "phase2.keep_cycles={config.phase2.keep_cycles} are not all ends of calls of "
        "phase2.cycles_per_call={config.phase2.cycles_per_call} cycles",
    ),
    (
        _together(["phase2.branches"], lambda c: c.phase2.branches > 1 or c.phase2.branch_baseline == "none"),
        "phase2.branch_baseline={config.phase2.branch_baseline} needs phase2.branches of 2 or more",
    ),
    (
        _together(
            ["phase2.batch"],
            lambda c: not 0 <= c.phase2.pat_share <= 1 or round(c.phase2.pat_share * c.phase2.batch) < c.phase2.batch,
        ),
        (
            "phase2.pat_share={config.phase2.pat_share} leaves no row of "
            "phase2.batch={config.phase2.batch} for the demonstrations"
        ),
    ),
)

RULES = (*groups.rules(GROUPS), *NAMES, *SHAPES)
"""Pairs for ``command_line.validate``: the checks of all settings, and what spans several."""
