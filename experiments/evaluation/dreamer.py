"""Dreams of many clips by as few compiled programs as can be, and what they are held against, as 8-bit frames."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.evaluation.evaluate import BATCH
from experiments.run.config_file import UsageError
from prowl_jax.metrics.image import gradient_energy, psnr
from prowl_jax.rewards.dream import make_dream
from prowl_jax.spans import program
from prowl_jax.types import Clip, RealClip


def latents_of(model, context, frames):
    """Latents of a clip whose context is followed by at least ``frames`` frames, in whole chunks."""
    return context + model.chunk * -(-frames // (model.stride * model.chunk))


def pixel_frames(model, context, frames):
    """Frames of such a clip."""
    return model.frames_of(latents_of(model, context, frames))


def spread_clips(store, episodes, clips, length, seed):
    """At most ``clips`` clips of ``length`` frames, no two from the same place, spread evenly over ``episodes``.

    In an order of chance, so that neighbours, who exchange their actions and are told apart, come from anywhere.
    """
    starts = store.starts(episodes, length)
    if not len(starts):
        raise UsageError(f"no held-out episode of {store.path} has {length} frames")
    chosen = starts[np.linspace(0, len(starts) - 1, min(clips, len(starts))).astype(int)]
    return store.gather(np.random.default_rng(seed).permutation(chosen), length)


class Dreamer:
    """Dreams and decodes clips of numpy arrays, ``rows`` at a time: one program for each number of frames.

    The noise belongs to (key, number of the batch): what is dreamt twice of the same rows differs by its actions.
    """

    def __init__(self, model, params, context, key, on_batch, rows=BATCH):
        self.rows = rows
        self.model, self.params, self.context = model, params, context
        self.seen = model.frames_of(context)
        self._key, self._on_batch = key, on_batch
        dream = make_dream(model, context, no_flow)

        @jax.jit
        def dreamt(params, key, frames, actions):
            latents = model.encode(params, frames)
            return _seen(dream(params, key, RealClip(latents, actions, frames)).frames)

        @jax.jit
        def decoded(params, frames):
            latents = model.encode(params, frames)
            return _seen(model.decode_after(params, latents[:, :context], latents[:, context:]))

        self._dream, self._decode = program(dreamt), program(decoded)

    def dream(self, clips, frames):
        """The first ``frames`` predicted frames of every clip: uint8 ``[B, frames, H, W, 3]``."""
        return self._batches(self._dream, clips, frames, lambda i: (jax.random.fold_in(self._key, i),))

    def decode(self, clips, frames):
        """The same frames, real, through encoder and decoder."""
        return self._batches(
            lambda params, frames, actions: self._decode(params, frames), clips, frames, lambda i: (), told=False
        )

    def real(self, clips, frames):
        """The same frames, real."""
        return clips.frames[:, self.seen : self.seen + frames]

    def last_seen(self, clips):
        """The last frame of every context, ``[B, 1, H, W, 3]``."""
        return clips.frames[:, self.seen - 1 : self.seen]

    def led(self, clips, frames):
        """The actions that led to the same frames, ``[B, frames, A]``."""
        return clips.actions[:, self.seen - 1 : self.seen - 1 + frames]

    def _batches(self, function, clips, frames, more, told=True):
        length, out = pixel_frames(self.model, self.context, frames), []
        for start, some, count in in_batches(
            Clip(clips.frames[:, :length], clips.actions[:, :length]), self.rows
        ):
            dreamt = function(self.params, *more(start), some.frames, some.actions)
            out.append(np.asarray(dreamt)[:count, :frames])
            if told:
                self._on_batch()
        return np.concatenate(out)


def in_batches(clips, rows=BATCH):
    """Yields (first row, ``rows`` rows of ``clips``, how many count): the last are filled up with the first clips."""
    total = len(clips.actions)
    for start in range(0, total, rows):
        chosen = np.arange(start, start + rows) % total
        yield start, jax.tree.map(lambda x, i=chosen: x[i], clips), min(rows, total - start)


def no_flow(params, first, second):
    """In the place of an optical flow, which nobody reads here."""
    del params, second
    return jnp.zeros((*first.shape[:-1], 2))


def _seen(frames):
    return jnp.round(frames * 255.0).astype(jnp.uint8)


@jax.jit
def _compare(frames, real):
    frames, real = frames.astype(jnp.float32), real.astype(jnp.float32)
    a, b = frames / 255.0, real / 255.0
    regret = jnp.sqrt(jnp.mean(jnp.square((frames - real) / 255.0), axis=(-3, -2, -1)))  # exactly 0 of equal frames
    return {"regret": regret, "psnr": psnr(a, b), "energy": gradient_energy(a)}


def compare(frames, real):
    """``regret`` (root mean square error of pixels in 0..1), ``psnr`` in dB, gradient ``energy``: ``[B, T]`` each."""
    rows = [_compare(*pair) for pair in zip(frames, real, strict=True)]
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}
