"""Which latent is shown which action, and that tokens tell actions apart."""

import jax.numpy as jnp
import numpy as np
import pytest

from prowl_jax.models.dit.action_adapter import UNKNOWN, ActionAdapter, actions_of_latents


@pytest.mark.parametrize("stride, latents", [(1, 5), (4, 3), (2, 1)])
def test_latents_get_the_actions_that_led_to_them(stride, latents):
    time = 1 + stride * (latents - 1)
    actions = np.arange(2 * time * 3).reshape(2, time, 3)
    led_to = np.asarray(actions_of_latents(jnp.asarray(actions), stride))
    assert led_to.shape == (2, latents, stride, 3)
    assert (led_to[:, 0] == UNKNOWN).all()
    for k in range(1, latents):
        # Latent k shows frames stride (k-1) + 1 .. stride k; action t leads from frame t to t + 1.
        frames = range(stride * (k - 1) + 1, stride * k + 1)
        for i, frame in enumerate(frames):
            np.testing.assert_array_equal(led_to[:, k, i], actions[:, frame - 1])


def test_the_last_action_leads_out_of_the_clip():
    actions = jnp.zeros((1, 5, 2), jnp.int32)
    changed = actions.at[:, -1].set(7)
    np.testing.assert_array_equal(actions_of_latents(actions), actions_of_latents(changed))


def test_frames_that_the_stride_does_not_cut_are_refused():
    with pytest.raises(ValueError, match="8 frames are not 1 \\+ a multiple of the stride 4"):
        actions_of_latents(jnp.zeros((1, 8, 2), jnp.int32), 4)


SIZES = (3, 5)


@pytest.fixture
def tokens_of(random_params):
    def tokens_of(actions, frames=1):
        adapter = ActionAdapter(SIZES, width=12, frames=frames)
        actions = jnp.asarray(actions)
        params = random_params(adapter.init, actions)
        return np.asarray(adapter.apply(params, actions)), params["params"]

    return tokens_of


def test_every_value_of_every_factor_has_a_token_of_its_own(tokens_of):
    """Values -1 (unknown) .. size-1 of both factors: 4 + 6 tokens, all different."""
    actions = [[[[min(v, 2), v]] for v in range(-1, 5)]]
    tokens, params = tokens_of(actions)
    assert tokens.shape == (1, 6, 2, 12) and params["embedding"].shape == (4 + 6, 12)
    distinct = np.concatenate([tokens[0, :4, 0], tokens[0, :, 1]])
    distances = np.linalg.norm(distinct[:, None] - distinct[None], axis=-1)
    assert (distances[~np.eye(10, dtype=bool)] > 1e-3).all()


def test_a_factor_changes_its_own_token_only(tokens_of):
    tokens, _ = tokens_of([[[[0, 1]], [[2, 1]], [[0, 3]]]])
    base, move, turn = tokens[0]
    assert (move[1] == base[1]).all() and (move[0] != base[0]).any()
    assert (turn[0] == base[0]).all() and (turn[1] != base[1]).any()


def test_with_several_frames_a_latent_the_order_of_actions_counts(tokens_of):
    tokens, params = tokens_of([[[[1, 1], [2, 2]], [[2, 2], [1, 1]]]], frames=2)
    assert tokens.shape == (1, 2, 4, 12) and params["frame"].shape == (2, 1, 12)
    # Frames come one after the other, each with all its factors.
    first, second = tokens[0].reshape(2, 2, 2, 12)
    assert (np.abs(first[0] - second[1]) > 1e-3).any(), "the same action at another place looks the same"


def test_other_numbers_of_frames_or_factors_are_refused(tokens_of):
    with pytest.raises(AssertionError):
        tokens_of(np.zeros((1, 2, 2, 2), int), frames=1)
    with pytest.raises(AssertionError):
        tokens_of(np.zeros((1, 2, 1, 3), int))
