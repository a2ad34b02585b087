"""A small look at what a world model dreams: a few held-out clips, figures by predicted frame, and a sheet of pictures.

The names are those of ``dream_quality``. The floor of its errors, a real frame through the autoencoder, is 0 here:
the model is one of pixels.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from prowl_jax.metrics.image import gradient_energy, psnr
from prowl_jax.metrics.retrieval import retrieved
from prowl_jax.types import Batch

FRAMES = (1, 2, 4, 8, 16, 20)
"""Predicted frames that are told of."""
CANDIDATES = 16
"""Clips among which a dreamt frame has to find its own."""
SHOWN_CLIPS, SHOWN_FRAMES = 8, (1, 2, 4, 8, 12, 16, 20)


def held_out_clips(recording, clips, length):
    """``Batch`` of ``clips`` clips ``[clips, length, ...]``, spread over the recording's demonstrators and its time.

    Args:
      recording: uint8 frames ``[T, N, H, W, 3]`` and actions ``[T, N, A]``.
    """
    rng = np.random.default_rng(0)
    time, actors = recording.actions.shape[:2]
    actor = rng.permutation(np.arange(clips) % actors)[:, None]
    times = rng.integers(0, time - length + 1, (clips, 1)) + np.arange(length)
    return Batch(recording.latents[times, actor], recording.actions[times, actor])


def make_dreams(model, horizon):
    """``f(network_params, clips) -> (figures, frames)``, jitted, float32: each clip dreamt with its own actions, and
    with the next clip's, all from the same noise.

    Figures are means over the clips, ``[horizon]`` each; frames are uint8 ``[B, 1 + horizon, H, W, 3]``, the last real
    one and the dreamt.
    """
    model, seen = in_float32(model), model.context

    @jax.jit
    def dreams(network_params, clips):
        params = {"dit": network_params, "autoencoder": {}}
        real = model.from_kept(clips.latents)
        context = real[:, :seen]
        exchanged = jnp.concatenate(
            [clips.actions[:, : seen - 1], jnp.roll(clips.actions, 1, axis=0)[:, seen - 1 :]], axis=1
        )
        both = model.rollout(
            params, jax.random.key(0), jnp.tile(context, (2, 1, 1, 1, 1)), jnp.concatenate([clips.actions, exchanged]),
            horizon, common_noise=True,
        )  # fmt: skip
        dreamt, other = jnp.split(both, 2)
        real, repeated = real[:, seen:], jnp.broadcast_to(context[:, -1:], dreamt.shape)
        shown = {name: _pixels(model, x) for name, x in (("dreamt", dreamt), ("real", real), ("repeated", repeated))}
        figures = {
            "error": _error(dreamt, real),
            "error_repeated": _error(repeated, real),
            "error_exchanged": _error(other, real),
            "psnr_db": psnr(shown["dreamt"], shown["real"]),
            "psnr_repeated_db": psnr(shown["repeated"], shown["real"]),
            "sharpness": gradient_energy(shown["dreamt"]),
            "sharpness_real": gradient_energy(shown["real"]),
        }
        frames = jnp.round(255.0 * shown["dreamt"]).astype(jnp.uint8)
        frames = jnp.concatenate([clips.latents[:, seen - 1 : seen], frames], axis=1)
        return {name: jnp.mean(x, axis=0) for name, x in figures.items()}, frames

    return dreams


def in_float32(model):
    """The world model as it is shipped, whatever it was trained in."""
    return dataclasses.replace(model, dit=model.dit.clone(dtype=jnp.float32))


def _error(one, other):
    return jnp.sqrt(jnp.mean(jnp.square(one - other), axis=(-3, -2, -1)))


def _pixels(model, latents):
    """Float frames in 0..1."""
    a = model.autoencoder
    statistics = {"latent_mean": jnp.array(a.latent_mean), "latent_std": jnp.array(a.latent_std)}
    return model.decode({"autoencoder": {}, **statistics}, latents)


def measure(dreams, network_params, clips):
    """(figures as JSON holds them, (real, dreamt) frames as numpy arrays from the last of the context on)."""
    figures, dreamt = jax.device_get(dreams(network_params, clips))
    horizon = len(figures["error"])
    rows = {}
    for frame in (frame for frame in FRAMES if frame <= horizon):
        at = {name: float(values[frame - 1]) for name, values in figures.items()}
        row = {
            "floor_relative_error": at["error"] / at["error_repeated"],
            "psnr_db": at["psnr_db"],
            "psnr_repeated_db": at["psnr_repeated_db"],
            "sharpness_over_real": at["sharpness"] / at["sharpness_real"],
            "exchanged_over_true": at["error_exchanged"] / at["error"],
        }
        rows[str(frame)] = {name: round(value, 4) for name, value in row.items()}
    real = np.asarray(clips.latents)[:, -(horizon + 1) :]
    told = {"clips": len(dreamt), "frames": rows}
    if len(real) >= CANDIDATES and horizon >= 20:
        told["retrieval_of_16_at_20"] = float(np.mean(retrieved(dreamt[:, 20], real[:, 20], CANDIDATES)))
    return told, (real, dreamt)


def save_sheet(path, real, dreamt):
    """The first clips, a row of real frames above a row of dreamt ones: the last one given, then ``SHOWN_FRAMES``."""
    from PIL import Image

    columns = [0, *(frame for frame in SHOWN_FRAMES if frame < real.shape[1])]
    clips = [np.concatenate([_row(x[i, columns]) for x in (real, dreamt)]) for i in range(min(SHOWN_CLIPS, len(real)))]
    Image.fromarray(np.concatenate(clips)).save(path)


def _row(frames):
    return np.concatenate(list(frames), axis=1)
