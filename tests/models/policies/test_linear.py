"""The linear controller: certain, a map of components and their change, its memory cleared where episodes begin."""

import types

import jax.numpy as jnp
import numpy as np
import pytest

from prowl_jax.models.policies.linear import LinearController

FRAME, SIZES, K = (8, 8, 3), (3, 2), 4
SPACE = types.SimpleNamespace(encode=lambda params, frames: frames.astype(jnp.float32) / params["latent_std"])
CONTROLLER = LinearController(SIZES, K, SPACE)
PARTS = {"autoencoder": {}, "latent_mean": jnp.zeros(()), "latent_std": jnp.float32(100.0)}


@pytest.fixture(scope="module")
def frames():
    return np.random.default_rng(0).integers(0, 256, (40, *FRAME)).astype(np.uint8)


@pytest.fixture(scope="module")
def params(frames):
    made = CONTROLLER.init(PARTS, frames)
    rng = np.random.default_rng(1)
    blank = made["map"]
    assert not np.any(blank["weights"]) and blank["weights"].shape == (2 * K, 5)
    return {**made, "map": {n: jnp.asarray(rng.normal(size=x.shape), jnp.float32) for n, x in blank.items()}}


def apply(params, frames, first, state=None):
    frames, first = jnp.asarray(frames)[None], jnp.asarray(first)[None]
    previous = jnp.zeros((1, frames.shape[1], 2), jnp.int32)
    return CONTROLLER.apply(params, state or CONTROLLER.initial_state(1), frames, previous, first)


def test_components_are_uncorrelated_and_of_deviation_1(params, frames):
    latents = frames.reshape(40, -1) / 100.0
    seen = (latents - np.asarray(params["mean"])) @ np.asarray(params["basis"])
    np.testing.assert_allclose(seen.T @ seen / 40, np.eye(K), atol=1e-3)


def test_the_largest_score_of_a_factor_is_certain(params, frames):
    logits, value, _ = apply(params, frames[:6], np.arange(6) == 0)
    latents = frames[:6].reshape(6, -1) / 100.0
    now = (latents - np.asarray(params["mean"])) @ np.asarray(params["basis"])
    change = np.concatenate([np.zeros((1, K)), np.diff(now, axis=0)])
    scores = np.concatenate([now, change], -1) @ np.asarray(params["map"]["weights"]) + params["map"]["bias"]
    for part, whole in ((logits[0, :, :3], scores[:, :3]), (logits[0, :, 3:], scores[:, 3:])):
        np.testing.assert_array_equal(part.argmax(-1), whole.argmax(-1))
        np.testing.assert_array_equal((np.asarray(part) == 0).sum(-1), 1)
        assert (np.sort(part, axis=-1)[..., 0] == -1e9).all()
    assert not value.any()


def test_acting_step_by_step_gives_what_one_long_call_gives(params, frames):
    first = np.array([True, False, False, True, False])
    whole, _, _ = apply(params, frames[:5], first)
    state, parts = None, []
    for t in range(5):
        logits, _, state = apply(params, frames[t : t + 1], first[t : t + 1], state)
        parts.append(logits)
    np.testing.assert_array_equal(jnp.concatenate(parts, 1), whole)
    fresh, _, _ = apply(params, frames[3:5], first[3:5])
    np.testing.assert_array_equal(fresh, whole[:, 3:])


def test_fewer_frames_than_components(frames):
    with pytest.raises(ValueError, match="2 frames"):
        CONTROLLER.init(PARTS, frames[:2])


def test_what_rests_is_not_searched_for(params, frames):
    """Of two factors one has a dead key: its value is always that, and the map is as large as the other needs."""
    controller = LinearController(SIZES, K, SPACE, rests=(None, 1))
    made = controller.init(PARTS, frames)
    assert made["map"]["weights"].shape == (2 * K, 3) and made["map"]["bias"].shape == (3,)
    own = {**params, "map": {"weights": params["map"]["weights"][:, :3], "bias": params["map"]["bias"][:3]}}
    seen = jnp.asarray(frames[:6])[None], jnp.zeros((1, 6, 2), jnp.int32), jnp.zeros((1, 6), bool)
    logits, _, _ = controller.apply(own, controller.initial_state(1), *seen)
    free, _, _ = CONTROLLER.apply(params, CONTROLLER.initial_state(1), *seen)
    np.testing.assert_array_equal(logits[..., :3], free[..., :3])
    np.testing.assert_array_equal(logits[..., 3:], np.broadcast_to([-1e9, 0.0], (1, 6, 2)).astype(np.float32))
