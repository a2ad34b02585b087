"""Cached latents of an autoencoder that makes one of several frames: they belong to clips, not to frames.

Which frames a latent shows depends on where its clip begins, and the first of a clip shows a single frame.
So the demonstrations are cut into clips as long as a trajectory of phase 2 (``ClipStore.tiles``) and encoded
clip by clip, and what is trained on is a window of such a clip, as it is a window of what the buffer keeps:
some windows begin with a latent of one frame, as every context of a rollout does, others in the middle.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from experiments.run.progress import Progress
from experiments.stages import build
from prowl_jax.metrics.image import psnr
from prowl_jax.train.autoencoder import latent_statistics
from prowl_jax.types import Batch

SAMPLE = 64
"""Clips from which statistics are taken where nobody has published them, and PSNR is measured."""


def clip_latents(config):
    """L, latents of a clip: the context and what is scored of a trajectory, or the most that an arm asks for."""
    asked = [build.make_method(config, arm).needs().length for arm in build.arms(config)]
    return max([build.make_budget(config).clip, *asked])


def add_latents(config, store, params, title):
    """Encode every clip of a store and keep the latents in it; a store that has them is left alone."""
    if store.has_array("latents"):
        return
    length = build.make_world_model(config).frames_of(clip_latents(config))
    starts = store.tiles(range(len(store.lengths)), length)
    with Progress(title, len(starts)) as progress:
        store.add_tiles("latents", length, _encoded(config, store, params, starts, length, progress.update))


@functools.cache  # one program for all that is encoded clip by clip
def _encoder(model):
    return jax.jit(model.encode)


def encode(model, params, frames):
    """Latents of clips of frames uint8 ``[B, T, H, W, 3]``, one clip at a time: numpy ``[B, L, h, w, C]``."""
    return np.concatenate([_encoder(model)(params, frames[i : i + 1]) for i in range(len(frames))])


def statistics(config, store, params, episodes):
    """(mean, deviation), by channel: the published ones of Wan's autoencoder, else measured on ``episodes``."""
    model = build.make_autoencoder(config)
    if any(model.latent_mean):
        return np.array(model.latent_mean, np.float32), np.array(model.latent_std, np.float32)
    length = build.make_world_model(config).frames_of(clip_latents(config))
    identity = {"latent_mean": jnp.zeros(model.channels), "latent_std": jnp.ones(model.channels)}
    sample = _sample(store.tiles(episodes, length))
    raw = encode(build.make_world_model(config), {**params, **identity}, store.gather(sample, length).frames)
    return tuple(map(np.asarray, latent_statistics(raw)))


def reconstruction_psnr(config, store, params, episodes):
    """PSNR in dB of frames of ``episodes`` after encoding and decoding; the latents have been added."""
    model = build.make_world_model(config)
    length = model.frames_of(clip_latents(config))
    latents, every = store.tile_array("latents", length), store.tiles(range(len(store.lengths)), length)

    @jax.jit
    def measure(params, latents, frames):
        return jnp.mean(psnr(model.decode(params, latents), frames.astype(jnp.float32) / 255.0))

    own = np.searchsorted(every, _sample(store.tiles(episodes, length)))
    return float(np.mean([measure(params, latents[i], store.clip(every[i], length).frames) for i in own]))


def _sample(starts):
    return starts[:: max(1, len(starts) // SAMPLE)][:SAMPLE]


def _encoded(config, store, params, starts, length, on_progress):
    """Yield the normalised latents of the clips at ``starts``, in order."""
    model = build.make_world_model(config)
    for i, start in enumerate(starts):
        yield encode(model, params, store.clip(start, length).frames[None])
        on_progress(i + 1)


class Windows:
    """Windows of ``length`` latents inside the cached clips of some episodes.

    Attributes:
      choices: int64 ``[S]``, a number for every window, for ``batch_starts`` to draw from.
    """

    def __init__(self, config, store, episodes, length):
        self._model, self._store, self._length = build.make_world_model(config), store, length
        clip = self._model.frames_of(clip_latents(config))
        self._latents = store.tile_array("latents", clip)
        self._starts = store.tiles(range(len(store.lengths)), clip)
        self._crops = clip_latents(config) - length + 1
        if self._crops < 1:
            raise ValueError(
                f"demonstrations are kept in clips of {clip_latents(config)} latents, and {length} are asked for: name "
                "the arm that needs them in arms before they are encoded"
            )
        own = np.searchsorted(self._starts, store.tiles(episodes, clip))
        self.choices = (own[:, None] * self._crops + np.arange(self._crops)).reshape(-1)

    def fetch(self, choices):
        """The windows of these numbers as a ``Batch``: latents, and the actions of their frames."""
        clips, firsts = np.divmod(choices, self._crops)
        frames = self._starts[clips] + self._model.stride * firsts
        frames = frames[:, None] + np.arange(self._model.frames_of(self._length))
        latents = self._latents[clips[:, None], firsts[:, None] + np.arange(self._length)]
        return Batch(latents, self._store.actions[frames])
