"""What PROWL's world model is trained on: demonstrations, and windows of what the buffer keeps."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny_world import FRAME, cheap_flow

from prowl_jax.methods.base import Budget, Shared
from prowl_jax.methods.prowl import Config, Prowl
from prowl_jax.pat import buffer as pat
from prowl_jax.pat.priority import Priority
from prowl_jax.train.state import init_state
from prowl_jax.types import Batch, RealClip

TIME, WINDOW = 6, 4


def fine_tuned(clips, filled, raw, *, stride=1, updates, batch, cycle=5, **settings):
    """(theta, buffer, metrics, the batches that were trained on) after one cycle's updates."""
    batches = []

    def loss(params, batch, key):
        leaves = batch.latents[..., 0, 0, 0], batch.actions
        jax.debug.callback(lambda *x: batches.append([np.array(leaf) for leaf in x]), *leaves, ordered=True)
        return params["weight"] * 0.0 + 1.0, {"loss": jnp.ones(())}

    frames = lambda latents: 1 + stride * (latents - 1)  # noqa: E731
    model, optimizer = types.SimpleNamespace(stride=stride, frames_of=frames, chunk=2), optax.sgd(0.1)
    horizon = clips.latents.shape[1] - 2
    budget = Budget(context=2, window=WINDOW, horizon=horizon, updates=updates, batch=batch, ema_decay=0.0)
    method = Prowl(Config(reward=None, **settings), Shared(model, FRAME, loss, optimizer, cheap_flow, budget))
    slots = len(filled)
    buffer = pat.init(jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), clips), slots)
    raw = {**buffer.raw, "regret": jnp.asarray(raw, jnp.float32)}
    buffer = dataclasses.replace(buffer, items=clips, filled=jnp.asarray(filled), raw=raw)
    rows = method.needs().rows
    numbers = jnp.broadcast_to(jnp.arange(updates)[:, None, None, None], (updates, rows, frames(WINDOW), 2))
    passive = Batch(jnp.zeros((updates, rows, WINDOW, 1, 1, 1)), numbers)
    theta = init_state({"weight": jnp.ones(())}, optimizer)
    out = jax.block_until_ready(method.programs.fine_tune(theta, {}, buffer, passive, jax.random.key(0), cycle))
    jax.effects_barrier()
    return *out, batches


def numbered(slots, latents, stride=1):
    """Clips whose actions say which slot and which frame they are of: 100 + 10 slot + frame; latents are counted."""
    time = 1 + stride * (latents - 1)
    actions = 100 + 10 * np.arange(slots)[:, None, None] + np.arange(time)[None, :, None]
    z = np.broadcast_to(np.arange(latents, dtype=np.float32)[:, None, None, None], (slots, latents, 1, 1, 1))
    return RealClip(
        jnp.asarray(z), jnp.asarray(np.tile(actions, (1, 1, 2)), jnp.int32),
        jnp.zeros((slots, 1), jnp.uint8), jnp.zeros((slots, 1), jnp.float16),
    )  # fmt: skip


def test_batches_mix_demonstrations_and_windows_of_the_buffer():
    theta, buffer, metrics, batches = fine_tuned(
        numbered(4, TIME), [True, True, True, False], range(4), updates=40, batch=4,
        pat_share=0.75, priority=Priority(staleness=0.0, temperature=2.0),
    )  # fmt: skip
    assert len(batches) == 40 and int(theta.step) == 40 and np.isfinite(metrics["loss"])
    starts, slots = [], []
    for step, (_, batch) in enumerate(batches):
        assert batch.shape == (4, 4, 2)
        assert (batch[0] == step).all(), "the demonstrations of another step"
        for row in batch[1:, :, 0] - 100:
            np.testing.assert_array_equal(np.diff(row), 1)  # steps that follow each other, of one slot
            slots.append(row[0] // 10)
            starts.append(row[0] % 10)
    assert set(starts) == {0, 1, 2}, "windows of 4 in 6 steps begin at 0, 1 or 2"
    counts = np.bincount(slots, minlength=4)
    assert counts[3] == 0, "an empty slot was drawn"
    assert counts[2] > counts[1] > counts[0] > 0, "the highest regret is not drawn most"
    np.testing.assert_array_equal(buffer.last_sampled, [5, 5, 5, 0])
    drawn_alike = [tuple(actions[1:, 0, 0]) for _, actions in batches]
    assert len(set(drawn_alike)) > 20, "every step draws the same"


def test_without_a_share_the_buffer_is_left_alone():
    _, buffer, _, batches = fine_tuned(numbered(4, TIME), [True] * 4, range(4), updates=2, batch=4, pat_share=0.0)
    assert [actions.shape for _, actions in batches] == [(4, 4, 2)] * 2 and not buffer.last_sampled.any()


@pytest.mark.parametrize("share, batch, rows", [(0.5, 16, 8), (0.0, 4, 0), (1.0, 4, 4), (0.3, 10, 3)])
def test_the_share_of_rows(share, batch, rows):
    assert Config(pat_share=share).pat_rows(batch) == rows


@pytest.mark.parametrize("stride", [1, 4])
def test_actions_begin_where_the_latents_do(stride):
    """Latent k carries k and the action of frame t carries t, so that latent k stands at frame ``stride k``."""
    latents = 9
    clips = numbered(1, latents, stride)
    *_, batches = fine_tuned(clips, [True], [1.0], stride=stride, updates=12, batch=8)
    firsts = set()
    for z, actions in batches:
        z, actions = z[4:], actions[4:, :, 0] - 100
        assert actions.shape == (4, 1 + stride * (WINDOW - 1))
        np.testing.assert_array_equal(np.diff(z), 1)
        np.testing.assert_array_equal(np.diff(actions), 1)
        np.testing.assert_array_equal(stride * z, actions[:, ::stride])
        firsts |= set(z[:, 0])
    assert len(batches) == 12 and firsts == set(range(latents - WINDOW + 1))
