"""The one place where a world model dreams what really happened: scoring, rewards, evaluation and reports share it.

A ``flow`` here and elsewhere is ``f(params, first, second) -> [..., H, W, 2]``, where each pixel of the first frame
has gone in the second: frames ``[..., H, W, 3]`` in 0..1, and the world model's parameters, among which a flow with
weights finds its own (``optical_flow.small_flow`` has none). One and the same measures real and dreamt frames.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from prowl_jax.metrics.action_follow import flow_of_frames
from prowl_jax.types import Dream, RealClip


def make_observe(world_model, context, flow, to_env=None):
    """``observe(params, clip) -> RealClip``, jitted: real frames encoded, and their flow.

    ``clip`` is a ``Trajectory`` or a ``Clip`` with a leading batch axis. Neither latents nor flow depend on what
    post-training changes, so once a trajectory is enough.

    Args:
      context: S, latents of what is only seen; the flow is into the frames after it.
      to_env: from the policy's actions to the world model's; None where they are the same.
    """

    @jax.jit
    def observe(params, clip):
        after = clip.frames[:, world_model.frames_of(context) - 1 :].astype(jnp.float32) / 255.0
        return RealClip(
            latents=world_model.encode(params, clip.frames),
            actions=clip.actions if to_env is None else to_env(clip.actions),
            frames=clip.frames,
            flow=flow_of_frames(after, functools.partial(flow, params)).astype(jnp.float16),
        )

    return observe


def make_shown(world_model, context, flow):
    """``shown(params, clip) -> RealClip``: one of which only latents are known, with frames and flow as it decodes.

    What a reward is told of the real frames of demonstrations, of which post-training reads latents alone. Pure and
    not jitted: under ``jit`` nothing is decoded for a reward that does not look. ``context`` as of ``make_observe``.
    """
    seen = world_model.frames_of(context)

    def shown(params, clip):
        frames = world_model.decode(params, clip.latents)
        moved = flow_of_frames(frames[:, seen - 1 :], functools.partial(flow, params)).astype(jnp.float16)
        return dataclasses.replace(clip, frames=jnp.round(frames * 255.0).astype(jnp.uint8), flow=moved)

    return shown


def make_dream(world_model, context, flow, *, common_noise=False):
    """``dream(params, key, clip) -> Dream``: all of a ``RealClip`` after its first ``context`` latents, dreamt.

    Pure and not jitted: under ``jit``, what of the ``Dream`` nobody reads is not computed. Where the clip has no
    frames, those of the context are decoded.

    Args:
      context: S, latents that the dream begins from, whole chunks.
      common_noise: every row starts from the same noise, see ``WorldModel.rollout``.
    """
    told = make_told(world_model, context, flow)

    def dream(params, key, clip):
        past = clip.latents[:, :context]
        chunks = (clip.latents.shape[1] - context) // world_model.chunk
        noise = {"common_noise": True} if common_noise else {}
        return told(params, world_model.rollout(params, key, past, clip.actions, chunks, **noise), clip)

    return dream


def make_told(world_model, context, flow):
    """``told(params, latents, clip) -> Dream``: dreamt latents ``[B, L', h, w, C]`` beside the clip they continue."""
    beside = make_beside(world_model, context, flow)

    def told(params, latents, clip):
        return beside(params, latents, world_model.decode_after(params, clip.latents[:, :context], latents), clip)

    return told


def make_beside(world_model, context, flow):
    """``beside(params, latents, frames, clip) -> Dream``: what continues a clip, whoever made it, beside what did.

    Latents ``[B, L', h, w, C]`` and the frames ``[B, T', H, W, 3]`` in 0..1 that they show; a ``RealClip``.
    """
    seen = world_model.frames_of(context)

    def beside(params, latents, frames, clip):
        past, real = clip.latents[:, :context], clip.latents[:, context:]
        real = real[:, : latents.shape[1]]
        if clip.frames is None:
            before, after = world_model.decode(params, past), None
        else:
            before = clip.frames[:, :seen].astype(jnp.float32) / 255.0
            after = clip.frames[:, seen : seen + frames.shape[1]]
        moved = flow_of_frames(jnp.concatenate([before[:, -1:], frames], 1), functools.partial(flow, params))
        followed = RealClip(real, clip.actions, after, clip.flow)
        return Dream(latents, frames, moved, past, before, clip.actions, followed)

    return beside


def group(dream, size):
    """``dreams(params, key, clip) -> Dream``: ``size`` dreams of each clip, leaves ``[B, size, ...]``."""

    def dreams(params, key, clip):
        return jax.vmap(dream, (None, 0, None), 1)(params, jax.random.split(key, size), clip)

    return dreams


@dataclasses.dataclass(frozen=True)
class OfSeveral:
    """A reward of several dreams of each clip, for ``make_score``.

    Attributes:
      reward: ``f(params, dream) -> [B]`` of a ``Dream`` with leaves ``[B, dreams, ...]``.
      dreams: K, at least 2.
    """

    reward: Any
    dreams: int

    def __post_init__(self):
        if self.dreams < 2:
            raise ValueError(f"phase2.score_dreams={self.dreams}: a score of several dreams needs at least 2")


def make_score(dream, rewards, rows, seed=0):
    """``score(params, clips) -> {name: [B]}``, jitted: every reward of one dream a clip, or of as many as it asks for.

    Rows are taken ``rows`` at a time, so that memory stays bounded. The noise is that of ``seed`` in every call: with
    a ``dream`` of common noise a later scoring measures the change of the model and not of the noise.

    Args:
      dream: from ``make_dream``. rewards: name -> ``f(params, dream) -> [B]``, or ``OfSeveral``, of which the first
        dream is the one that all others see.
    """
    score = score_of(dream, rewards, seed)

    @jax.jit
    def score_all(params, clips):
        count = clips.actions.shape[0]
        size = min(rows, count)
        # The last batch is filled up with the first rows, whose second scores are dropped.
        chosen = jnp.arange(-(-count // size) * size) % count
        if len(chosen) != count:
            clips = jax.tree.map(lambda x: x[chosen], clips)
        parts = jax.tree.map(lambda x: x.reshape(-1, size, *x.shape[1:]), clips)
        outputs = jax.lax.map(lambda part: score(params, part), parts)
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:count], outputs)

    return score_all


def score_of(dream, rewards, seed=0):
    """``score(params, clips) -> {name: [B]}`` of one batch; see ``make_score``."""
    most = max((reward.dreams for reward in rewards.values() if isinstance(reward, OfSeveral)), default=0)

    def score(params, clips):
        key = jax.random.key(seed)
        dreamt = dream(params, key, clips)
        if most > 1:
            others = group(dream, most - 1)(params, jax.random.fold_in(key, 1), clips)
            several = jax.tree.map(lambda one, more: jnp.concatenate([one[:, None], more], axis=1), dreamt, others)
        scores = {}
        for name, reward in rewards.items():
            if isinstance(reward, OfSeveral):
                first = jax.tree.map(lambda x, k=reward.dreams: x[:, :k], several)
                scores[name] = reward.reward(params, first)
            else:
                scores[name] = reward(params, dreamt)
        return scores

    return score
