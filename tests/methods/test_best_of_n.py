"""Best of N: the dream that is kept is the best, and what is trained on is it."""

import dataclasses

import jax
import numpy as np
import optax
import pytest
from tiny_world import BUDGET, cheap_flow, shared_by

from prowl_jax.methods.best_of_n import BestOfN, Config, make_choose
from prowl_jax.rewards import ERRORS, OF_BRANCHES, REWARDS
from prowl_jax.rewards.dream import group, make_dream
from prowl_jax.types import Batch, RealClip

SPENT = dataclasses.replace(BUDGET, updates=2, batch=3)


@pytest.fixture(scope="module")
def clips(tiny):
    """``[updates, batch]`` clips of a context and what followed."""
    rng = np.random.default_rng(0)
    latents = rng.normal(size=(2, 3, SPENT.clip, 2, 2, 3)).astype(np.float32)
    return Batch(latents, np.stack([rng.integers(0, n, (2, 3, SPENT.clip)) for n in (3, 5)], -1).astype(np.int32))


def chosen(tiny, clips, config):
    shared = shared_by(tiny, optax.adam(1e-2), budget=SPENT)
    return jax.jit(make_choose(config, shared))(tiny.params, clips, jax.random.key(0))


def test_of_n_dreams_the_one_of_least_regret_is_trained_on(tiny, clips):
    batches, metrics = chosen(tiny, clips, Config(dreams=5, dream_share=0.67))
    assert batches.latents.shape == (2, 3, 4, 2, 2, 3) and batches.actions.shape == (2, 3, 4, 2)
    dreams = jax.jit(group(make_dream(tiny.model, 2, cheap_flow), 5))
    kept, every = [], []
    for i, key in enumerate(jax.random.split(jax.random.key(0), 2)):
        first = RealClip(clips.latents[i, :2], clips.actions[i, :2])
        dreamt = np.asarray(dreams(tiny.params, key, first).latents)
        error = np.sqrt(((dreamt - clips.latents[i, :2, None, 2:]) ** 2).mean((2, 3, 4, 5)))
        for row in range(2):
            best = dreamt[row, error[row].argmin()]
            np.testing.assert_allclose(batches.latents[i, row], best, rtol=1e-4, atol=1e-5)
            np.testing.assert_array_equal(batches.actions[i, row], clips.actions[i, row, 2:])
        kept.extend(error.min(1))
        every.extend(error.ravel())
        # The last row is a demonstration, as it is.
        np.testing.assert_array_equal(batches.latents[i, 2], clips.latents[i, 2, :4])
        np.testing.assert_array_equal(batches.actions[i, 2], clips.actions[i, 2, :4])
    np.testing.assert_allclose(metrics["regret"], np.mean(every), rtol=1e-4)
    np.testing.assert_allclose(metrics["regret_of_best"], np.mean(kept), rtol=1e-4)
    assert metrics["regret_of_best"] < metrics["regret"]


def test_of_a_reward_that_is_no_error_the_highest_is_kept(tiny, clips, monkeypatch):
    def bright(params, dream):
        return dream.latents.mean((-4, -3, -2, -1))

    monkeypatch.setitem(REWARDS, "bright", bright)
    _, metrics = chosen(tiny, clips, Config(dreams=5, best_by="bright"))
    assert metrics["bright_of_best"] > metrics["bright"]


@pytest.mark.parametrize("reward", [*REWARDS, *OF_BRANCHES])
def test_any_reward_can_choose_though_demonstrations_are_latents(tiny, clips, reward):
    _, metrics = chosen(tiny, clips, Config(dreams=5, best_by=reward))
    assert (metrics[f"{reward}_of_best"] < metrics[reward]) == (reward in ERRORS)
    assert metrics[f"{reward}_of_best"] != metrics[reward]


def test_the_real_frames_that_a_reward_is_told_are_the_decoded_ones(tiny, clips, monkeypatch):
    def brightness(params, dream):
        return dream.real.frames.astype(float).mean((-4, -3, -2, -1)) / 255.0

    monkeypatch.setitem(REWARDS, "brightness", brightness)
    _, metrics = chosen(tiny, clips, Config(dreams=2, best_by="brightness", dream_share=1.0))
    frames = jax.vmap(lambda one: tiny.model.decode(tiny.params, one))(clips.latents)
    np.testing.assert_allclose(metrics["brightness"], frames[:, :, 2:].mean(), atol=2e-3)


def test_of_one_dream_nothing_is_chosen(tiny, clips):
    _, metrics = chosen(tiny, clips, Config(dreams=1))
    np.testing.assert_allclose(metrics["regret"], metrics["regret_of_best"], rtol=1e-6)


def test_what_it_costs(tiny):
    method = BestOfN(Config(dreams=8), shared_by(tiny, optax.adam(1e-2), budget=SPENT))
    assert method.spent()["dreamt_latents"] == 2 * 2 * 8 * SPENT.horizon
    assert method.spent()["environment_steps"] == 0 and not method.needs().acts


@pytest.mark.parametrize("wrong", [{"dreams": 0}, {"dream_share": 0.0}, {"dream_share": 1.5}, {"best_by": "beauty"}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=f"best_of_n.{next(iter(wrong))}"):
        Config(**wrong)
