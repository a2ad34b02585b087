"""How much memory a run will take, from shapes alone: said before it begins, and when it was too much.

Of the arrays that grow with the configuration, and no more: the programs themselves, the environments and
what the compiler keeps beside these arrays come on top, and are most of a small run (the quick start's
peak is in the README). ``python -m experiments.memory_per_device`` asks the compiler.
"""

import dataclasses
import math

import jax
import psutil

from experiments.planning.traced_memory import traced_peak
from experiments.stages import build
from prowl_jax.models.dit.sizes import DIT_SIZES
from prowl_jax.train.state import count
from prowl_jax.types import Batch

COPIES = 5  # of each trained parameter, float32: itself, its average, Adam's two moments, the gradient


@dataclasses.dataclass(frozen=True)
class Part:
    """One large thing: what it is, its bytes, and the keys that make it smaller."""

    name: str
    bytes: int
    lower: str


def parts(config):
    """The large ``Part``s of a run, on one device if it does not split them, the largest first."""
    w, p = config.world_model, config.phase2
    height, width, _ = build.frame_shape(config)
    dit = jax.eval_shape(
        lambda: build.make_world_model(config).init(jax.random.key(0), build.frame_shape(config), w.window)["dit"]
    )
    row, lower = _training_row(config, dit)
    copies = 1 if config.base else COPIES
    found = [
        Part("the world model's parameters, average and optimiser", 4 * copies * count(dit), "the size of the network")
    ]
    if not config.base:
        found += [Part("a step of the world model", w.batch * row, f"world_model.batch{lower}"), _autoencoder(config)]
    methods = [build.make_method(config, arm) for arm in build.arms(config)]
    if methods:
        item = methods[0].shared.example_clip
        trajectory = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(item))
        acted = max(method.shared.budget.trajectories * method.needs().acts for method in methods)
        kept = max(method.kept_bytes() for method in methods)
        found += [
            Part("the PAT buffer", kept, "phase2.capacity or phase2.horizon"),
            Part("the trajectories of a cycle", 2 * acted * trajectory, "phase2.trajectories"),
            Part("a step of phase 2", p.batch * row, f"phase2.batch{lower}"),
        ]
        if p.program == "device":
            frames = config.demonstrations.episodes * config.demonstrations.episode_frames
            h, w, channels = methods[0].shared.world_model.latent_shape((height, width, 3))
            latents = frames * h * w * channels * (1 if config.autoencoder.kind == "pixels" else 4)
            found.append(Part("the demonstrations on the device", latents, "demonstrations.episodes"))
    return sorted(found, key=lambda part: -part.bytes)


def _training_row(config, network):
    """(bytes that a row of a training batch takes for its gradient, what else than the batch makes it smaller)."""
    w, (height, width, _) = config.world_model, build.frame_shape(config)
    if w.network == "unet":
        model, shape = build.make_world_model(config), jax.ShapeDtypeStruct
        h, grid_width, channels = model.latent_shape((height, width, 3))
        batch = Batch(
            shape((1, w.window, h, grid_width, channels), "float32"),
            shape((1, w.window, len(model.action_sizes)), "int32"),
        )
        key = jax.eval_shape(lambda: jax.random.key(0))
        return traced_peak(jax.grad(build.make_loss(config), has_aux=True), network, batch, key), ""
    size = DIT_SIZES[w.size]
    tokens = w.window * build.make_world_model(config).tokens((height, width, 3))
    number = 2 if w.dtype == "bfloat16" else 4
    # Of each token and block its gradient needs about 16 vectors of the width, the two of the feed-forward,
    # and its row of every head's attention twice.
    block = tokens * number * (16 * size["width"] + 2 * size["ffn"] + 2 * size["heads"] * tokens)
    return (1 if w.remat else size["depth"]) * block, " or world_model.window, or set world_model.remat=True"


def _autoencoder(config):
    """What takes most of the autoencoder: its training, or of Wan's, which is not trained, that it encodes."""
    a, (height, width, _) = config.autoencoder, build.frame_shape(config)
    if a.kind == "pixels":
        return Part("encoding, which nothing does", 0, "autoencoder.kind")
    if a.kind != "wan":
        conv = 2 * 4 * (height * width // 4 * a.widths[0] + height * width // 16 * a.widths[1]) * (4 + 4 * a.blocks)
        return Part("a step of the autoencoder", a.batch * conv, "autoencoder.batch")
    from experiments.stages import phase2

    model, rows = build.make_world_model(config), config.phase2.trajectories if build.arms(config) else 1
    params = jax.eval_shape(lambda: model.init(jax.random.key(0), build.frame_shape(config), config.world_model.window))
    clips = jax.ShapeDtypeStruct((rows, phase2.trajectory_length(config), height, width, 3), "uint8")
    return Part("encoding with Wan's autoencoder", traced_peak(model.encode, params, clips), "phase2.trajectories")


def largest(config):
    """(name, size in words, what to lower) of the largest part."""
    part = parts(config)[0]
    return part.name, f"about {part.bytes / 1e9:.2g} GB", part.lower


def say(config, there=None, where=None):
    """Print one line about the memory that the run is expected to take, and what there is of it.

    ``there`` bytes and ``where`` they are: of this machine by default (``available``).
    """
    if there is None:
        there, where = available()
    found = parts(config)
    total = sum(part.bytes for part in found)
    line = (
        f"memory: {total / 1e9:.2g} GB of arrays and some GB of programs, most of the arrays in {found[0].name}; "
        f"{there / 1e9:.3g} GB {where}"
    )
    if total > there:
        line += f": likely too little, lower {found[0].lower}"
    print(line, flush=True)


def available():
    """Bytes free for arrays, and where: on the devices together, or on the host where they are one."""
    limits = [(device.memory_stats() or {}).get("bytes_limit") for device in jax.local_devices()]
    if jax.default_backend() != "cpu" and all(limits):
        return sum(limits), f"on {len(limits)} device{'s' if len(limits) > 1 else ''}"
    return psutil.virtual_memory().available, "free on the host"
