"""Batches of demonstrations for the world model: clips of latents and actions, pure functions of the step."""

import numpy as np

from experiments.stages import build, latent_clips
from experiments.stages.clip_stores import clip_starts, open_store, own_starts, split
from prowl_jax.types import Batch


def passive_starts(run, rows, length):
    """``f(step) -> int64``: where this process's part of ``rows`` clips begins, a pure function of the step."""
    store = open_store(run)
    starts = clip_starts(store, split(run, store)[0], length, "world_model.window")
    return lambda step: own_starts(run.config, step, starts, rows)


def passive_fetch(run, rows, length):
    """``f(step) -> Batch`` of this process's part of ``rows`` clips of ``length`` latents, a function of the step."""
    store = open_store(run)
    if build.make_autoencoder(run.config).frames_per_latent > 1:
        windows = latent_clips.Windows(run.config, store, split(run, store)[0], length)
        return lambda step: windows.fetch(own_starts(run.config, step, windows.choices, rows))
    starts = passive_starts(run, rows, length)
    latents = kept_latents(store)

    def fetch(step):
        frames = starts(step)[:, None] + np.arange(length)
        return Batch(latents[frames], store.actions[frames])

    return fetch


def kept_latents(store):
    """What stands for the latents of a store's frames: the cached ones, or the frames themselves (``Pixels``)."""
    return store.array("latents") if store.has_array("latents") else store.frames


def training_fetch(run):
    """``f(step) -> Batch`` of phase 1, whose clips may change as it goes on (``build.training_clips``)."""
    config, fetches = run.config, {}

    def fetch(step):
        clips = build.training_clips(config, step)
        if clips not in fetches:
            fetches[clips] = passive_fetch(run, *clips)
        return fetches[clips](step)

    return fetch
