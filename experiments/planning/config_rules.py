"""What a configuration must satisfy beyond types; every broken rule is one line, before any work.

``RULES`` are for ``command_line.validate``. This module knows no JAX, so that a mistake is
answered at once. A rule about several values holds its peace where one of them is out of range
by itself: that has a line of its own.
"""

import itertools
import math

from experiments.run import figure_writers
from experiments.stages.arms import ARMS
from prowl_jax.envs.vizdoom import TASKS
from prowl_jax.models.dit.sizes import DIT_SIZES

LARGEST = 2**31 - 1  # counters on the device are int32
# These, and VOXEL_TASKS, live in modules that import JAX; a test holds them against their originals.
PRIORITY_KINDS = ("rank", "softmax", "power", "uniform")
ATTENTION_KINDS = ("einsum", "xla", "cudnn", "blocked")
RESCORING_KINDS = ("all", "due")
ENSEMBLES = tuple(name for name, arm in ARMS.items() if arm.own.get("reward") == "disagreement")
"""The arms whose policy an ensemble pays."""
CACHES = ("window", "rolling")  # without "none", which is there to check "rolling" by

FRAMES_PER_LATENT = {"small": 1, "pixels": 1, "wan": 4}
"""Kind of autoencoder -> frames of a latent."""
FLOWS = ("small", "sea_raft")
FRECHET_NETWORKS = ("inverse_dynamics", "lpips_trunk")
TRAINABLE = ("action_conditioning", "lora")
NETWORKS = ("dit", "unet")

VOXEL_TASKS = {
    "wander": False,
    "stroll": False,
    "linger": False,
    "mine": True,
    "desert": True,
    "tundra": True,
    "caves": True,
}
"""Task -> whether it is held out."""

ENVIRONMENTS = ("vizdoom", "voxel", "minerl", "recordings")
PHASE2_PROGRAMS = ("host", "device")
MINECRAFT = ("minerl", "recordings")
HELD_OUT = {"vizdoom": {name: task.held_out for name, task in TASKS.items()}, "voxel": VOXEL_TASKS}
"""Environment -> task -> whether it is held out, never trained on."""


def _keys(**groups):
    """``_keys(env="a b")`` is ``["env.a", "env.b"]``."""
    return [f"{group}.{name}" for group, names in groups.items() for name in names.split()]


_COUNTS = _keys(
    env="num_envs workers frame_skip voxel.worlds",
    demonstrations="episode_frames held_out_task_episodes",
    autoencoder="block channels steps batch",
    world_model="patch chunk window steps batch sampler_steps unet.context unet.width",
    reference="features memory hidden steps batch clip",
    adversary="epochs minibatches ensemble.members ensemble.width ensemble.steps",
    phase2="cycles cycles_per_call trajectories horizon updates batch capacity lora_rank",
    inverse_dynamics="batch width features hidden",
    evaluation="clips horizon long_clips long_horizon resamples modes.window",
    mesh="fsdp",
)
_SHARES = _keys(
    demonstrations="held_out_fraction",
    world_model="ema_decay clean_prefix unet.context_noise unet.levels.pure unet.levels.context_share "
    "unet.levels.context_noise",
    adversary="lambda_",
    phase2="pat_share staleness ema_decay",
)
_POSITIVE = _keys(
    env="max_turn_degrees",
    autoencoder="learning_rate",
    world_model="learning_rate shift sampler_shift rope_base unet.residual unet.start_noise unet.levels.std",
    reference="learning_rate",
    adversary="learning_rate clip camera_alarm ensemble.learning_rate",
    inverse_dynamics="learning_rate",
    phase2="learning_rate temperature",
)
_NOT_NEGATIVE = _keys(
    autoencoder="kl_weight",
    world_model="weight_decay",
    adversary="kl_cost kl_costs.weak kl_costs.middle kl_costs.strong value_cost entropy_cost",
    phase2="lambda_afs",
    evaluation="modes.degrees",
)
_FINITE = _keys(adversary="final_kl_cost kl_bound", phase2="delta_scale")


def _get(config, key):
    for part in key.split("."):
        config = config[part]
    return config


def _each(keys, condition, words):
    """One rule a key: its value satisfies ``condition``, or else ``KEY=VALUE words``."""
    return [
        (lambda c, key=key: condition(_get(c, key)), f"{key}={{config.{key}}} {words}") for key in keys
    ]


def _integers(keys, low, high=LARGEST):
    return _each(keys, lambda v: low <= v <= high, f"is not within {low}..{high}")


