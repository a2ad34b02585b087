"""What is compiled once and shared by all who play: the next chunk of a dream, and what it is held against.

A dream goes on chunk by chunk: with one latent a chunk and one frame a latent, as of small models, that is a frame.
All programs are pure; a dream's state is ``Sleep``.
"""

import dataclasses
import functools
import threading
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from prowl_jax.metrics.action_follow import afs_epe, flow_of_frames
from prowl_jax.metrics.image import gradient_energy
from prowl_jax.models.unet.world_model import levels_of, powers
from prowl_jax.models.world_model import CACHES
from prowl_jax.rewards.best_of import BestOf
from prowl_jax.types import pytree

STEPS = (1, 2, 4, 8)
BEST_OF = (1, 2, 4, 8)
CONTEXT_NOISE = (0.0, 0.1, 0.2, 0.3)


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How a dream is sampled: one compiled program for each. Hashable.

    Attributes:
      steps: Euler steps a chunk, of ``STEPS``. context_noise: level of noise on what was before, of ``CONTEXT_NOISE``.
      cache: "window" or "rolling"; "" where the network has but one way to keep its past.
      best_of: dreams of every chunk, of which a judge of actions chooses one (``rewards.best_of``); of ``BEST_OF``.
    """

    steps: int
    context_noise: float = 0.0
    cache: str = ""
    best_of: int = 1


@pytree
class Sleep:
    """Where a dream is.

    Attributes:
      past: float ``[1, S, h, w, C]``, the last latents, real or dreamt. actions: int32 ``[1, T - 1, A]`` between their
        frames. cache: what ``next_chunk`` goes on from; None where the past is run anew for every chunk.
    """

    past: jax.Array
    actions: jax.Array
    cache: Any


def own_sampling(model):
    """The ``Sampling`` that a world model was made with."""
    levels = getattr(model, "sampler_levels", None)
    steps = len(levels) - 1 if levels else model.sampler_steps
    dreams = model.dreams if isinstance(model, BestOf) else 1
    return Sampling(steps, getattr(model, "context_noise", 0.0), getattr(model, "cache", ""), dreams)


def choices(model):
    """name of a setting -> values that it can take for this world model; one value where there is nothing to choose."""
    own = own_sampling(model)
    noisy = hasattr(model, "context_noise")
    return {
        "steps": tuple(sorted({*(powers(model.dit.shortcut) if model.dit.shortcut else STEPS), own.steps})),
        "context_noise": tuple(sorted({*CONTEXT_NOISE, own.context_noise})) if noisy else (0.0,),
        "cache": CACHES if own.cache else ("",),
        "best_of": tuple(sorted({*BEST_OF, own.best_of})) if isinstance(model, BestOf) else (1,),
    }


def sampled(model, sampling):
    """``model`` that samples as ``sampling`` says; a ``BestOf`` remains one where it is to choose."""
    if isinstance(model, BestOf):
        plain = sampled(model.world_model, sampling)
        return plain if sampling.best_of == 1 else BestOf(plain, model.reward, sampling.best_of)
    own = own_sampling(model)
    if own.cache:
        return dataclasses.replace(model, sampler_steps=sampling.steps, cache=sampling.cache)
    levels = model.sampler_levels if sampling.steps == own.steps else levels_of(model, sampling.steps)
    return dataclasses.replace(model, sampler_levels=levels, context_noise=sampling.context_noise)


class Programs:
    """The compiled programs of one world model. Compiling is slow: each is made once, whoever asks first.

    Args:
      model: the world model, or a ``BestOf`` of it and of a judge. params: its parameters, of any arm: they are
        arguments; of a ``BestOf`` the judge's are among them.
      frame_shape: ``(H, W, 3)``. context: S, latents that a dream starts from. flow: see ``rewards.dream``.
    """

    def __init__(self, model, params, frame_shape, context, flow):
        self.model, self.context, self.frame_shape = model, context, tuple(frame_shape)
        self.group = model.chunk * model.stride
        self._flow, self._example = flow, jax.tree.map(_described, params)
        self._made, self._lock = {}, threading.Lock()

    @property
    def world_model(self):
        """The world model itself, which chooses nothing: what is scored are its own dreams."""
        return self.model.world_model if isinstance(self.model, BestOf) else self.model

    @property
    def seen(self):
        """Frames that a dream starts from."""
        return self.model.frames_of(self.context)

    def ready(self, sampling):
        """Whether a dream of this ``Sampling`` would not have to wait."""
        made = self._made.get(sampling)
        return made is not None and made.is_set()

    def wake(self, sampling):
        """``f(params, frames [1, T, H, W, 3], actions [1, T, A]) -> Sleep``, a dream that begins."""
        return self._of(sampling)[0]

    def dream(self, sampling):
        """``f(params, sleep, key, temperature, actions [1, M K, A]) -> (frames uint8 [M K, H, W, 3], Sleep)``."""
        return self._of(sampling)[1]

    def compare(self):
        """``f(params, real [2, H, W, 3], dreamt [2, H, W, 3], first [H, W, 3])``, the last two frames and that from
        which the dream began: figures of the last, scalars.

        ``regret`` squared, ``still`` the same of ``first`` in the place of the dream, ``epe`` in pixels, ``energy`` of
        the dream and ``real_energy``.
        """
        return self._once("compare", self._make_compare)

    def expected(self, head):
        """``f(params, head_params, before, after, action, age) -> uint8 [H, W, 3]``: the error that a head expects.

        Of the frame ``after`` (uint8 ``[H, W, 3]``), the ``age``-th of a dream, that ``action`` (int32 ``[A]``) led to;
        grey, 255 for an error of the whole range of pixels (of an autoencoder's latents: of two of their deviations).
        """
        return self._once(head, functools.partial(self._make_expected, head))

    def compile_ahead(self, sampling):
        """Make what a first picture of a dream needs."""
        self._of(sampling)

    def _of(self, sampling):
        return self._once(sampling, functools.partial(self._make_dream, sampling))

    def _once(self, name, make):
        with self._lock:
            mine = name not in self._made
            made = self._made.setdefault(name, _Made())
        if mine:
            made.set(make)
        return made.get()

    def _make_dream(self, sampling):
        chooser, context = sampled(self.model, sampling), self.context
        model = chooser.world_model if isinstance(chooser, BestOf) else chooser
        anew = sampling.cache == "window"

        def wake(params, frames, actions):
            latents = model.encode(params, frames)[:, -context:]
            cache = None if anew else model.prefill(params, latents, actions)
            return Sleep(latents, actions[:, :-1], cache)

        def dream(params, sleep, key, temperature, actions):
            known = jnp.concatenate([sleep.actions, actions, actions[:, -1:]], 1)

            def one(key):
                if anew:
                    return model.rollout(params, key, sleep.past, known, 1), None
                noise = temperature * jax.random.normal(key, (1, model.chunk, *sleep.past.shape[2:]))
                return model.next_chunk(params, noise, sleep.cache, actions)

            if chooser is model:
                latents, cache = one(key)
            else:
                several = jax.vmap(one)(jax.random.split(key, sampling.best_of))
                (best,) = chooser.choose(params, sleep.past, several[0], known)
                latents, cache = jax.tree.map(lambda x: x[best], several)
            frames = model.decode_after(params, sleep.past, latents)[0]
            past = jnp.concatenate([sleep.past, latents], 1)[:, -context:]
            kept = jnp.concatenate([sleep.actions, actions], 1)[:, actions.shape[1] :]
            return jnp.round(frames * 255.0).astype(jnp.uint8), Sleep(past, kept, cache)

        shape, factors = jax.ShapeDtypeStruct, len(model.action_sizes)
        frames = shape((1, self.seen, *self.frame_shape), jnp.uint8)
        wake = jax.jit(wake).lower(self._example, frames, shape((1, self.seen, factors), jnp.int32)).compile()
        sleep = jax.tree.map(_described, wake.out_info)
        key = jax.eval_shape(lambda: jax.random.key(0))
        told = shape((1, self.group, factors), jnp.int32)
        return wake, jax.jit(dream).lower(self._example, sleep, key, shape((), jnp.float32), told).compile()

    def _make_expected(self, head):
        height, width, _ = self.frame_shape

        def expected(params, head_params, before, after, action, age):
            before, after = self.model.encode(params, jnp.stack([before, after])[:, None])
            said = head.log_scale(head_params, before[None], after[None], action[None, None], age)[0, 0]
            share = jnp.clip(jnp.exp(said) * jnp.mean(params["latent_std"]) / 2.0, 0.0, 1.0)
            rows, columns = (size // n for size, n in zip((height, width), share.shape, strict=True))
            wide = jnp.repeat(jnp.repeat(jnp.round(255.0 * share), rows, 0), columns, 1)
            return jnp.broadcast_to(wide[..., None], self.frame_shape).astype(jnp.uint8)

        return jax.jit(expected)

    def _make_compare(self):
        def compare(params, real, dreamt, first):
            latents = self.model.encode(params, jnp.stack([real[1], dreamt[1], first])[:, None])
            pairs = jnp.stack([real, dreamt]).astype(jnp.float32) / 255.0
            moved = flow_of_frames(pairs, functools.partial(self._flow, params))
            energy = gradient_energy(pairs[:, 1])
            return {
                "regret": jnp.mean(jnp.square(latents[1] - latents[0])),
                "still": jnp.mean(jnp.square(latents[2] - latents[0])),
                "epe": afs_epe(moved[1], moved[0]),
                "energy": energy[1],
                "real_energy": energy[0],
            }

        shape = jax.ShapeDtypeStruct
        two, one = shape((2, *self.frame_shape), jnp.uint8), shape(self.frame_shape, jnp.uint8)
        return jax.jit(compare).lower(self._example, two, two, one).compile()


class _Made:
    """What one thread makes and others wait for."""

    def __init__(self):
        self._done, self._value, self._error = threading.Event(), None, None

    def is_set(self):
        return self._done.is_set()

    def set(self, make):
        try:
            self._value = make()
        except BaseException as error:
            self._error = error
            raise
        finally:
            self._done.set()

    def get(self):
        self._done.wait()
        if self._error is not None:
            raise RuntimeError(f"a program could not be compiled: {self._error}") from self._error
        return self._value


def _described(x):
    return jax.ShapeDtypeStruct(np.shape(x), getattr(x, "dtype", None) or np.result_type(x))
