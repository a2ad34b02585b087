"""The stage of the autoencoder: trained or taken as published, and the latents of all demonstrations."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from experiments.run import processes
from experiments.run.files import write_numpy
from experiments.run.progress import Progress
from experiments.run.training_loop import restore_state, shapes, train
from experiments.stages import build, latent_clips
from experiments.stages.clip_stores import open_store, own_starts, split, tasks
from prowl_jax.metrics.image import psnr
from prowl_jax.settings import COUNT, NOT_NEGATIVE, POSITIVE, read, setting
from prowl_jax.train import autoencoder as autoencoder_training
from prowl_jax.train.mesh import local_copy
from prowl_jax.train.state import ShortTraining, count, init_state

ENCODE_BATCH = 128


@dataclasses.dataclass(frozen=True)
class AutoencoderTraining(ShortTraining):
    """How the small autoencoder learns."""

    steps: int = setting(600, "updates", COUNT)
    learning_rate: float = setting(3e-3, "the highest rate of AdamW", POSITIVE)
    kl_weight: float = setting(1e-4, "of KL(posterior || N(0, 1))", NOT_NEGATIVE)
    gradient_weight: float = setting(0.0, "of the error of the steps between neighbouring pixels", NOT_NEGATIVE)
    equivariance_weight: float = setting(
        0.0, "of the error of smaller and turned latents against such frames", NOT_NEGATIVE, source="EQ-VAE"
    )


def train_autoencoder(run):
    """Train the autoencoder, or take Wan's as it is; measure its PSNR on held-out frames, cache all latents."""
    config, a = run.config, run.config.autoencoder
    if a.kind == "wan":
        return _wan_autoencoder(run) if processes.is_main() else {}
    if config.base:
        return _base_autoencoder(run) if processes.is_main() else {}
    if a.kind == "pixels":  # nothing to train, and frames are their own latents
        return {}
    store = open_store(run)
    train_episodes, held_out = split(run, store)
    starts = store.starts(train_episodes, 1)
    optimizer = read(AutoencoderTraining, a).optimizer
    key = build.stage_key(config, "autoencoder")
    state = train(
        run,
        "autoencoder",
        lambda: init_state(init_autoencoder(config), optimizer),
        make_autoencoder_step(config),
        lambda step: store.frames[own_starts(config, step, starts, a.batch, in_order=True)],
        key,
        steps=a.steps,
        mesh=build.make_config_mesh(config),
    )
    if not processes.is_main():
        return {}
    params = {"autoencoder": local_copy(state.ema)}
    _cache_latents(run, params, train_episodes)

    world_model, params = build.make_world_model(config), load_autoencoder(run)
    held_out_starts = store.starts(held_out, 1)
    sample = held_out_starts[:: max(1, len(held_out_starts) // 512)][:512]
    frames, latents = store.frames[sample], store.array("latents")[sample]
    decoded = jax.jit(world_model.decode)(params, latents)
    value = jnp.mean(psnr(decoded, frames.astype(np.float32) / 255.0))
    return {"psnr_db": float(value), "parameters": count(state.params)}


def make_autoencoder_step(config):
    """``step(state, frames, key) -> (state, metrics)`` of the small autoencoder's training."""
    a = config.autoencoder
    return autoencoder_training.make_train_step(
        build.make_autoencoder(config), read(AutoencoderTraining, a).optimizer, kl_weight=a.kl_weight,
        ema_decay=a.ema_decay, gradient_weight=a.gradient_weight, equivariance_weight=a.equivariance_weight,
    )  # fmt: skip


def _wan_autoencoder(run):
    """Nothing to train: normalise by the published statistics, encode the demonstrations of every task."""
    config, store = run.config, open_store(run)
    train_episodes, held_out = split(run, store)
    params = {"autoencoder": build.wan_autoencoder_params(config)}
    mean, std = latent_clips.statistics(config, store, params, train_episodes)
    write_numpy(run.data("latent_statistics.npz"), np.savez, mean=mean, std=std)
    params |= {"latent_mean": mean, "latent_std": std}
    for task in tasks(config):
        latent_clips.add_latents(config, open_store(run, task), params, f"latents {task}")
    psnr_db = latent_clips.reconstruction_psnr(config, store, params, held_out)
    return {"psnr_db": psnr_db, "parameters": count(params["autoencoder"])}


def init_autoencoder(config):
    key = build.stage_key(config, "autoencoder init")
    return build.make_autoencoder(config).init_params(key, build.frame_shape(config))


def _base_autoencoder(run):
    """Nothing to train: what the base model brings encodes the demonstrations of every task, where it has to."""
    if run.config.autoencoder.kind == "pixels":
        return {}
    params, encode_store = load_autoencoder(run), _make_encode_store(run.config)
    for task in tasks(run.config):
        store = open_store(run, task)
        if not store.has_array("latents"):
            store.add_array("latents", encode_store(store, params, f"latents {task}"))
    return {"parameters": count(params["autoencoder"])}


def _make_encode_store(config):
    """``f(store, params, title)``: the latents of all frames of a store, normalised by the parameters' statistics."""
    encode = jax.jit(build.make_world_model(config).encode)

    def encode_store(store, params, title):
        out = []
        with Progress(title, len(store)) as progress:
            for i in range(0, len(store), ENCODE_BATCH):
                frames = store.frames[i : i + ENCODE_BATCH]
                padding = ENCODE_BATCH - len(frames)  # one shape, one compilation
                frames = np.pad(frames, ((0, padding), (0, 0), (0, 0), (0, 0)))
                out.append(np.asarray(encode(params, frames))[: ENCODE_BATCH - padding])
                progress.update(min(i + ENCODE_BATCH, len(store)))
        return np.concatenate(out)

    return encode_store


def _cache_latents(run, params, train_episodes):
    """Encode every frame once; normalise by the statistics of the training episodes."""
    config, encode_store = run.config, _make_encode_store(run.config)
    channels = config.autoencoder.channels
    identity = {"latent_mean": jnp.zeros(channels), "latent_std": jnp.ones(channels)}
    store = open_store(run)
    raw = encode_store(store, {**params, **identity}, "latents")
    training_frames = store.starts(train_episodes, 1)
    mean, std = map(np.asarray, autoencoder_training.latent_statistics(raw[training_frames]))
    write_numpy(run.data("latent_statistics.npz"), np.savez, mean=mean, std=std)
    if not store.has_array("latents"):
        store.add_array("latents", (raw - mean) / std)
    for task in config.env.held_out_tasks:
        other = open_store(run, task)
        if not other.has_array("latents"):
            statistics = {"latent_mean": mean, "latent_std": std}
            other.add_array("latents", encode_store(other, {**params, **statistics}, f"latents {task}"))


def load_autoencoder(run):
    """``{"autoencoder", "latent_mean", "latent_std"}`` of the finished stage."""
    config = run.config
    if config.base:
        params = build.load_base(config.base).params
        return {name: params[name] for name in ("autoencoder", "latent_mean", "latent_std")}
    if config.autoencoder.kind == "pixels":
        pixels = build.make_autoencoder(config)
        return {
            "autoencoder": {},
            "latent_mean": jnp.array(pixels.latent_mean),
            "latent_std": jnp.array(pixels.latent_std),
        }
    if config.autoencoder.kind == "wan":
        params = build.wan_autoencoder_params(config)
    else:
        optimizer = read(AutoencoderTraining, config.autoencoder).optimizer
        example = shapes(lambda: init_state(init_autoencoder(config), optimizer))
        params = restore_state(run, "autoencoder", example).ema
    statistics = np.load(run.data("latent_statistics.npz"))
    mean, std = jnp.asarray(statistics["mean"]), jnp.asarray(statistics["std"])
    return {"autoencoder": params, "latent_mean": mean, "latent_std": std}
