"""A world model as a ``DeviceEnv``: dreams that begin in real contexts, go on under actions, are rewarded and end.

As DIAMOND's world model environment (arXiv 2405.12399) and World Models' (arXiv 1803.10122): what a policy sees are
frames of 8 bits like the real ones; reward and end are said by heads that were trained on real frames, and the end is
drawn with the chance that they say. All of it is one program under ``jit``.

This file knows no network. A world model is anything with ``encode``, ``decode``, ``latent_shape``, ``prefill`` and
``next_chunk`` (``models.world_model``), heads are anything with ``apply`` (``models.reward_heads``).
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from prowl_jax.actions import ActionSpec
from prowl_jax.envs.base import DeviceStep
from prowl_jax.types import pytree


@pytree
class DreamState:
    """One dream.

    Attributes:
      key: of everything random; dream i draws from ``fold_in(key, i)``.
      episode, age: int32, dreams since ``reset`` and steps since this one began.
      cache: what the world model keeps of the past, of one row.
      frame: uint8 ``[H, W, 3]``, what is seen.
    """

    key: jax.Array
    episode: jax.Array
    age: jax.Array
    cache: Any
    frame: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DreamEnv:
    """Dreams of a world model of single frames; a ``DeviceEnv``, and a pytree: give it to jitted functions.

    The info of a step holds ``"reward"`` (float32) and ``"over"`` (bool: the heads ended the dream), as that of an
    environment with a goal does (``envs/voxel/goals.py``); without heads 0 and False.

    Attributes:
      params: of the world model. head_params: of the heads.
      contexts: latents ``[P, S, h, w, C]`` of real clips, drawn uniformly; as many frames as the model needs.
      actions: int32 ``[P, T, A]`` of their frames; T is S, and the last is not read.
      temperature: float scalar, by which the noise that a frame is made from is scaled: 1 is as trained, 0 the
        likeliest frame again and again, more is wilder. The part of World Models' tau. Where the model blurs its
        context when dreaming (``context_noise``), that noise is scaled as well.
      world_model, heads, spec, frame_shape: static.
      episode_steps: after as many steps a dream ends; 0 is never.
      dropout: float scalar, rate of the masks where there are any.
      masks: ``"dream"`` or ``"step"``: the world model's ``dream_mask`` is drawn for each of them (Dropout's Dream
        Land, arXiv 2109.08342: each step); ``""``: nothing is left out.

    Raises:
      ValueError: a model whose chunks are more than a frame: no action could be given in between.
    """

    params: Any
    head_params: Any
    contexts: jax.Array
    actions: jax.Array
    temperature: jax.Array
    world_model: Any = dataclasses.field(metadata={"static": True})
    heads: Any = dataclasses.field(metadata={"static": True})
    spec: ActionSpec = dataclasses.field(metadata={"static": True})
    frame_shape: tuple = dataclasses.field(metadata={"static": True})
    episode_steps: int = dataclasses.field(default=0, metadata={"static": True})
    dropout: Any = 0.0
    masks: str = dataclasses.field(default="", metadata={"static": True})

    def __post_init__(self):
        if self.world_model.chunk * self.world_model.stride != 1:
            raise ValueError(
                f"a dream is stepped frame by frame; this world model makes {self.world_model.chunk} latents of "
                f"{self.world_model.stride} frames at a time"
            )

    def reset(self, key):
        """The first dream of ``key``: (state, ``DeviceStep``)."""
        state = self._start(key, jnp.int32(0))
        return state, DeviceStep(state.frame, jnp.bool_(False), _info(jnp.float32(0), jnp.bool_(False)))

    def step(self, state: DreamState, action):
        """Dream one frame more under ``action`` (int32 ``[A]``): (state, ``DeviceStep``)."""
        draw = jax.random.fold_in(jax.random.fold_in(state.key, state.episode), state.age + 1)
        noise_key, end_key = jax.random.split(draw)
        shape = 1, 1, *self.world_model.latent_shape(self.frame_shape)
        noise = self.temperature * jax.random.normal(noise_key, shape)
        mask = {"kept": self._mask(state, noise_key)} if self.masks else {}
        latents, cache = self.world_model.next_chunk(self.params, noise, state.cache, action[None, None], **mask)
        frame = self._shown(latents)
        reward, over = self._judged(end_key, state.frame, frame, action)
        age = state.age + 1
        done = over | (age >= self.episode_steps) if self.episode_steps else over
        dreamt = DreamState(state.key, state.episode, age, cache, frame)
        fresh = self._start(state.key, state.episode + 1)
        state = jax.tree.map(lambda new, old: jnp.where(done, new, old), fresh, dreamt)
        return state, DeviceStep(state.frame, done, _info(reward, over))

    def _mask(self, state, step_key):
        key = step_key if self.masks == "step" else jax.random.fold_in(state.key, state.episode)
        return self.world_model.dream_mask(jax.random.fold_in(key, 1), self.dropout)

    def _start(self, key, episode):
        place = jax.random.randint(jax.random.fold_in(key, episode), (), 0, len(self.contexts))
        context, actions = self.contexts[place][None], self.actions[place][None]
        cache = self.world_model.prefill(self.params, context, actions)
        return DreamState(key, episode, jnp.int32(0), cache, self._shown(context[:, -1:]))

    def _shown(self, latents):
        """``[1, 1, h, w, C]`` -> uint8 ``[H, W, 3]``."""
        return jnp.round(255.0 * self.world_model.decode(self.params, latents)[0, 0]).astype(jnp.uint8)

    def _judged(self, key, before, after, action):
        if self.heads is None:
            return jnp.float32(0), jnp.bool_(False)
        reward, end = self.heads.apply(self.head_params, before[None], after[None], action[None])
        return reward[0], jax.random.bernoulli(key, jax.nn.sigmoid(end[0]))


def _info(reward, over):
    return {"reward": reward.astype(jnp.float32), "over": over}
