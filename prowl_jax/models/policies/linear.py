"""World Models' controller: a linear map from the latents to the action (arXiv 1803.10122, section 2.3).

There z and the memory's h come from networks of their own. Here a latent is a whole picture, so a few principal
components of the demonstrations' latents stand for z, and their change since the last frame for what h knows of motion.
Only the map is searched for: a thousand numbers, as there (867 and 1,088).

The interface is ``policies.small``'s; it has no value, and what it does is certain.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from prowl_jax.types import pytree

NEVER = -1e9
"""Logit of an action that is not the largest."""


@pytree
class LastSeen:
    """Components of the last frame: float ``[B, k]``, and whether there was one: bool ``[B]``."""

    components: jax.Array
    known: jax.Array


@dataclasses.dataclass(frozen=True)
class LinearController:
    """The controller as pure functions of explicit parameters; hashable.

    Attributes:
      sizes: of the action factors. components: k. world_model: whose ``encode`` makes latents of frames.
      rests: of each factor the value that it always has, or None where the map decides; (): it decides all. A task in
        which most keys are dead leaves few numbers to search for.

    Parameters are ``{"space", "mean", "basis", "map"}``: what ``encode`` needs, the components, and ``{"weights": [2k,
    n], "bias": [n]}``, n values of the factors that are decided, which alone is searched for.
    """

    sizes: tuple
    components: int
    world_model: Any
    rests: tuple = ()

    def init(self, world_model_params, frames):
        """Parameters whose map is 0, with the components of ``frames`` uint8 ``[n, H, W, 3]``, scaled to deviation 1.

        Raises:
          ValueError: fewer frames than components.
        """
        if len(frames) < self.components:
            raise ValueError(f"{len(frames)} frames have no {self.components} principal components")
        space = {n: world_model_params[n] for n in ("autoencoder", "latent_mean", "latent_std")}
        latents = np.asarray(self._latents(space, jnp.asarray(frames)))
        mean = latents.mean(axis=0)
        _, values, basis = np.linalg.svd(latents - mean, full_matrices=False)
        deviation = values[: self.components] / np.sqrt(len(frames))
        basis = basis[: self.components].T / np.maximum(deviation, 1e-6)
        outputs = sum(size for size, rest in self._factors() if rest is None)
        blank = {"weights": jnp.zeros((2 * self.components, outputs)), "bias": jnp.zeros(outputs)}
        return {"space": space, "mean": jnp.asarray(mean), "basis": jnp.asarray(basis, jnp.float32), "map": blank}

    def initial_state(self, batch):
        """Nothing was seen yet."""
        return LastSeen(jnp.zeros((batch, self.components)), jnp.zeros(batch, bool))

    def apply(self, params, state, frames, previous, first):
        """``logits [B, T, sum(sizes)], value [B, T], state``; the largest logit of a factor is 0, the others -1e9."""
        del previous
        batch, time = frames.shape[:2]
        latents = self._latents(params["space"], frames.reshape(batch * time, *frames.shape[2:]))
        now = ((latents - params["mean"]) @ params["basis"]).reshape(batch, time, -1)
        before = jnp.concatenate([state.components[:, None], now[:, :-1]], axis=1)
        known = jnp.concatenate([state.known[:, None], jnp.ones((batch, time - 1), bool)], axis=1) & ~first
        change = jnp.where(known[..., None], now - before, 0.0)
        scores = jnp.concatenate([now, change], -1) @ params["map"]["weights"] + params["map"]["bias"]
        logits, begin = [], 0
        for size, rest in self._factors():
            if rest is None:
                value = jnp.argmax(scores[..., begin : begin + size], axis=-1)
                begin += size
            else:
                value = jnp.full((batch, time), rest)
            logits.append(jnp.where(jax.nn.one_hot(value, size, dtype=bool), 0.0, NEVER))
        state = LastSeen(now[:, -1], jnp.ones(batch, bool))
        return jnp.concatenate(logits, -1), jnp.zeros((batch, time)), state

    def _factors(self):
        return zip(self.sizes, self.rests or (None,) * len(self.sizes), strict=True)

    def _latents(self, space, frames):
        return self.world_model.encode(space, frames[:, None]).reshape(len(frames), -1)
