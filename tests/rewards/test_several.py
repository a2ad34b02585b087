"""Scores that know noise, on Gaussian worlds whose truth is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prowl_jax.metrics.unlearnable import unlearnable
from prowl_jax.rewards import ERRORS, OF_SEVERAL, REWARDS
from prowl_jax.rewards.dream import OfSeveral, make_score
from prowl_jax.rewards.reducible import make_progress, make_reducible
from prowl_jax.types import Dream, RealClip

ROWS, CONTEXT, HORIZON, SHAPE, K = 600, 1, 2, (2, 2, 3), 4
CHANCE = np.repeat([0.1, 2.0], ROWS // 2)[:, None, None, None, None]  # how much of each clip nobody can know
KEY = jax.random.key(3)


def world(seed=0):
    """Clips that go from 0 to 1 with more or less chance."""
    rng = np.random.default_rng(seed)
    future = 1.0 + CHANCE * rng.normal(size=(ROWS, HORIZON, *SHAPE))
    latents = np.concatenate([np.zeros((ROWS, CONTEXT, *SHAPE)), future], 1).astype(np.float32)
    return RealClip(jnp.asarray(latents), jnp.zeros((ROWS, CONTEXT + HORIZON, 1), jnp.int32))


def gaussian(params, key, clip):
    """A model whose network has a bias and a share of the true deviation; ``Dream`` as ``make_dream`` gives it."""
    past, real = clip.latents[:, :CONTEXT], clip.latents[:, CONTEXT:]
    dit = params["dit"]
    latents = 1.0 + dit["bias"] + dit["spread"] * CHANCE * jax.random.normal(key, real.shape)
    empty = jnp.zeros((len(real), 1))
    return Dream(latents, empty, empty, past, empty, clip.actions, RealClip(real, clip.actions))


def network(bias=0.0, spread=1.0):
    return {"bias": bias, "spread": spread}


def scored(params, **extra):
    rewards = {name: OfSeveral(reward, K) for name, reward in OF_SEVERAL.items()}
    score = make_score(gaussian, {"regret": REWARDS["regret"], **rewards, **extra}, ROWS)
    return {name: np.asarray(value) for name, value in score(params, world()).items()}


@pytest.fixture(scope="module")
def calibrated():
    return scored({"dit": network()})


def halves(values):
    """Means of the clips with little chance and with much."""
    return values.reshape(2, -1).mean(1)


def test_the_spread_corrected_regret_pays_for_no_chance_and_the_regret_does(calibrated):
    assert halves(calibrated["regret"])[1] > 15 * halves(calibrated["regret"])[0]
    few, many = calibrated["spread_corrected"].reshape(2, -1)
    for values in (few, many):
        assert abs(values.mean()) < 4 * values.std() / np.sqrt(len(values))
    # |bias|^2 + (true - model's) variance, in closed form.
    wrong = scored({"dit": network(bias=0.5, spread=0.5)})["spread_corrected"]
    np.testing.assert_allclose(halves(wrong), [0.25 + 0.75 * c**2 for c in (0.1, 2.0)], rtol=0.1)


def test_blur_lowers_the_regret_and_not_the_energy_score(calibrated):
    blurred = scored({"dit": network(spread=0.0)})
    assert halves(blurred["regret"])[1] < 0.8 * halves(calibrated["regret"])[1]
    assert halves(blurred["energy"])[1] > 1.1 * halves(calibrated["energy"])[1]


def test_learnability_is_nothing_for_the_solved_and_the_hopeless(calibrated):
    """With chance of 0.1 every dream beats the still picture, with a bias of 9 none does, at 2.0 some do."""
    solved, some = halves(calibrated["learnability"])
    assert solved == 0 and 0.02 < some <= 0.25
    assert not scored({"dit": network(bias=9.0)})["learnability"].any()
    assert set(np.unique(calibrated["learnability"]).round(4)) <= {0.0, 0.1875, 0.25}


def test_of_several_dreams_the_first_is_what_the_others_see(calibrated):
    alone = make_score(gaussian, REWARDS | {"afs": REWARDS["regret"]}, ROWS)({"dit": network()}, world())
    np.testing.assert_array_equal(alone["regret"], calibrated["regret"])
    first = scored({"dit": network()}, first=OfSeveral(lambda p, d: REWARDS["regret"](p, d)[:, 0], 2))["first"]
    np.testing.assert_allclose(first, calibrated["regret"], rtol=1e-6)


@pytest.mark.parametrize("make, name, sign", [(make_reducible, "oracle", 1), (make_progress, "before", -1)])
def test_against_another_network_only_what_it_knows_is_paid(make, name, sign):
    params = {"dit": network(bias=1.0), name: network(bias=0.0)}
    paid = sign * scored(params, paid=make(gaussian, 0))["paid"]
    # sqrt(bias^2 + 2 chance^2) - sqrt(2 chance^2), of 24 numbers a clip
    expected = [np.sqrt(1 + 2 * c**2) - np.sqrt(2) * c for c in (0.1, 2.0)]
    np.testing.assert_allclose(halves(paid), expected, atol=0.04)
    same = scored({"dit": network(), name: network()}, paid=make(gaussian, 0))
    np.testing.assert_allclose(same["paid"], 0, atol=1e-6)  # from the same noise
    with pytest.raises(ValueError, match=f"no network '{name}'"):
        scored({"dit": network()}, paid=make(gaussian, 0))


def test_what_is_named_is_an_error_or_is_not():
    assert {"spread_corrected", "energy", "reducible"} <= ERRORS and not {"learnability", "learning_progress"} & ERRORS
    assert not set(OF_SEVERAL) & set(REWARDS)
    with pytest.raises(ValueError, match="needs at least 2"):
        OfSeveral(OF_SEVERAL["energy"], 1)


def test_what_is_beyond_learning():
    regret = np.array([1.0, 1.0, 0.2, 1.0, 9.0], np.float32)
    reducible = np.array([0.0, 0.5, 0.0, -0.1, 0.0], np.float32)
    parts = unlearnable(regret, reducible, np.array([True] * 4 + [False]), 0.5)
    np.testing.assert_allclose([parts["unlearnable"], parts["hard"]], [2 / 4, 3 / 4])
    np.testing.assert_allclose(parts["reducible_share"], 0.5 / 3.2, rtol=1e-6)
    assert not any(unlearnable(regret, reducible, np.zeros(5, bool), 0.5).values())


