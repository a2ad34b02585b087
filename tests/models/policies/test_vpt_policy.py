"""What VPT's policy adds to the contract of policies: its sizes, its frames, the scale of its value."""

import cv2
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prowl_jax.models.policies.vpt_frames import resize
from prowl_jax.models.policies.vpt_idm import IDMNetwork, VPTInverseDynamics, idm_size
from prowl_jax.models.policies.vpt_policy import VPTNetwork, VPTPolicy, vpt_size
from prowl_jax.rl import value_normaliser
from prowl_jax.train.state import count

POLICY = VPTPolicy(VPTNetwork((4,), hidden=8, heads=2, blocks=1, kept=2, buttons=3, camera=5, image=16))
rng = np.random.default_rng(0)
FRAMES = rng.integers(0, 256, (2, 2, 16, 16, 3)).astype(np.uint8)
FIRST = np.array([[True, False]] * 2)


@pytest.fixture(scope="module")
def params(random_params):
    params = random_params(POLICY.init, (16, 16, 3))
    statistics = {"running_mean": [0.7], "running_mean_sq": [1.9], "debiasing_term": 0.6}
    params["value_head"]["normalizer"] = {k: np.float32(v) for k, v in statistics.items()}
    return params


# The counts are those of the originals, with the three numbers of the value normaliser.
@pytest.mark.parametrize("size, expected", [("1x", 70_998_654), ("2x", 248_495_294), ("3x", 532_504_318)])
def test_published_sizes_without_allocating_them(size, expected):
    policy = VPTPolicy(VPTNetwork(**vpt_size(size)))
    shapes = jax.eval_shape(lambda key: policy.init(key, (360, 640, 3)), jax.random.key(0))
    assert count(shapes) == expected
    hidden = policy.network.hidden
    assert shapes["net"]["cnn"]["dense"]["layer"]["kernel"].shape == (16 * 16 * policy.network.channels[2], 256)
    assert shapes["pi_head"]["buttons"]["kernel"].shape == (hidden, 8641)
    frames = jax.ShapeDtypeStruct((3, 2, 360, 640, 3), np.uint8)
    first = jax.ShapeDtypeStruct((3, 2), bool)
    logits, value, state = jax.eval_shape(
        lambda p, f, first: policy.apply(p, policy.initial_state(3), f, None, first), shapes, frames, first
    )
    assert logits.shape == (3, 2, 8641 + 121) and value.shape == (3, 2)
    assert [k.shape for k in state.keys] == [(3, 128, hidden)] * 4 and state.known.shape == (3, 128)


def test_the_published_inverse_dynamics_model_without_allocating_it():
    model = VPTInverseDynamics(IDMNetwork(**idm_size("4x")))
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    assert count(shapes) == 482_330_046
    frames = jax.ShapeDtypeStruct((1, 128, 128, 128, 3), np.uint8)
    assert jax.eval_shape(model.apply, shapes, frames).shape == (1, 128, 62) == (1, 128, sum(model.sizes))


@pytest.mark.parametrize("size_of", [vpt_size, idm_size])
def test_an_unknown_size_is_one_line(size_of):
    with pytest.raises(ValueError, match="no VPT .*'7x'; there are .*4?x"):
        size_of("7x")


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from([8, 16, 128]))
def test_frames_are_squeezed_as_opencv_does_it(height, width, size):
    frame = np.random.default_rng(height * 301 + width).integers(0, 256, (height, width, 3)).astype(np.uint8)
    expected = cv2.resize(frame, (size, size), interpolation=cv2.INTER_LINEAR)
    with jax.disable_jit():
        np.testing.assert_array_equal(resize(frame, size), expected)


def test_frames_of_any_size_give_what_their_squeezed_copies_give(params):
    large = rng.integers(0, 256, (2, 2, 24, 40, 3)).astype(np.uint8)
    squeezed = np.stack([[cv2.resize(frame, (16, 16)) for frame in row] for row in large])
    apply = jax.jit(POLICY.apply)
    ours, theirs = (apply(params, POLICY.initial_state(2), f, None, FIRST) for f in (large, squeezed))
    np.testing.assert_allclose(ours[0], theirs[0], atol=1e-6)
    assert np.abs(ours[0]).max() > 0.1


def test_the_value_is_on_the_scale_of_the_returns_and_a_loss_leaves_its_statistics(params):
    """mean 0.7 / 0.6, variance 1.9 / 0.6 - mean^2."""
    mean, deviation = 0.7 / 0.6, np.sqrt(1.9 / 0.6 - (0.7 / 0.6) ** 2)

    def loss(params):
        _, value, _ = POLICY.apply(params, POLICY.initial_state(2), FRAMES, None, FIRST)
        return value.sum(), value

    value_and_gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (_, value), gradient = value_and_gradient(params)
    still = {**params["value_head"], "normalizer": {k: np.zeros_like(v) for k, v in statistics_of(params).items()}}
    still["normalizer"]["running_mean_sq"] += np.float32(1e-5)  # over the least weight: mean 0, variance 1
    (_, normalised), _ = value_and_gradient({**params, "value_head": still})
    np.testing.assert_allclose(value, normalised * deviation + mean, rtol=1e-5)
    assert not any(np.any(g) for g in statistics_of(gradient).values())
    assert np.any(gradient["value_head"]["linear"]["kernel"])


def statistics_of(params):
    return params["value_head"]["normalizer"]


def test_the_normaliser_learns_mean_and_deviation():
    statistics = {"running_mean": np.zeros(1), "running_mean_sq": np.zeros(1), "debiasing_term": np.zeros(())}
    _, deviation = value_normaliser.moments(statistics)
    np.testing.assert_allclose(deviation, 0.1)
    returns = rng.normal(5.0, 2.0, 4000)
    for part in np.split(returns, 4):  # debiased, so four steps are enough
        statistics = value_normaliser.update(statistics, part)
    normalised = value_normaliser.normalise(statistics, returns)
    np.testing.assert_allclose([np.mean(normalised), np.std(normalised)], [0.0, 1.0], atol=0.01)
    np.testing.assert_allclose(value_normaliser.denormalise(statistics, normalised), returns, atol=1e-4)
