"""What flows through prowl_jax, and the legend of its dimension letters.

Dimension letters, used as shape suffixes and in docstrings everywhere:

  B  batch (clips, trajectories or environments)
  T  pixel frames, which is also environment steps
  L  latent frames (``L == T`` for an autoencoder that does not compress time)
  K  latent frames in one chunk of diffusion forcing
  H, W, 3   pixels, uint8 in 0..255 unless said otherwise
  h, w, C   latent grid and its channels, normalised to mean 0 and deviation 1
  N  tokens of one latent frame            D  model width
  A  action factors (see ``actions.ActionSpec``)

Frame t and action t: ``actions[t]`` is what was done on seeing ``frames[t]``; it leads
from frame t to frame t+1. The last action of a clip therefore leads out of it.
"""

import dataclasses
from typing import dataclass_transform

import jax


@dataclass_transform(frozen_default=True)
def pytree(cls):
    """Make ``cls`` a frozen dataclass whose fields are all pytree leaves or subtrees."""
    return jax.tree_util.register_dataclass(dataclasses.dataclass(frozen=True)(cls))


@pytree
class Clip:
    """A recorded stretch of frames and actions, with or without a leading batch axis.

    Attributes:
      frames: uint8 ``[..., T, H, W, 3]``.
      actions: int32 factors ``[..., T, A]``.
    """

    frames: jax.Array
    actions: jax.Array


@pytree
class Batch:
    """What one world-model step trains on.

    Attributes:
      latents: float ``[B, L, h, w, C]``, normalised.
      actions: int32 ``[B, T, A]``.
    """

    latents: jax.Array
    actions: jax.Array


@pytree
class Trajectory:
    """What a policy did in the real environment (PROWL section 3: tau).

    Attributes:
      frames: uint8 ``[B, T, H, W, 3]``.
      actions: int32 ``[B, T, A]``.
      first: bool ``[B, T]``, True where an episode starts (the policy's memory is reset).
      log_prob: float ``[B, T]``, of the actions under the policy that acted.
      value: float ``[B, T]``, the acting policy's value estimate.
      valid: bool ``[B]``, False where an episode ended inside the trajectory; such a
        trajectory is neither scored, nor learned from, nor kept.
      broken: bool ``[B]``, True where the environment broke on the way and was restarted (a game
        that died); never valid. None where nobody looked.
      events: name -> bool ``[B, T]``, what happened between frame t and t+1, where the environment
        knows (``DeviceStep``'s ``"event_..."``); else None. Ground truth, never an input of a model.
    """

    frames: jax.Array
    actions: jax.Array
    first: jax.Array
    log_prob: jax.Array
    value: jax.Array
    valid: jax.Array
    broken: jax.Array | None = None
    events: dict | None = None


@pytree
class RealClip:
    """A real clip as a world model is held against it: what the PAT buffer keeps of a trajectory, too.

    Attributes:
      latents: float ``[..., L, h, w, C]``, normalised.
      actions: int32 ``[..., T, A]``, the world model's.
      frames: uint8 ``[..., T, H, W, 3]``; None where only latents are known.
      flow: float16 ``[..., T', H, W, 2]``, the optical flow into each of the last T' frames, those after a context,
        in pixels; None where only latents are known.
    """

    latents: jax.Array
    actions: jax.Array
    frames: jax.Array | None = None
    flow: jax.Array | None = None


@pytree
class Dream:
    """What a world model makes of a context and the actions that followed it.

    Attributes:
      latents: float ``[..., L', h, w, C]``, normalised: what was dreamt after the context.
      frames: float ``[..., T', H, W, 3]`` in 0..1, what they show.
      flow: float32 ``[..., T', H, W, 2]``, the optical flow into each of them, the first from the last frame seen.
      context: float ``[..., S, h, w, C]``, the latents that it began from, real ones.
      seen: float ``[..., T - T', H, W, 3]`` in 0..1, the frames of the context.
      actions: int32 ``[..., T, A]``, from the context's first frame on.
      real: what really followed the context, cut as the dream is: ``latents [..., L', h, w, C]``,
        ``frames [..., T', H, W, 3]``, ``flow``; its ``actions`` are the dream's. None where nobody knows.
    """

    latents: jax.Array
    frames: jax.Array
    flow: jax.Array
    context: jax.Array
    seen: jax.Array
    actions: jax.Array
    real: RealClip | None = None
