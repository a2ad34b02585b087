"""The autoencoder and the world model from a configuration."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from experiments.run.config_file import UsageError
from experiments.stages.build.environment import spec_of, stage_key
from prowl_jax.diffusion.autoregressive import FrameLevels
from prowl_jax.diffusion.forcing import Forcing
from prowl_jax.diffusion.shortcut import Shortcut
from prowl_jax.models.autoencoders.pixels import Pixels
from prowl_jax.models.autoencoders.small import Autoencoder
from prowl_jax.models.autoencoders.wan import WanVAE, WanVAENetwork
from prowl_jax.models.dit import action_text
from prowl_jax.models.dit.dit import DiT
from prowl_jax.models.dit.sizes import DIT_SIZES, dit_size
from prowl_jax.models.published import wan_dit_weights, wan_vae_weights
from prowl_jax.models.unet.unet import UNet
from prowl_jax.models.unet.world_model import UNetWorldModel
from prowl_jax.models.world_model import WorldModel
from prowl_jax.settings import COUNT, one_of, read, setting, within
from prowl_jax.train import world_model as world_model_training
from prowl_jax.train.lora import split_low_rank
from prowl_jax.train.world_model import split_trainable

FRAMES_PER_LATENT = {"small": Autoencoder.frames_per_latent, "pixels": 1, "wan": WanVAE.frames_per_latent}
"""Kind of autoencoder -> frames of a latent."""


@dataclasses.dataclass(frozen=True)
class AutoencoderSettings:
    """Which autoencoder."""

    kind: str = setting(
        "small", "or pixels: none; wan: Wan2.1's, a latent of four frames, never trained", one_of(FRAMES_PER_LATENT)
    )
    weights: str = setting("", "of Wan's; random shows only that everything fits together")


@dataclasses.dataclass(frozen=True)
class WorldModelSettings:
    """Which world model."""

    network: str = setting(
        "dit", "or unet: a small convolutional denoiser of single frames", one_of(("dit", "unet"))
    )
    objective: str = setting(
        "diffusion", "or shortcut: told how long a step it takes, it learns to take few (Dreamer 4)",
        one_of(("diffusion", "shortcut")),
    )  # fmt: skip
    size: str = setting("Ti", "of the dit", one_of(DIT_SIZES))
    weights: str = setting(
        "", "to start phase 1 from: Wan's transformer, or what was exported; of the unet a model of the zoo or its file"
    )
    window: int = setting(21, "latents of a training clip: context and prediction", COUNT, source="paper: 21")
    dtype: str = setting(
        "float32", "of the products; parameters are float32 always. bfloat16 on a GPU", one_of(("float32", "bfloat16"))
    )
    best_of: int = setting(
        1, "N, dreams of every chunk in evaluation and in the player, never in training: the one goes on that a judge "
        "reads its actions off best. 1: no choice", within(1, 64)
    )
    action_text: str = setting(
        "", "what python -m experiments.embed_actions wrote; empty: the actions' factors are embedded"
    )


@dataclasses.dataclass(frozen=True)
class OwnFrames:
    """How many frames the unet predicts one after the other from its own, in training."""

    own_frames: tuple = setting((1, 2, 4), "predicted one after the other from its own, in training ...")
    own_since: tuple = setting((0.0, 0.1, 0.3), "... from this share of the steps on")
    own_by: str = setting(
        "answer", "own frames are the answer at the level that was drawn, or what the sampler dreams",
        one_of(("answer", "sampler")), source="DIAMOND: answer",
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class TrainableSettings:
    """What phase 2 trains of the network."""

    trainable: str = setting(
        "action_conditioning", "or lora: low-rank updates of a dit's attention or of both U-Nets, and the adapter",
        one_of(("action_conditioning", "lora")), source="paper: action_conditioning",
    )  # fmt: skip
    lora_rank: int = setting(16, "of lora", COUNT)


def make_autoencoder(config):
    """The configured autoencoder: an ``Autoencoder``, the ``WanVAE`` whose weights are given, or none, ``Pixels``."""
    a = config.autoencoder
    if a.kind == "pixels":
        return read(Pixels, a)
    if a.kind == "wan":
        return _wan_network(config) if config.dry_run or a.weights == "random" else _wan_autoencoder(config)[0]
    return read(Autoencoder, a)


def wan_autoencoder_params(config):
    """Parameters of Wan's autoencoder: those of ``autoencoder.weights``, or random ones."""
    if config.autoencoder.weights == "random":
        return jax.jit(make_autoencoder(config).init_params)(stage_key(config, "autoencoder init"))
    return _wan_autoencoder(config)[1]


