"""Metrics that vote in a person's stead: which of two dreams is nearer to what really happened."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from experiments.evaluation.dreamer import compare
from prowl_jax.metrics.action_follow import afs_epe, flow_of_frames
from prowl_jax.metrics.image import ssim


def _of_pixels(name, sign):
    """The mean over frames of what ``dreamer.compare`` says; ``sign`` -1 where more is better."""
    return lambda dreamt, real, last, flow: sign * compare(dreamt, real)[name].mean(axis=1)


def _blur(dreamt, real, last, flow):
    """How far the gradient energy is from the real frames', as a ratio either way."""
    energy = [compare(frames, real)["energy"].mean(axis=1) for frames in (dreamt, real)]
    return np.abs(np.log(np.maximum(energy[0], 1e-12) / np.maximum(energy[1], 1e-12)))


def _clip_by_clip(function):
    """Of frames 0..1 of one clip at a time, so that memory does not grow with their number."""
    function = jax.jit(function, static_argnums=3)

    def judge(dreamt, real, last, flow):
        clips = zip(dreamt, real, last, strict=True)
        return np.array([float(function(*(x / np.float32(255.0) for x in clip), *flow)) for clip in clips])

    return judge


def _unlike(dreamt, real, last, flow, params):
    return -jnp.mean(ssim(dreamt, real))


def _moved(dreamt, real, last, flow, params):
    flow = functools.partial(flow, params)
    first, second = (flow_of_frames(jnp.concatenate([last, frames]), flow) for frames in (dreamt, real))
    return afs_epe(first, second)


JUDGES = {
    "regret": _of_pixels("regret", 1),
    "psnr": _of_pixels("psnr", -1),
    "ssim": _clip_by_clip(_unlike),
    "afs_epe": _clip_by_clip(_moved),
    "sharpness": _blur,
}
"""Name -> ``f(dreamt, real, last, flow) -> float [n]``, lower is better: uint8 ``[n, T, H, W, 3]`` twice,
``[n, 1, ...]``, the last frame that both were shown, and ``Contest.flow``. docs/metrics.md says what each measures; of
pixels is the regret, and ``sharpness`` prefers the dream whose gradient energy is nearer to real, above or below."""


def preferred(judge, dreams, pairs, real, last, flow):
    """The side that a metric votes for in each of ``pairs``: "left", "right", or "none" where both are the same to it.

    Args:
      judge: a name in ``JUDGES``. dreams: uint8 ``[contestants, n, T, H, W, 3]``. pairs: (clip, left, right), numbers.
      real: uint8 ``[n, T, H, W, 3]``. last: uint8 ``[n, 1, H, W, 3]``. flow: ``Contest.flow``.
    """
    scores = [JUDGES[judge](dreamt, real, last, flow) for dreamt in dreams]
    values = [(scores[left][clip], scores[right][clip]) for clip, left, right in pairs]
    return ["none" if a == b else "left" if a < b else "right" for a, b in values]
