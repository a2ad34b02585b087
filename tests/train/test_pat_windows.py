"""Windows of what the buffer keeps: latents and the actions of the same frames, whatever a latent spans."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prowl_jax.pat import buffer as pat
from prowl_jax.train import curriculum as loop
from prowl_jax.types import Batch


@pytest.mark.parametrize("stride", [1, 4])
def test_actions_begin_where_the_latents_do(monkeypatch, stride):
    """Latent k carries k and the action of frame t carries t, so that latent k stands at frame ``stride k``."""
    seen = []

    def make_update(*_, **__):
        def update(theta, frozen, batch, key):
            jax.debug.callback(lambda *x: seen.append(x), batch.latents[..., 0, 0, 0], batch.actions[..., 0])
            return dataclasses.replace(theta, step=theta.step + 1), {"loss": jnp.zeros(())}

        return update

    monkeypatch.setattr(loop, "make_update", make_update)
    latents, window, frames = 9, 4, lambda n: 1 + stride * (n - 1)
    item = loop.PATItem(
        jnp.broadcast_to(jnp.arange(latents, dtype=jnp.float32)[:, None, None, None], (latents, 1, 1, 1)),
        jnp.arange(frames(latents))[:, None], jnp.zeros((1, 1, 1, 3), jnp.uint8), jnp.zeros((1, 1, 1, 2), jnp.float16),
    )  # fmt: skip
    scoring = pat.Scoring()
    buffer = pat.init(jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), item), 2)
    two = jax.tree.map(lambda x: jnp.stack([x, x]), item)
    buffer = pat.insert(buffer, two, jnp.ones(2), jnp.zeros(2), jnp.ones(2, bool), 0, scoring)
    model = types.SimpleNamespace(stride=stride, frames_of=frames)
    curriculum = loop.Curriculum(context=2, horizon=7, window=window, updates=12, batch=8, scoring=scoring)
    passive = Batch(jnp.zeros((12, 4, window, 1, 1, 1)), jnp.zeros((12, 4, frames(window), 1), jnp.int32))
    theta = loop.TrainState({}, {}, {}, jnp.zeros((), jnp.int32))
    loop.make_fine_tune(model, None, None, curriculum)(theta, {}, buffer, passive, jax.random.key(0), 0)
    jax.effects_barrier()
    firsts = set()
    for z, actions in seen:
        rows = np.asarray(z)[4:], np.asarray(actions)[4:]
        assert rows[1].shape == (4, frames(window))
        np.testing.assert_array_equal(np.diff(rows[0]), 1)
        np.testing.assert_array_equal(np.diff(rows[1]), 1)
        np.testing.assert_array_equal(stride * rows[0], rows[1][:, ::stride])
        firsts |= set(rows[0][:, 0])
    assert len(seen) == 12 and firsts == set(range(latents - window + 1))
