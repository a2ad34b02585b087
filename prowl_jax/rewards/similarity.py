"""Similarity to what really happened, the reward of PersistWorld (arXiv 2603.25685): SSIM + PSNR / 30 - LPIPS.

Each term is standardised within the group of dreams of one past, so that none drowns the others, and so is each camera
view; views are averaged. PersistWorld's own weights are not published; PSNR / 30 is a choice of this project.
"""

import jax
import jax.numpy as jnp

from prowl_jax.metrics import image


def standardised(values):
    """(x - mean) / (deviation + 1e-4) over the last axis; exactly 0 where all are equal, or not all finite."""
    differ = (values != values[..., :1]).any(-1, keepdims=True) & jnp.isfinite(values).all(-1, keepdims=True)
    values = jnp.where(differ, values, 0.0)
    centred = values - values.mean(-1, keepdims=True)
    return centred / (values.std(-1, keepdims=True) + 1e-4)


def views_of(frames, views):
    """Frames in which cameras lie one above the other: ``[..., T, V H, W, 3] -> [..., V, T, H, W, 3]``.

    Raises:
      ValueError: a height that is not V times something.
    """
    *batch, time, height, width, colours = frames.shape
    if height % views:
        raise ValueError(f"{views} views do not lie one above the other in {height} rows")
    parts = frames.reshape(*batch, time, views, height // views, width, colours)
    return jnp.moveaxis(parts, -4, -5)


def terms(dream, views=1, distance=None):
    """name -> float ``[..., V]`` of dreams ``[...]``, each higher where a dream is nearer to reality.

    Args:
      distance: ``f(a, b) -> [...]`` of frames ``[..., H, W, 3]`` in 0..1, LPIPS with its weights; None: no such term.

    Raises:
      ValueError: nobody knows the real frames.
    """
    if dream.real is None or dream.real.frames is None:
        raise ValueError("similarity needs the real frames, and they are not known")
    dreamt = views_of(dream.frames, views)
    real = jnp.broadcast_to(views_of(dream.real.frames.astype(jnp.float32) / 255.0, views), dreamt.shape)
    found = {"ssim": image.ssim(dreamt, real).mean(-1), "psnr": image.psnr(dreamt, real).mean(-1) / 30.0}
    if distance is not None:
        found["lpips"] = -distance(dreamt, real).mean(-1)
    return found


def make_similarity(views=1, distance=None):
    """The reward ``f(params, dream) -> [...]``: the sum of ``terms``, means over views, as they are.

    It can be compared between pasts; ``make_group_similarity`` cannot.
    """

    def similarity(params, dream):
        del params
        return sum(term.mean(-1) for term in terms(dream, views, distance).values())

    return similarity


def make_group_similarity(views=1, distance=None):
    """The reward ``f(params, dream [..., K]) -> [..., K]``: every term of every view standardised over the K dreams."""

    def group_similarity(params, dream):
        del params
        found = terms(dream, views, distance).values()
        within = [standardised(jnp.moveaxis(term, -1, 0)) for term in found]
        return jax.tree.reduce(jnp.add, within).mean(0)

    return group_similarity


similarity, group_similarity = make_similarity(), make_group_similarity()
