"""Choosing among dreams while they are used: every chunk is dreamt N times, and the best by a reward goes on.

Best of N (``methods.best_of_n``) without training: N times the work buys what learning from the same reward could at
best distil. In use nobody knows what really follows, so a reward may not ask it: that of a judge of actions does not.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from prowl_jax.types import Dream


@dataclasses.dataclass(frozen=True)
class BestOf:
    """A world model whose ``rollout`` chooses; all else is the world model's own. Hashable.

    The past is run anew for every chunk, from as many latents as the context has.

    Attributes:
      world_model: the ``WorldModel``. dreams: N, of each chunk.
      reward: ``f(params, dream) -> [B]``, which reads neither ``dream.real`` nor ``dream.flow``: they are None.
    """

    world_model: Any
    reward: Callable
    dreams: int

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.world_model, name)

    def rollout(self, params, key, context, actions, n_chunks, common_noise=False):
        """As ``WorldModel.rollout``."""
        model, size, seen = self.world_model, self.chunk, context.shape[1]

        def one_more(past, inputs):
            index, key = inputs
            led = jax.lax.dynamic_slice_in_dim(actions, model.stride * size * index, model.frames_of(seen + size), 1)

            def dream(key):
                return model.rollout(params, key, past, led, 1, common_noise)

            several = jax.vmap(dream)(jax.random.split(key, self.dreams))
            best = take(several, self.choose(params, past, several, led))
            return jnp.concatenate([past[:, size:], best], axis=1), best

        keys = jax.random.split(key, n_chunks)
        _, chunks = jax.lax.scan(one_more, context, (jnp.arange(n_chunks), keys))
        return jnp.moveaxis(chunks, 0, 1).reshape(len(context), n_chunks * size, *context.shape[2:])

    def choose(self, params, past, several, actions):
        """Which of several chunks is the best, int ``[B]``; of equally good ones the first.

        Args:
          past: ``[B, S, h, w, C]``. several: ``[N, B, K, h, w, C]``. actions: int32 ``[B, T, A]`` of both.
        """
        seen = self.decode(params, past)

        def worth(latents):
            frames = self.decode_after(params, past, latents)
            return self.reward(params, Dream(latents, frames, None, past, seen, actions))

        return jnp.argmax(jax.vmap(worth)(several), axis=0)


def take(several, best):
    """``several[best[b], b]`` of ``[N, B, ...]`` and int ``[B]``: ``[B, ...]``."""
    return several[best, jnp.arange(len(best))]
