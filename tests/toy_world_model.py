"""World models that the tests know all about: what they share, and one of a picture that turns."""

import dataclasses

import jax
import jax.numpy as jnp


class FrameByFrame:
    """The part of ``WorldModel``'s interface that follows from a stride of 1."""

    stride = 1

    def frames_of(self, latents):
        return latents

    def decode_after(self, params, past, latents):
        return self.decode(params, latents)


def turned(frame, action):
    """What the world does: the picture goes a pixel to a side; a call changes nothing."""
    return jnp.roll(frame, jnp.array([0, 1, -1])[action[0]], axis=1)


@dataclasses.dataclass(frozen=True)
class Turning(FrameByFrame):
    """A world model whose latents are pixels in 0..1. It turns them as the actions say, or leaves them; its vices."""

    follows: bool = True
    blur: bool = False
    noise: float = 0.0
    lossy: bool = False
    chunk = 1

    def encode(self, params, frames):
        latents = frames.astype(jnp.float32) / 255.0
        return jnp.round(latents * 4.0) / 4.0 if self.lossy else latents

    def decode(self, params, latents):
        return jnp.clip(latents, 0.0, 1.0)

    def rollout(self, params, key, context, actions, n_chunks, common_noise=False):
        led, frame, out = actions[:, context.shape[1] - 1 :], context[:, -1], []
        for t in range(n_chunks):
            frame = jax.vmap(turned)(frame, led[:, t]) if self.follows else frame
            shown = (frame + jnp.roll(frame, 1, 1) + jnp.roll(frame, 1, 2)) / 3.0 if self.blur else frame
            out.append(shown + self.noise * jax.random.normal(jax.random.fold_in(key, t), frame.shape))
        return jnp.stack(out, 1)