def _one_of(key, names):
    return (lambda c: _get(c, key) in names, f"{key}={{config.{key}}} is not one of {', '.join(names)}")


def _together(keys, condition):
    """``condition(config)``, asked only where all ``keys`` hold numbers within 1..LARGEST."""
    return lambda c: not all(1 <= _get(c, key) <= LARGEST for key in keys) or condition(c)


def _whole_chunks(key):
    return (
        _together([key, "world_model.chunk"], lambda c: _get(c, key) % c.world_model.chunk == 0),
        f"{key}={{config.{key}}} is not whole chunks of world_model.chunk={{config.world_model.chunk}}",
    )


def _frame_side(key, largest):
    """A side of the frame: SSIM needs more than 10 pixels, the engine draws at most ``largest``."""
    return [
        *_integers([key], 16, largest),
        (
            _together([key, "world_model.patch"], lambda c: _get(c, key) % (8 * c.world_model.patch) == 0),
            f"{key}={{config.{key}}} is not a multiple of 8 * world_model.patch={{config.world_model.patch}}",
        ),
    ]


def _episode_holds(key, with_context, in_latents=True):
    """An episode is long enough for what ``key`` asks, after the context where ``with_context``."""

    def condition(c):
        context = c.world_model.window - c.world_model.chunk if with_context else 0
        stride = FRAMES_PER_LATENT.get(c.autoencoder.kind, 1) if in_latents else 1
        return c.demonstrations.episode_frames >= 1 + stride * (max(context, 0) + _get(c, key) - 1)

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


def _only_in_minecraft(key):
    """``key`` is empty unless the environment is Minecraft."""
    return (
        lambda c: c.env.name in MINECRAFT or not _get(c, key),
        f"{key}={{config.{key}}} is read for env.name={' or '.join(MINECRAFT)} only",
    )


def _where(environment, rule):
    """``rule``, asked only where this is the environment."""
    condition, words = rule
    return lambda c: c.env.name != environment or condition(c), words


def _where_trained(group, rule):
    """``rule``, asked only where ``group.steps`` is not 0."""
    condition, words = rule
    return lambda c: c[group].steps == 0 or condition(c), words


def _where_wan(rule):
    """``rule``, asked only with Wan's autoencoder."""
    condition, words = rule
    return lambda c: c.autoencoder.kind != "wan" or condition(c), words


def _stages(c):
    """Widths of an autoencoder's stages: two of the small one, four of Wan's, multiples of the first."""
    widths = c.autoencoder.widths
    if not all(1 <= width <= LARGEST for width in widths):
        return False
    if c.autoencoder.kind == "wan":
        return len(widths) == 4 and all(width % widths[0] == 0 for width in widths)
    return len(widths) == 2


def _tasks(environment):
    """What is trained on and what is held out are tasks of this environment, each at most once."""
    tasks = HELD_OUT[environment]
    rules = (
        _one_of("env.task", tuple(name for name, held_out in tasks.items() if not held_out)),
        *_each(
            ["env.held_out_tasks"],
            lambda v: set(v) <= set(tasks) and len(set(v)) == len(v),
            f"holds something other than {', '.join(tasks)}, each at most once",
        ),
    )
    return [_where(environment, rule) for rule in rules]


def _falls(levels):
    """From 1 down to 0, each lower than the one before."""
    falling = all(a > b for a, b in itertools.pairwise(levels))
    return len(levels) > 1 and levels[0] == 1 and levels[-1] == 0 and falling


def _own_frames(c):
    """Ever more frames from ever later shares of the training on, beginning at its start; a batch holds them."""
    u = c.world_model.unet
    rises = [all(a < b for a, b in zip(v, v[1:], strict=False)) for v in (u.own_frames, u.own_since)]
    whole = len(u.own_frames) == len(u.own_since) > 0 and u.own_since[0] == 0 and u.own_since[-1] <= 1
    return whole and all(rises) and u.own_frames[0] >= 1 and u.own_frames[-1] <= c.world_model.batch


def _halves(c):
    """A grid of latents that halves as often as the U-Nets have levels but one."""
    u = c.world_model.unet
    block = c.autoencoder.block * 2 ** (max(len(u.widths), len(u.motion_widths)) - 1)
    return c.world_model.network != "unet" or not (c.env.frame_height % block or c.env.frame_width % block)


def _widths_and_blocks(c):
    """As many block counts as widths, in both U-Nets."""
    u = c.world_model.unet
    pairs = ((u.widths, u.blocks), (u.motion_widths, u.motion_blocks))
    return all(len(w) == len(b) > 0 and min(w) >= 1 and min(b) >= 1 for w, b in pairs)


