"""The small policy: acting step by step gives the numbers of one long call, and episodes do not mix."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prowl_jax.models.policy import Policy, PolicyNetwork

SIZES, TIME, MEMORY = (3, 5), 6, 3
POLICY = Policy(PolicyNetwork(SIZES, features=12, memory=MEMORY, hidden=16))
rng = np.random.default_rng(0)
FRAMES = rng.integers(0, 256, (2, TIME, 16, 16, 3)).astype(np.uint8)
PREVIOUS = np.stack([rng.integers(-1, size, (2, TIME)) for size in SIZES], axis=-1)
apply = jax.jit(POLICY.apply)


@pytest.fixture(scope="module")
def params(random_params):
    return random_params(POLICY.init, (16, 16, 3))


def flags(*rows):
    return np.array(rows, bool)


def whole(params, first, frames=FRAMES, previous=PREVIOUS):
    return jax.tree.map(np.asarray, apply(params, POLICY.initial_state(2), frames, previous, first))


def in_pieces(params, first, length):
    """The same sequence, ``length`` steps a call, the state carried."""
    state, logits, values = POLICY.initial_state(2), [], []
    for t in range(0, TIME, length):
        part = slice(t, t + length)
        out, value, state = apply(params, state, FRAMES[:, part], PREVIOUS[:, part], first[:, part])
        logits.append(out)
        values.append(value)
    return np.concatenate(logits, 1), np.concatenate(values, 1), jax.tree.map(np.asarray, state)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.booleans(), min_size=2 * TIME, max_size=2 * TIME), st.sampled_from([1, 2]))
def test_step_by_step_equals_one_long_call(params, first, length):
    first = np.array(first).reshape(2, TIME)
    one, many = whole(params, first), in_pieces(params, first, length)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), one, many)


def test_shapes(params):
    logits, value, state = whole(params, flags([1, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]))
    assert logits.shape == (2, TIME, sum(SIZES)) and value.shape == (2, TIME)
    assert state.features.shape == (2, MEMORY - 1, 12) and state.known.shape == (2, MEMORY - 1)


def test_a_decision_sees_the_last_steps_and_no_others(params):
    """A change at step 1 is seen at steps 1, 2, 3 (memory 3): not before, and not after."""
    first = flags([1, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0])
    frames = FRAMES.copy()
    frames[0, 1] = 255 - frames[0, 1]
    before, after = whole(params, first)[0], whole(params, first, frames)[0]
    changed = (np.abs(before - after) > 1e-6).any(-1)
    np.testing.assert_array_equal(changed, flags([0, 1, 1, 1, 0, 0], [0] * TIME))


def test_an_episode_knows_nothing_of_the_one_before(params):
    """With ``first`` at step 3, what came before, frames, actions and state, makes no difference."""
    first = flags([1, 0, 0, 1, 0, 0], [1, 0, 0, 1, 0, 0])
    frames, previous = FRAMES.copy(), PREVIOUS.copy()
    frames[:, :3] = 255 - frames[:, :3]
    previous[:, :4] = 0  # the action that led to step 3 belongs to the old episode
    ours, theirs = whole(params, first), whole(params, first, frames, previous)
    np.testing.assert_array_equal(ours[0][:, 3:], theirs[0][:, 3:])
    np.testing.assert_array_equal(ours[1][:, 3:], theirs[1][:, 3:])
    assert (ours[0][:, :3] != theirs[0][:, :3]).any()
    fresh = apply(params, POLICY.initial_state(2), FRAMES[:, 3:], PREVIOUS[:, 3:], first[:, 3:])
    np.testing.assert_allclose(fresh[0], ours[0][:, 3:], atol=2e-5)


def test_the_previous_action_is_seen(params):
    first = flags([1, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0])
    for factor, size in enumerate(SIZES):
        previous = PREVIOUS.copy()
        previous[1, 2, factor] = (previous[1, 2, factor] + 1) % size
        changed = np.abs(whole(params, first)[0] - whole(params, first, previous=previous)[0]).max(-1) > 1e-6
        np.testing.assert_array_equal(changed, flags([0] * TIME, [0, 0, 1, 1, 1, 0]))


def test_a_fresh_policy_is_almost_uniform(params):
    """Small heads at initialisation, so that entropy is high and the value near 0."""

    @jax.jit
    def heads(key):  # only these two are computed
        fresh = POLICY.init(key, (16, 16, 3))
        return {name: fresh[name] for name in ("logits", "value")}

    first = flags([1] + [0] * 5, [1] + [0] * 5)
    logits, value, _ = whole({**params, **heads(jax.random.key(1))}, first)
    assert 0 < np.abs(logits).max() < 0.1 and 0 < np.abs(value).max() < 0.1


def test_a_policy_can_be_closed_over_by_jit():
    assert hash(POLICY) == hash(Policy(PolicyNetwork(SIZES, 12, MEMORY, 16))) and POLICY.sizes == SIZES
    assert not jnp.any(POLICY.initial_state(3).known)
