"""PROWL's loop, part by part, on models that are known."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy_world_model import FrameByFrame

from prowl_jax.diffusion.forcing import Forcing
from prowl_jax.metrics import action_follow
from prowl_jax.pat import buffer as pat
from prowl_jax.pat.priority import Priority
from prowl_jax.train import curriculum
from prowl_jax.train.curriculum import Curriculum, PATItem
from prowl_jax.train.state import init_state
from prowl_jax.types import Batch, Trajectory

CONTEXT, HORIZON, SIZES = 2, 4, (3, 5)
TIME = CONTEXT + HORIZON


@pytest.fixture(autouse=True)
def cheap_flow(monkeypatch):
    """Optical flow is tested elsewhere; here the change of two colours stands for it."""
    monkeypatch.setattr(action_follow, "optical_flow", lambda first, second: (second - first)[..., :2])


@dataclasses.dataclass(frozen=True)
class Walk(FrameByFrame):
    """A world that can be predicted: a latent is the one before plus the action that led to it.

    ``params`` is an error that is added to every dreamt latent. A frame shows its latent's mean.
    """

    chunk: int = 2

    def rollout(self, params, key, context, actions, n_chunks, common_noise=False):
        assert common_noise
        steps = actions[:, CONTEXT - 1 : CONTEXT - 1 + n_chunks * self.chunk].sum(-1)
        latents = context[:, -1:] + jnp.cumsum(steps, axis=1)[..., None, None, None]
        return latents + params["error"]

    def decode(self, params, latents):
        grey = latents.mean((2, 3, 4), keepdims=True) / 255.0
        return jnp.broadcast_to(grey, (*latents.shape[:2], 4, 4, 3))

    def encode(self, params, frames):
        return jnp.broadcast_to(frames[..., :1, :1, :1].astype(jnp.float32), (*frames.shape[:2], 2, 2, 3))


def walks(rows, seed=0):
    """Trajectories of that world."""
    rng = np.random.default_rng(seed)
    actions = rng.integers(0, 3, (rows, TIME, 2)).astype(np.int32)
    light = 10 + np.concatenate([np.zeros((rows, 1)), np.cumsum(actions.sum(-1)[:, :-1], axis=1)], axis=1)
    frames = np.broadcast_to(light[..., None, None, None], (rows, TIME, 4, 4, 3)).astype(np.uint8)
    valid, flags, zeros = (
        np.ones(rows, bool),
        np.zeros((rows, TIME), bool),
        np.zeros((rows, TIME), np.float32),
    )
    return Trajectory(frames, actions, flags, zeros, zeros, valid)


def settings(**changes):
    defaults = {
        "context": CONTEXT,
        "horizon": HORIZON,
        "window": 4,
        "updates": 2,
        "batch": 4,
        "score_batch": 3,
    }
    return Curriculum(**(defaults | changes))


def test_what_is_observed_of_a_trajectory():
    trajectory = walks(2)
    items = curriculum.make_observe(Walk(), settings())({}, trajectory)
    np.testing.assert_array_equal(items.frames, trajectory.frames)
    np.testing.assert_array_equal(items.actions, trajectory.actions)
    np.testing.assert_array_equal(items.latents[..., 0, 0, 0], trajectory.frames[..., 0, 0, 0])
    # Flow into every scored frame, the first from the last frame of the context.
    assert items.flow.shape == (2, HORIZON, 4, 4, 2) and items.flow.dtype == jnp.float16
    change = np.diff(trajectory.frames[:, CONTEXT - 1 :, 0, 0, 0].astype(int), axis=1) / 255
    np.testing.assert_allclose(items.flow[:, :, 0, 0, 0], change, atol=1e-3)


@pytest.mark.parametrize("rows", [3, 5, 2])
def test_a_perfect_prediction_has_no_regret(rows):
    """Whole batches of 3, a last one that is not full, and less than one."""
    walk, c = Walk(), settings()
    items = curriculum.make_observe(walk, c)({}, walks(rows))
    dreamt, regret, afs = curriculum.make_predict(walk, c)({"error": 0.0}, items)
    assert regret.shape == afs.shape == (rows,)
    np.testing.assert_allclose(dreamt, items.latents[:, CONTEXT:], atol=1e-4)
    np.testing.assert_allclose(regret, 0.0, atol=1e-4)
    np.testing.assert_allclose(afs, 0.0, atol=1e-3)


def test_a_flow_with_weights_finds_them_beside_the_world_models():
    """Twice the flow is twice the error: of the real frames in ``observe``, of the dreamt ones in ``predict``."""

    def flow(params, first, second):
        return params["factor"] * (second - first)[..., :2]

    walk, c = Walk(), settings()
    params = {"error": 51.0, "factor": 2.0}
    items = curriculum.make_observe(walk, c, flow=flow)(params, walks(3))
    plain = curriculum.make_observe(walk, c)({}, walks(3))
    np.testing.assert_allclose(items.flow, 2 * plain.flow, rtol=1e-3)
    _, regret, afs = curriculum.make_predict(walk, c, flow)(params, items)
    np.testing.assert_allclose(regret, 51.0, rtol=1e-5)
    np.testing.assert_allclose(afs, 2 * np.sqrt(2) * 0.2 / HORIZON, rtol=1e-2)


def test_a_constant_error_is_its_own_regret_and_moves_once():
    walk, c = Walk(), settings()
    items = curriculum.make_observe(walk, c)({}, walks(5))
    _, regret, afs = curriculum.make_predict(walk, c)({"error": 51.0}, items)
    np.testing.assert_allclose(regret, 51.0, rtol=1e-5)
    # All frames are too bright alike: only the step from the context into the dream differs, by
    # 51/255 in both colours, in one of four frame pairs.
    np.testing.assert_allclose(afs, np.sqrt(2) * 0.2 / HORIZON, rtol=1e-2)


class Ledger(FrameByFrame):
    """A world model that writes down what it is trained on, with one parameter."""

    def __init__(self):
        self.batches = []

    def velocity(self, params, z, sigma, actions):
        jax.debug.callback(lambda a: self.batches.append(np.array(a)), actions, ordered=True)
        return params["action_adapter"] * z


def pat_of(slots, filled):
    """A buffer whose actions say which slot and which step they are of: 100 + 10 slot + step."""
    actions = 100 + 10 * np.arange(slots)[:, None, None] + np.arange(TIME)[None, :, None]
    items = PATItem(
        jnp.zeros((slots, TIME, 1, 1, 1)), jnp.asarray(np.tile(actions, (1, 1, 2)), jnp.int32),
        jnp.zeros((slots, 1), jnp.uint8), jnp.zeros((slots, 1), jnp.float16),
    )  # fmt: skip
    empty = pat.init(jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), items), slots)
    regret = jnp.arange(float(slots))
    return dataclasses.replace(empty, items=items, filled=jnp.arange(slots) < filled, regret=regret)


def fine_tune_ledger(c, filled=3, cycle=5):
    ledger = Ledger()
    optimizer = optax.sgd(0.1)
    tune = curriculum.make_fine_tune(ledger, optimizer, Forcing(chunk=2), c)
    passive_rows = c.batch - round(c.pat_share * c.batch)
    passive = Batch(
        jnp.zeros((c.updates, passive_rows, c.window, 1, 1, 1)),
        jnp.broadcast_to(jnp.arange(c.updates)[:, None, None, None], (c.updates, passive_rows, c.window, 2)),
    )
    theta = init_state({"action_adapter": jnp.ones(())}, optimizer)
    theta, buffer, metrics = jax.block_until_ready(
        tune(theta, {}, pat_of(4, filled), passive, jax.random.key(0), cycle)
    )
    jax.effects_barrier()
    return theta, buffer, metrics, ledger.batches


def test_batches_mix_demonstrations_and_windows_of_the_buffer():
    c = settings(
        updates=40, batch=4, pat_share=0.75, window=4, priority=Priority(staleness=0.0, temperature=2.0)
    )
    assert (c.passive_rows, c.pat_rows) == (1, 3)
    theta, buffer, metrics, batches = fine_tune_ledger(c)
    assert len(batches) == 40 and int(theta.step) == 40 and np.isfinite(metrics["loss"])
    starts, slots = [], []
    for step, batch in enumerate(batches):
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
    drawn_alike = [tuple(b[1:, 0, 0]) for b in batches]
    assert len(set(drawn_alike)) > 20, "every step draws the same"


def test_without_a_share_the_buffer_is_left_alone():
    c = settings(updates=2, pat_share=0.0)
    _, buffer, _, batches = fine_tune_ledger(c)
    assert [b.shape for b in batches] == [(4, 4, 2)] * 2 and not buffer.last_sampled.any()


@pytest.mark.parametrize("share, batch, rows", [(0.5, 16, 8), (0.0, 4, 0), (1.0, 4, 4), (0.3, 10, 3)])
def test_the_share_of_rows(share, batch, rows):
    c = settings(pat_share=share, batch=batch)
    assert c.pat_rows == rows and c.passive_rows == batch - rows
