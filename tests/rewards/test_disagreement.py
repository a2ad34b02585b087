"""The ensemble: its formula in NumPy, that it agrees on what was seen, and its place in the loop."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_world import shared_by

from prowl_jax.methods.prowl import Config, Prowl
from prowl_jax.pat import buffer as pat
from prowl_jax.pat.reward import standardised
from prowl_jax.rewards import disagreement
from prowl_jax.train.disagreement import init_ensemble, make_fit, make_fit_cycle
from prowl_jax.types import Batch, RealClip

SIZES = (3, 2)
ENSEMBLE = disagreement.Ensemble((1, 2, 2), SIZES, members=4, width=16, learning_rate=3e-3)


def clips(rows, time, seed=0, action=None):
    """z moves by what the first action says; ``action`` is the only one, where given."""
    rng = np.random.default_rng(seed)
    actions = np.stack([rng.integers(0, n, (rows, time)) for n in SIZES], -1).astype(np.int32)
    if action is not None:
        actions[..., 0] = action
    moves = np.array([[0.5, 0, 0, 0], [0, -0.5, 0, 0], [0, 0, 0.5, 0.5]])[actions[..., 0]]
    start = rng.normal(size=(rows, 1, 4))
    z = start + np.concatenate([np.zeros((rows, 1, 4)), np.cumsum(moves, 1)[:, :-1]], axis=1)
    return Batch(z.reshape(rows, time, 1, 2, 2).astype(np.float32), actions)


def by_hand(params, latents, actions):
    """The deviation over members with loops and NumPy."""
    params = jax.tree.map(np.asarray, params)
    out = []
    for clip, acts in zip(latents, actions, strict=True):
        steps = []
        for t in range(len(clip) - 1):
            one_hot = np.concatenate([np.eye(n)[a] for n, a in zip(SIZES, acts[t], strict=True)])
            said = []
            for m in range(ENSEMBLE.members):
                x = np.concatenate([clip[t].ravel(), one_hot])
                for i in range(3):
                    layer = params[f"dense_{i}"]
                    x = x @ layer["kernel"][m] + layer["bias"][m]
                    x = np.maximum(x, 0) if i < 2 else x
                said.append(x)
            steps.append(np.std(said, axis=0).mean())
        out.append(np.mean(steps))
    return np.array(out)


def test_the_formula():
    state, batch = init_ensemble(ENSEMBLE, jax.random.key(0)), clips(3, 4)
    ours = disagreement.disagreement(ENSEMBLE, state.params, batch.latents, batch.actions)
    np.testing.assert_allclose(ours, by_hand(state.params, batch.latents, batch.actions), rtol=1e-5)


def test_the_change_belongs_to_the_action_that_led_to_it():
    batch = clips(2, 4)
    z, a, change = disagreement.transitions(batch.latents, batch.actions)
    assert z.shape == (6, 4) and a.shape == (6, 2)
    moves = np.array([[0.5, 0, 0, 0], [0, -0.5, 0, 0], [0, 0, 0.5, 0.5]])
    np.testing.assert_allclose(change, moves[a[:, 0]], atol=1e-6)
    with pytest.raises(ValueError, match="one a frame"):
        disagreement.transitions(batch.latents[:, :2], batch.actions)


@pytest.fixture(scope="module")
def taught():
    """An ensemble that has seen the first two actions and never the third."""
    seen = [clips(16, 4, seed=i, action=i % 2) for i in range(300)]
    stacked = jax.tree.map(lambda *x: np.stack(x), *seen)
    return make_fit(ENSEMBLE)(init_ensemble(ENSEMBLE, jax.random.key(0)), stacked, jax.random.key(1))


def test_it_agrees_on_what_was_seen_and_not_on_what_was_not(taught):
    state, loss = taught
    assert loss < 0.2

    def on(action):
        batch = clips(32, 4, seed=999, action=action)
        return np.asarray(disagreement.disagreement(ENSEMBLE, state.params, batch.latents, batch.actions))

    assert np.median(on(2)) > 2 * max(np.median(on(0)), np.median(on(1)))


def test_the_reward_is_of_what_was_real_and_standardised_over_what_is_valid(tiny, taught):
    batch = clips(6, 5)
    valid = np.array([True, True, False, True, True, True])
    scored = slice(1, 5)  # the step out of the last of two context frames and all after it
    raw = by_hand(taught[0].params, batch.latents[:, scored], batch.actions[:, scored])
    dreamt = types.SimpleNamespace(
        context=batch.latents[:, :2], real=RealClip(batch.latents[:, 2:], batch.actions), actions=batch.actions
    )
    found = disagreement.make_disagreement(ENSEMBLE)({"ensemble": taught[0].params}, dreamt)
    np.testing.assert_allclose(found, raw, rtol=1e-4)
    paid, mean = standardised(found, valid)
    expected = (raw - raw[valid].mean()) / raw[valid].std()
    np.testing.assert_allclose(paid, np.where(valid, expected, 0.0), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(mean, raw[valid].mean(), rtol=1e-4)


def test_a_cycle_learns_from_the_demonstrations_and_from_all_of_the_buffer():
    """With a buffer of the third action only, the ensemble comes to know it."""
    found, shape = clips(4, 5, seed=5, action=2), jax.ShapeDtypeStruct
    example = RealClip(
        shape((5, 1, 2, 2), jnp.float32), shape((5, 2), jnp.int32), shape((1,), jnp.uint8), shape((1,), jnp.float16)
    )
    buffer = pat.init(example, 8)
    items = RealClip(found.latents, found.actions, np.zeros((4, 1), np.uint8), np.zeros((4, 1), np.float16))
    buffer = pat.insert(buffer, items, {"regret": np.ones(4), "afs": np.ones(4)}, np.ones(4, bool), 0, pat.Scoring())
    passive = jax.tree.map(lambda *x: np.stack(x), *[clips(8, 3, seed=i, action=i % 2) for i in range(200)])
    fit = make_fit_cycle(ENSEMBLE)
    state, metrics = fit(init_ensemble(ENSEMBLE, jax.random.key(0)), buffer, passive, jax.random.key(1))
    z, a, change = disagreement.transitions(found.latents, found.actions)
    said = jax.vmap(ENSEMBLE.predict, (0, None, None))(state.params, z, a).mean(0)
    assert np.abs(said - change).mean() < 0.1 and 0 < metrics["ensemble_loss"] < 0.5


def test_the_loop_asks_the_ensemble_only_where_there_is_one(tiny):
    import optax

    shared = shared_by(tiny, optax.adam(1e-3))
    assert Prowl(Config(reward=None), shared).programs.fit_ensemble is None
    assert Prowl(Config(reward=None, ensemble=ENSEMBLE), shared).programs.fit_ensemble is None
    scoring = pat.Scoring({"regret": 1.0, "disagreement": 0.0})  # kept, and not paid
    assert Prowl(Config(reward=None, scoring=scoring, ensemble=ENSEMBLE), shared).programs.fit_ensemble is not None
    with pytest.raises(ValueError, match="prowl.reward=disagreement needs prowl.ensemble"):
        Prowl(Config(reward="disagreement"), shared)
