"""The inverse dynamics model sees its window and no more, and learns which way things moved."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prowl_jax.models.inverse_dynamics import InverseDynamics, InverseDynamicsNetwork
from prowl_jax.train import inverse_dynamics as training
from prowl_jax.train.state import init_state, make_optimizer
from prowl_jax.types import Clip

SIZES, SHAPE = (3, 2), (16, 24, 3)


def model_of(window=4):
    return InverseDynamics(InverseDynamicsNetwork(SIZES, window, width=6, features=10, hidden=12))


def params_of(model):
    return jax.jit(model.init, static_argnums=1)(jax.random.key(0), SHAPE)


@pytest.mark.parametrize("window", [2, 6])
def test_a_decision_sees_its_window_and_no_more(window):
    """Of frame k, the decisions about steps k - window/2 .. k + window/2 - 1 hear, and no others."""
    model = model_of(window)
    params = params_of(model)
    frames = np.random.default_rng(0).integers(0, 256, (1, 9, *SHAPE), dtype=np.uint8)
    features_of = jax.jit(model.features)
    features = features_of(params, frames)
    assert features.shape == (1, 8, 10) and model.apply(params, frames).shape == (1, 8, 5)
    for k in (3, 5):
        other = frames.copy()
        other[:, k] = 255 - other[:, k]
        changed = np.any(np.abs(features_of(params, other) - features) > 1e-5, axis=-1)[0]
        assert np.flatnonzero(changed).tolist() == [t for t in range(8) if k - window // 2 <= t <= k + window // 2 - 1]


def test_outside_of_the_clip_its_ends_stand_still():
    model = model_of()
    params = params_of(model)
    frames = np.random.default_rng(1).integers(0, 256, (2, 2, *SHAPE), dtype=np.uint8)
    still = np.concatenate([frames[:, :1], frames, frames[:, 1:]], axis=1)
    np.testing.assert_allclose(model.apply(params, frames)[:, 0], model.apply(params, still)[:, 1], atol=1e-6)


def test_an_odd_window_is_refused():
    with pytest.raises(ValueError, match="the window must be even and at least 2, not 3"):
        model_of(3).init(jax.random.key(0), SHAPE)


def moving_clips(rng, batch, time):
    """A ramp, repeated sideways, that a first factor shifts by 0, 2 or -2 pixels; a second one turns it dark."""
    actions = rng.integers(0, SIZES, (batch, time, 2)).astype(np.int32)
    ramp = 100 + 6 * ((np.arange(24) + rng.integers(0, 24, (batch, 1))) % 24)
    clip = [np.broadcast_to(ramp[:, None, :, None], (batch, *SHAPE))]
    for t in range(time - 1):
        shift = np.array([0, 2, -2])[actions[:, t, 0]]
        clip.append(np.stack([np.roll(f, s, axis=1) for f, s in zip(clip[-1], shift, strict=True)]))
    clip = np.stack(clip, axis=1)
    clip[:, 1:] -= 60 * actions[:, :-1, 1, None, None, None]
    return Clip(clip.astype(np.uint8), actions)


def test_it_learns_what_moved_a_picture():
    rng, model = np.random.default_rng(2), InverseDynamics(InverseDynamicsNetwork(SIZES, 2, 16, 32, 32))
    optimizer = make_optimizer(3e-3, 150, warm_up=10)
    state = init_state(params_of(model), optimizer)
    step = training.make_train_step(model, optimizer, ema_decay=0.9)
    key = jax.random.key(1)
    for _ in range(150):
        state, metrics = step(state, moving_clips(rng, 16, 4), key)
    clip = moving_clips(rng, 64, 5)
    recovered = np.asarray(training.make_recover(model)(state.ema, clip.frames))
    assert recovered.shape == (64, 4, 2) and recovered.dtype == np.int32
    assert (recovered == clip.actions[:, :-1]).mean(axis=(0, 1)).min() > 0.9  # by chance 1/3 and 1/2
    assert set(metrics) == {"loss"} and step._cache_size() == 1


def test_the_loss_is_the_mean_over_steps_that_stay_in_the_clip():
    model = model_of()
    params = params_of(model)
    clip = moving_clips(np.random.default_rng(3), 2, 5)
    loss = training.negative_log_likelihood(model, params, clip)
    logits = np.asarray(model.apply(params, clip.frames), np.float64)
    expected = []
    for b in range(2):
        for t in range(4):
            for part, value in ((logits[b, t, :3], clip.actions[b, t, 0]), (logits[b, t, 3:], clip.actions[b, t, 1])):
                expected.append(np.log(np.exp(part).sum()) - part[value])
    np.testing.assert_allclose(loss, np.sum(expected) / 8, rtol=1e-5)
    last = jnp.asarray(clip.actions).at[:, -1].add(1)
    np.testing.assert_array_equal(training.negative_log_likelihood(model, params, Clip(clip.frames, last)), loss)