def _installed(key, package):
    """``log.key`` asks for something that is installed."""
    return (
        lambda c: not c.log[key] or figure_writers.installed(package),
        f"log.{key}={{config.log.{key}}} needs {package}, which is not installed: pip install '.[{key}]'",
    )


def _file_name(name):
    return name not in ("", ".", "..") and not set(name) & set("/\\\0")


RULES = (
    *_integers([*_COUNTS, "log_every", "checkpoint_every", "checkpoint_keep"], 1),
    *_integers(
        [
            *(
                "seed",
                "rewinds",
                "env.restarts",
                "env.minerl.episode_steps",
                "env.voxel.episode_steps",
                "autoencoder.blocks",
            ),
            *("world_model.warm_up", "phase2.warm_up", "evaluation.training_clips"),
            *("phase2.rescore_age", "phase2.rescore_rows", "inverse_dynamics.steps"),
        ],
        0,
    ),
    *_integers(["demonstrations.episodes", "inverse_dynamics.clip"], 2),
    *_each(
        ["inverse_dynamics.window"],
        lambda v: 2 <= v <= LARGEST and v % 2 == 0,
        "is not an even number of at least 2 frames",
    ),
    *_each(["evaluation.modes.share"], lambda v: 0 < v <= 1, "is not a share above 0 and at most 1"),
    *_each(["demonstrations.seed"], lambda v: -1 <= v <= LARGEST, "is neither -1 (the run's) nor 0 or more"),
    *_each(["mesh.data"], lambda v: v == -1 or 1 <= v <= LARGEST, "is neither -1 (all devices) nor 1 or more"),
    *_each(_SHARES, lambda v: 0 <= v <= 1, "is not a share within 0..1"),
    *_each([*_POSITIVE, "loss_limit"], lambda v: 0 < v < math.inf, "is not a number above 0"),
    *_each(_NOT_NEGATIVE, lambda v: 0 <= v < math.inf, "is not a number of at least 0"),
    *_each(_FINITE, lambda v: -math.inf < v < math.inf, "is not a finite number"),
    *_each(["name"], _file_name, "cannot be the name of a folder"),
    (
        _stages,
        (
            "autoencoder.widths={config.autoencoder.widths} is not two whole numbers of at least 1, or, with "
            "autoencoder.kind=wan, four, multiples of the first"
        ),
    ),
    # Names
    *_each(
        ["arms"],
        lambda v: set(v) <= set(ARMS) and len(set(v)) == len(v),
        f"holds something other than {', '.join(ARMS)}, each at most once",
    ),
    _one_of("env.name", ENVIRONMENTS),
    _one_of("autoencoder.kind", tuple(FRAMES_PER_LATENT)),
    (
        lambda c: c.autoencoder.kind != "wan" or c.autoencoder.weights,
        (
            "autoencoder.weights is empty; name Wan's vae/diffusion_pytorch_model.safetensors, or set it to random "
            "for a run whose pictures mean nothing"
        ),
    ),
    (
        lambda c: c.autoencoder.kind == "wan" or not c.autoencoder.weights,
        "autoencoder.weights={config.autoencoder.weights} is read for autoencoder.kind=wan only",
    ),
    _where_wan(_integers(["autoencoder.blocks"], 1)[0]),
    (
        lambda c: c.autoencoder.kind != "wan" or not {arm for arm in c.arms if arm in ENSEMBLES},
        "arms={config.arms}: the ensemble of disagreement takes a latent a frame, which autoencoder.kind=wan has not",
    ),
    *_tasks("vizdoom"),
    *_tasks("voxel"),
    *_each(["env.task"], _file_name, "cannot be the name of a folder"),
    *_each(["env.held_out_tasks"], lambda v: all(map(_file_name, v)), "holds what cannot be the name of a folder"),
    (
        lambda c: c.env.name != "minerl" or c.env.minerl.python.split(),
        "env.minerl.python is empty; name the Python that MineRL is installed in (docs/minerl.md)",
    ),
    *map(_only_in_minecraft, ("demonstrations.source", "reference.weights", "evaluation.action_prior")),
    (
        lambda c: c.env.name not in MINECRAFT or c.demonstrations.source,
        "demonstrations.source is empty; name a folder of recordings (.mp4 and .jsonl) or an index of them",
    ),
    (
        lambda c: c.env.name not in MINECRAFT or not c.env.held_out_tasks,
        "env.held_out_tasks={config.env.held_out_tasks} must be empty: recordings of one task are read",
    ),
    (
        lambda c: c.env.task not in c.env.held_out_tasks,
        "env.task={config.env.task} is trained on, so it cannot stand in env.held_out_tasks as well",
    ),
    _one_of("world_model.network", NETWORKS),
    (
        lambda c: c.world_model.network == "dit" or not c.dry_run,
        "dry_run=True counts the steps of a transformer; world_model.network={config.world_model.network} is none",
    ),
    (
        lambda c: (c.world_model.network == "unet") == (c.autoencoder.kind == "pixels"),
        "world_model.network={config.world_model.network} and autoencoder.kind={config.autoencoder.kind}: unet works "
        "on pixels and nothing else does; set both or neither",
    ),
    (
        _halves,
        "env.frame_height={config.env.frame_height} and env.frame_width={config.env.frame_width} do not halve into the "
        "levels of world_model.unet.widths in blocks of autoencoder.block={config.autoencoder.block}",
    ),
    (
        _widths_and_blocks,
        "world_model.unet: widths and blocks, motion_widths and motion_blocks need as many numbers of at least 1 each",
    ),
    *_each(["world_model.unet.sampler_levels"], _falls, "does not fall from 1 to 0"),
    (
        _own_frames,
        "world_model.unet.own_frames={config.world_model.unet.own_frames} and "
        "own_since={config.world_model.unet.own_since} must rise together, from share 0 on, to at most "
        "world_model.batch",
    ),
    *_each(["world_model.fall"], lambda v: 0 < v <= 1, "is not a share above 0 and at most 1"),
    *_each(["world_model.unet.levels.lowest"], lambda v: 0 < v < 1, "is not a level above 0 and below 1"),
    *_each(["world_model.unet.levels.mean"], lambda v: -math.inf < v < math.inf, "is not a finite number"),
    _one_of("world_model.size", DIT_SIZES),
    (_head_splits, "world_model.size={config.world_model.size}: its head width does not split for 3-D RoPE"),
    _one_of("world_model.attention", ATTENTION_KINDS),
    _one_of("world_model.dtype", ("float32", "bfloat16")),
    (
        lambda c: c.world_model.attention != "cudnn" or c.world_model.dtype == "bfloat16",
        "world_model.attention=cudnn wants world_model.dtype=bfloat16",
    ),
    _one_of("world_model.cache", CACHES),
    _one_of("phase2.priority", PRIORITY_KINDS),
    _one_of("phase2.rescore", RESCORING_KINDS),
    _one_of("phase2.program", PHASE2_PROGRAMS),
    (
        lambda c: c.phase2.program != "device" or c.env.name == "voxel",
        "phase2.program=device needs an environment on the device, env.name=voxel, not {config.env.name}",
    ),
    _one_of("on_nan", ("stop", "rewind")),
    *(_installed(key, package) for key, package in figure_writers.PACKAGES.items()),
    (
        lambda c: c.phase2.program != "device" or c.autoencoder.kind != "wan",
        "phase2.program=device keeps a latent a frame on the device; with autoencoder.kind=wan set phase2.program=host",
    ),
    _one_of("phase2.trainable", TRAINABLE),
    (
        lambda c: c.world_model.size not in DIT_SIZES or c.phase2.lora_rank <= DIT_SIZES[c.world_model.size]["width"],
        "phase2.lora_rank={config.phase2.lora_rank} is more than the width of "
        "world_model.size={config.world_model.size}",
    ),
    _one_of("metrics.flow", FLOWS),
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
    *_each(
        ["metrics.frechet"],
        lambda v: v in ("", *FRECHET_NETWORKS),
        f"is neither empty (no Frechet distance) nor one of {', '.join(FRECHET_NETWORKS)}",
    ),
    (
        lambda c: c.metrics.frechet != "inverse_dynamics" or c.inverse_dynamics.steps != 0,
        "metrics.frechet=inverse_dynamics needs that model; set inverse_dynamics.steps to more than 0",
    ),
    (
        lambda c: c.metrics.frechet != "lpips_trunk" or c.metrics.lpips_weights,
        "metrics.frechet=lpips_trunk needs metrics.lpips_weights (python -m experiments.convert lpips)",
    ),
    # Shapes
    *_frame_side("env.frame_height", 480),
    *_frame_side("env.frame_width", 640),
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
    _where_wan(_episode_holds("phase2.horizon", with_context=True)),
    _episode_holds("reference.clip", with_context=False, in_latents=False),
    _where_trained("inverse_dynamics", _episode_holds("inverse_dynamics.clip", with_context=False, in_latents=False)),
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