def _wan_network(config):
    """The ``WanVAE`` of the configured sizes. Random weights have no published statistics."""
    a = config.autoencoder
    multiples = tuple(width // a.widths[0] for width in a.widths)
    network = WanVAENetwork(a.channels, a.widths[0], multiples, a.blocks)
    if network == WanVAENetwork() and a.weights != "random":
        return WanVAE(network)
    return WanVAE(network, (0.0,) * a.channels, (1.0,) * a.channels)


def _wan_autoencoder(config):
    """(``WanVAE``, params) of ``autoencoder.weights``; UsageError where their sizes are not the configured ones."""
    a = config.autoencoder
    try:
        model, params = _load_wan_autoencoder(a.weights)
    except (OSError, ValueError, ImportError) as error:
        raise UsageError(str(error)) from None
    theirs = model.network
    if theirs != _wan_network(config).network:
        widths = tuple(theirs.base * multiple for multiple in theirs.multiples)
        raise UsageError(
            f"autoencoder.weights={a.weights} has autoencoder.channels={theirs.channels}, "
            f"autoencoder.widths={widths} and autoencoder.blocks={theirs.blocks}; set these, "
            f"not {a.channels}, {tuple(a.widths)} and {a.blocks}"
        )
    return model, params


_load_wan_autoencoder = functools.cache(wan_vae_weights.load_wan_vae)


def make_world_model(config):
    """The configured ``WorldModel`` or ``UNetWorldModel``."""
    w = config.world_model
    if w.network == "unet":
        return _make_unet(config)
    text, autoencoder = _action_text(config), make_autoencoder(config)
    dit = read(
        DiT,
        w,
        channels=autoencoder.channels,
        action_frames=autoencoder.frames_per_latent,
        action_sizes=spec_of(config).sizes,
        dtype=jnp.dtype(w.dtype),
        text_width=text.width if text else 0,
        shortcut=_most(config),
        **dit_size(w.size),
    )
    return read(WorldModel, w, dit=dit, autoencoder=autoencoder, action_text=text)


def _make_unet(config):
    u, autoencoder = config.world_model.unet, make_autoencoder(config)
    pixels = isinstance(autoencoder, Pixels)
    latents = {"block": autoencoder.block} if pixels else {"latent_channels": autoencoder.channels}
    dtype = jnp.dtype(config.world_model.dtype)
    network = read(UNet, u, action_sizes=spec_of(config).sizes, dtype=dtype, shortcut=_most(config), **latents)
    return read(UNetWorldModel, u, dit=network, autoencoder=autoencoder)


def make_shortcut(config):
    """How the network learns to take few steps; None where it does not."""
    w = config.world_model
    return read(Shortcut, w.shortcut) if w.objective == "shortcut" else None


def _most(config):
    shortcut = make_shortcut(config)
    return shortcut.most if shortcut else 0


def make_frame_levels(config):
    """How a ``unet`` draws noise levels."""
    return read(FrameLevels, config.world_model.unet.levels)


def make_loss(config, model=None):
    """``loss(network_params, batch, key)``, how the configured network learns from data in both phases.

    Args:
      model: in the configured one's place, such as one with fewer layers.
    """
    w, model = config.world_model, model or make_world_model(config)
    if w.network == "unet":
        by_sampler = w.unet.own_by == "sampler"
        return model.loss(make_frame_levels(config), by_sampler=by_sampler, shortcut=make_shortcut(config))
    return world_model_training.make_loss(model, make_forcing(config), make_shortcut(config))


def training_clips(config, step):
    """(rows, latents) of the clips that a step of phase 1 trains on.

    A ``unet`` learns from ever more frames of its own: then as many rows fewer, so that every step predicts as many
    frames.
    """
    w = config.world_model
    if w.network != "unet":
        return w.batch, w.window
    done = step / w.steps
    own = max(frames for frames, since in zip(w.unet.own_frames, w.unet.own_since, strict=True) if done >= since)
    return w.batch // own, w.unet.context + own


def load_dit(config, key, place):
    """Parameters of the DiT in ``world_model.weights``, each array as ``place(path, array)`` made it."""
    return wan_dit_weights.load_wan_dit(config.world_model.weights, make_world_model(config).dit, key, place)


def check_dit_weights(config):
    w = config.world_model
    try:
        wan_dit_weights.check(w.weights, make_world_model(config).dit)
    except FileNotFoundError as error:
        raise UsageError(f"world_model.weights: {error}") from None
    except (OSError, ValueError, ImportError) as error:
        sizes = f"world_model.size={w.size}, world_model.patch={w.patch}, {config.autoencoder.channels} channels"
        raise UsageError(f"world_model.weights do not fit {sizes}: {error}") from None


def _action_text(config):
    path, spec = config.world_model.action_text, spec_of(config)
    if not path:
        return None
    return _blank_action_text(spec) if config.dry_run else load_action_text(path, spec)


@functools.cache
def _blank_action_text(spec):
    """A table as wide as UMT5's, for a dry run."""
    return action_text.ActionText(spec.sizes, np.zeros((sum(spec.sizes), action_text.UMT5_WIDTH), np.float32))


@functools.cache  # the same table for every model, so that what is compiled for one serves the next
def load_action_text(path, spec):
    try:
        return action_text.load_action_text(path, spec)
    except (OSError, ValueError, ImportError) as error:
        raise UsageError(str(error)) from None


def make_forcing(config):
    """How phase 1 and phase 2 draw noise levels."""
    w = config.world_model
    return read(Forcing, w, chunk=w.chunk)


def split_phase2(config, dit_params):
    """(what phase 2 trains of the DiT, the rest), both nested dicts; ``state.merge`` makes one of them."""
    model = make_world_model(config)
    if config.phase2.trainable == "lora":
        return split_low_rank(dit_params, stage_key(config, "lora"), config.phase2.lora_rank, *model.low_rank)
    return split_trainable(model, dit_params)


def shortest_episode(config):
    """Frames that an episode must have for every stage to find a clip in it."""
    w, e, model = config.world_model, config.evaluation, make_world_model(config)
    context = w.window - w.chunk
    latents = [w.window, context + max(e.horizon, e.long_horizon)]
    if model.stride > 1:
        latents.append(context + config.phase2.horizon)  # demonstrations are encoded in clips as long as a trajectory
    asked = [model.frames_of(max(latents)), config.reference.clip]
    return max(asked + [config.inverse_dynamics.clip] * (config.inverse_dynamics.steps > 0))
