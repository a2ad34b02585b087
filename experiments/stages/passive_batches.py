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
    latents = latents_of(run.config, store)

    def fetch(step):
        frames = starts(step)[:, None] + np.arange(length)
        return Batch(latents[frames], store.actions[frames])

    return fetch


def latents_of(config, store):
    """A store's latents, to be indexed by frames: those that were cached, or those that the frames themselves are."""
    if config.autoencoder.kind == "pixels":
        return PixelLatents(store.frames, build.make_world_model(config))
    return store.array("latents")


class PixelLatents:
    """Latents of frames that no autoencoder encodes: made when they are asked for."""

    def __init__(self, frames, world_model):
        self._frames, self._world_model = frames, world_model

    def __getitem__(self, chosen):
        """float32 ``[..., h, w, C]`` of the frames of these numbers ``[...]``."""
        return self._world_model.from_kept(self._frames[chosen])


def training_fetch(run):
    """``f(step) -> Batch`` of phase 1, whose clips may change as it goes on (``build.training_clips``)."""
    config, fetches = run.config, {}

    def fetch(step):
        clips = build.training_clips(config, step)
        if clips not in fetches:
            fetches[clips] = passive_fetch(run, *clips)
        return fetches[clips](step)

    return fetch
