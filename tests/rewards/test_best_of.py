"""Choosing among dreams in use: the chunk that goes on is the best of N by a reward that asks no real future."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_world_model import Turning
from turning_bench import CONTEXT, FRAMES, Judge, change, turning_clips

from prowl_jax.rewards.best_of import BestOf, take
from prowl_jax.rewards.dream import make_dream, make_observe
from prowl_jax.rewards.inverse_dynamics import NAME, make_inverse_dynamics
from prowl_jax.rewards.similarity import similarity

CLIPS = turning_clips()
CHOICES = 3


def bright(params, dream):
    """The brighter, the better."""
    del params
    return dream.latents.mean((1, 2, 3, 4))


def dreamt(model, params=None):
    """Dreams of the clips, numpy ``[B, FRAMES, H, W, 3]``."""
    clips = make_observe(model, CONTEXT, change)({}, CLIPS)
    return np.asarray(make_dream(model, CONTEXT, change)(params or {}, jax.random.key(3), clips).latents)


def test_every_chunk_is_the_best_of_those_that_could_follow_the_best_before():
    model = Turning(noise=0.1)
    chosen = dreamt(BestOf(model, bright, CHOICES))
    past = model.encode({}, CLIPS.frames[:, :CONTEXT])
    for t, key in enumerate(jax.random.split(jax.random.key(3), FRAMES)):
        led = CLIPS.actions[:, t : t + CONTEXT + 1]
        could = jnp.stack([model.rollout({}, one, past, led, 1) for one in jax.random.split(key, CHOICES)])
        best = np.asarray(could.mean((2, 3, 4, 5))).argmax(0)
        assert len(set(best)) > 1
        np.testing.assert_allclose(chosen[:, t], [could[n, row, 0] for row, n in enumerate(best)], atol=1e-6)
        past = jnp.concatenate([past[:, 1:], chosen[:, t][:, None]], axis=1)


@dataclasses.dataclass(frozen=True)
class Fickle(Turning):
    """Heeds its actions in half of its dreams."""

    def rollout(self, params, key, context, actions, n_chunks, common_noise=False):
        heeds = jax.random.bernoulli(key)
        plain = dataclasses.replace(self, follows=False)
        pair = (Turning.rollout(m, params, key, context, actions, n_chunks) for m in (self, plain))
        return jnp.where(heeds, *pair)


def test_a_judge_of_actions_chooses_the_dreams_that_heed_them():
    reward = make_inverse_dynamics(Judge(), Judge.sizes, before=8)
    exact = dreamt(Turning())
    error = {n: np.abs(dreamt(BestOf(Fickle(), reward, n), {NAME: {}}) - exact).mean() for n in (1, 8)}
    assert error[8] < 0.1 * error[1]


def test_a_judge_may_see_more_than_the_last_frame_and_is_asked_about_the_dream_alone():
    shown = []

    class Notes(Judge):
        def apply(self, params, frames):
            shown.append(frames.shape[1])
            return super().apply(params, frames)

    model = Turning()
    clips = make_observe(model, CONTEXT, change)({}, CLIPS)
    dream = make_dream(model, CONTEXT, change)({}, jax.random.key(0), clips)
    one, more = (make_inverse_dynamics(Notes(), Judge.sizes, before=n)({NAME: {}}, dream) for n in (1, 8))
    np.testing.assert_array_equal(one, more)
    assert shown == [1 + FRAMES, CONTEXT + FRAMES]


def test_a_reward_that_asks_what_really_followed_cannot_choose():
    with pytest.raises(ValueError, match="similarity needs the real frames"):
        dreamt(BestOf(Turning(noise=0.1), similarity, 2))


def test_what_is_taken():
    several = np.arange(12).reshape(3, 2, 2)
    assert take(several, np.array([2, 0])).tolist() == [[8, 9], [2, 3]]
