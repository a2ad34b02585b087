"""Rewards of single dreams and of groups, on frames that are made up: what is nearer, what moves, what can be read."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prowl_jax.rewards.flow_magnitude import flow_magnitude
from prowl_jax.rewards.inverse_dynamics import make_inverse_dynamics
from prowl_jax.rewards.similarity import group_similarity, make_group_similarity, similarity, views_of
from prowl_jax.types import Dream, RealClip

rng = np.random.default_rng(0)
REAL = rng.integers(0, 256, (2, 1, 3, 24, 12, 3)).astype(np.uint8)  # [B, 1, T', two views of 12 rows, W, 3]
NOISE = rng.normal(size=(2, 4, 3, 24, 12, 3))


def dream_of(frames, actions=None):
    frames = jnp.asarray(frames, jnp.float32)
    real = RealClip(None, actions, jnp.broadcast_to(REAL, frames.shape))
    seen = jnp.zeros((*frames.shape[:2], 2, *frames.shape[3:]))
    return Dream(None, frames, jnp.zeros((*frames.shape[:-1], 2)), None, seen, actions, real)


def noisy(*amounts, of=NOISE):
    return np.clip(REAL / 255.0 + np.array(amounts)[:, None, None, None, None] * of, 0, 1)


def test_the_nearer_dream_is_worth_more_alone_and_in_its_group():
    for reward in (similarity, group_similarity):
        worth = np.asarray(reward({}, dream_of(noisy(0.0, 0.02, 0.1, 0.4))))
        assert worth.shape == (2, 4) and (np.diff(worth, axis=1) < 0).all()
    np.testing.assert_allclose(worth.mean(1), 0.0, atol=1e-5)


def test_of_two_views_each_counts_alike_however_far_it_spreads():
    same = np.repeat(NOISE[:, :1], 4, axis=1)
    upper = noisy(0.0, 0.4, 0.4, 0.4, of=same)[..., :12, :, :]
    lower = noisy(0.1, 0.0, 0.1, 0.1, of=same)[..., 12:, :, :]
    frames = np.concatenate([upper, lower], axis=-3)
    worth = np.asarray(make_group_similarity(views=2)({}, dream_of(frames)))
    np.testing.assert_allclose(worth[:, 0], worth[:, 1], atol=0.02)
    assert (worth[:, :2] > worth[:, 2:].max(1, keepdims=True)).all()
    np.testing.assert_array_equal(views_of(REAL, 2)[:, :, 1], REAL[..., 12:, :, :])
    with pytest.raises(ValueError, match="5 views"):
        views_of(REAL, 5)


def test_equal_dreams_are_worth_exactly_nothing_more_than_each_other():
    assert not np.asarray(group_similarity({}, dream_of(noisy(0.1, 0.1, 0.1, 0.1) * 0 + 0.5))).any()


def test_weights_of_lpips_are_one_term_more():
    far = make_group_similarity(distance=lambda a, b: jnp.abs(a - b).mean((-3, -2, -1)))
    worth = np.asarray(far({}, dream_of(noisy(0.0, 0.02, 0.1, 0.4))))
    assert (np.diff(worth, axis=1) < 0).all() and worth.max() > 2.0


def test_what_stands_still_has_no_flow():
    moving = dream_of(noisy(0.0, 0.0, 0.0, 0.0))
    assert not np.asarray(flow_magnitude({}, moving)).any()
    moved = Dream(None, None, jnp.broadcast_to(jnp.array([3.0, 4.0]), (2, 4, 3, 5, 5, 2)), None, None, None)
    np.testing.assert_allclose(flow_magnitude({}, moved), 5.0)


class Reads(types.SimpleNamespace):
    """A judge that always reads the action of its parameters."""

    def apply(self, params, frames):
        logits = jnp.concatenate([jax.nn.one_hot(a, n) for a, n in zip(params, self.sizes, strict=True)])
        return jnp.broadcast_to(logits, (len(frames), frames.shape[1] - 1, len(logits)))


def test_actions_are_read_off_by_factor_or_as_a_whole():
    sizes, actions = (3, 5), np.zeros((2, 4, 5, 2), np.int32)
    actions[:, 1:, :, 1] = 2  # the judge is right about both factors in the first dream of each group alone
    dream = dream_of(noisy(0.0, 0.0, 0.0, 0.0), jnp.asarray(actions))
    params = {"inverse_dynamics": (0, 0)}
    judge = Reads(sizes=sizes)
    by_factor, whole = (make_inverse_dynamics(judge, sizes, whole)(params, dream) for whole in (False, True))
    np.testing.assert_allclose(by_factor, [[1.0, 0.5, 0.5, 0.5]] * 2)
    np.testing.assert_allclose(whole, [[1.0, 0.0, 0.0, 0.0]] * 2)
    with pytest.raises(ValueError, match="needs the weights"):
        make_inverse_dynamics(judge, sizes)({}, dream)
    with pytest.raises(ValueError, match="reads actions"):
        make_inverse_dynamics(judge, (3, 4))
