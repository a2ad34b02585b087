"""A policy without a network, for tests of what is made with policies: the same logits whatever is seen."""

import dataclasses

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class TablePolicy:
    """The interface of ``models.policies.small.Policy``; parameters ``{"logits": [sum(sizes)], "value": []}``."""

    sizes: tuple

    def init(self, key, frame_shape):
        del key, frame_shape
        return {"logits": 0.1 * jnp.arange(sum(self.sizes), dtype=jnp.float32), "value": jnp.float32(0)}

    def initial_state(self, batch):
        return jnp.zeros((batch, 1))

    def apply(self, params, state, frames, previous, first):
        del previous, first
        shape = frames.shape[:2]
        logits = jnp.broadcast_to(params["logits"], (*shape, sum(self.sizes)))
        return logits, jnp.broadcast_to(params["value"], shape), state

    def with_fresh_value(self, params):
        return {**params, "value": jax.tree.map(jnp.zeros_like, params["value"])}
