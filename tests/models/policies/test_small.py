"""What every policy keeps: acting step by step gives the numbers of one long call, episodes do not mix."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prowl_jax.models.policies.small import Policy, PolicyNetwork
from prowl_jax.models.policies.vpt_policy import VPTNetwork, VPTPolicy

SIZES, TIME, MEMORY = (3, 5), 6, 3
SMALL = Policy(PolicyNetwork(SIZES, features=12, memory=MEMORY, hidden=16))
VPT = VPTPolicy(VPTNetwork((4,), hidden=8, heads=2, blocks=1, kept=MEMORY, buttons=3, camera=5, image=16))
APPLY = {policy: jax.jit(policy.apply) for policy in (SMALL, VPT)}
rng = np.random.default_rng(0)
FRAMES = rng.integers(0, 256, (2, TIME, 16, 16, 3)).astype(np.uint8)
PREVIOUS = np.stack([rng.integers(-1, size, (2, TIME)) for size in SIZES], axis=-1)


class Subject:
    """A policy with parameters: what the tests below ask of it."""

    def __init__(self, policy, params):
        self.policy, self.params = policy, params

    def __call__(self, first, frames=FRAMES, previous=PREVIOUS):
        """Numpy arrays of one call from an empty memory."""
        state = self.policy.initial_state(2)
        return jax.tree.map(np.asarray, APPLY[self.policy](self.params, state, frames, previous, first))

    def in_pieces(self, first, length):
        """The same sequence, ``length`` steps a call, the state carried."""
        state, logits, values = self.policy.initial_state(2), [], []
        for t in range(0, TIME, length):
            part = slice(t, t + length)
            out, value, state = APPLY[self.policy](
                self.params, state, FRAMES[:, part], PREVIOUS[:, part], first[:, part]
            )
            logits.append(out)
            values.append(value)
        return np.concatenate(logits, 1), np.concatenate(values, 1), jax.tree.map(np.asarray, state)


@pytest.fixture(scope="module", params=[SMALL, VPT], ids=["small", "vpt"])
def subject(request, random_params):
    return Subject(request.param, random_params(request.param.init, (16, 16, 3)))


@pytest.fixture(scope="module")
def small(random_params):
    return Subject(SMALL, random_params(SMALL.init, (16, 16, 3)))


def flags(*rows):
    return np.array(rows, bool)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.booleans(), min_size=2 * TIME, max_size=2 * TIME), st.sampled_from([1, 2]))
def test_step_by_step_equals_one_long_call(subject, first, length):
    first = np.array(first).reshape(2, TIME)
    one, many = subject(first), subject.in_pieces(first, length)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), one, many)


def test_shapes(subject):
    logits, value, state = subject(flags([1, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]))
    assert subject.policy.sizes == SIZES
    assert logits.shape == (2, TIME, sum(SIZES)) and value.shape == (2, TIME)
    empty = subject.policy.initial_state(2)
    assert jax.tree.map(jnp.shape, state) == jax.tree.map(jnp.shape, empty)
    assert not empty.known.any()


def test_a_decision_sees_the_last_steps_and_no_others(subject):
    """A change at step 1 is seen at steps 1, 2, 3 (memory 3): not before, and not after."""
    first = flags([1, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0])
    frames = FRAMES.copy()
    frames[0, 1] = 255 - frames[0, 1]
    before, after = subject(first)[0], subject(first, frames)[0]
    changed = (np.abs(before - after) > 1e-6).any(-1)
    np.testing.assert_array_equal(changed, flags([0, 1, 1, 1, 0, 0], [0] * TIME))


def test_an_episode_knows_nothing_of_the_one_before(subject):
    """With ``first`` at step 3, what came before, frames, actions and state, makes no difference."""
    first = flags([1, 0, 0, 1, 0, 0], [1, 0, 0, 1, 0, 0])
    frames, previous = FRAMES.copy(), PREVIOUS.copy()
    frames[:, :3] = 255 - frames[:, :3]
    previous[:, :4] = 0  # the action that led to step 3 belongs to the old episode
    ours, theirs = subject(first), subject(first, frames, previous)
    np.testing.assert_array_equal(ours[0][:, 3:], theirs[0][:, 3:])
    np.testing.assert_array_equal(ours[1][:, 3:], theirs[1][:, 3:])
    assert (ours[0][:, :3] != theirs[0][:, :3]).any()
    params, empty = subject.params, subject.policy.initial_state(2)
    fresh = APPLY[subject.policy](params, empty, FRAMES[:, 3:], PREVIOUS[:, 3:], first[:, 3:])
    np.testing.assert_allclose(fresh[0], ours[0][:, 3:], atol=2e-5)


def test_one_program_serves_every_step(subject):
    """The state that comes out has the types of the one that went in."""
    act = jax.jit(subject.policy.apply)
    state = subject.policy.initial_state(2)
    for t in range(3):
        part = slice(t, t + 1)
        _, _, state = act(subject.params, state, FRAMES[:, part], PREVIOUS[:, part], flags([t == 0], [t == 0]))
    assert act._cache_size() == 1


def test_a_fresh_policy_is_almost_uniform(subject):
    """Small heads at initialisation, so that entropy is high and the value near 0."""
    names = ("logits", "value") if subject.policy is SMALL else ("pi_head", "value_head")

    @jax.jit
    def heads(key):  # only these two are computed
        fresh = subject.policy.init(key, (16, 16, 3))
        return {name: fresh[name] for name in names}

    first = flags([1] + [0] * 5, [1] + [0] * 5)
    fresh = Subject(subject.policy, {**subject.params, **heads(jax.random.key(1))})
    logits, value, _ = fresh(first)
    assert 0 < np.abs(logits).max() < 0.1 and 0 < np.abs(value).max() < 0.1


def test_a_fresh_value_is_zero_and_the_policy_stays(subject):
    first = flags([1] + [0] * 5, [1] + [0] * 5)
    fresh = Subject(subject.policy, subject.policy.with_fresh_value(subject.params))
    np.testing.assert_array_equal(fresh(first)[0], subject(first)[0])
    assert (fresh(first)[1] == 0).all() and (subject(first)[1] != 0).any()


def test_a_policy_can_be_closed_over_by_jit(subject):
    again = type(subject.policy)(subject.policy.network.clone())
    assert again == subject.policy and hash(again) == hash(subject.policy)


def test_the_previous_action_is_seen(small):
    first = flags([1, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0])
    for factor, size in enumerate(SIZES):
        previous = PREVIOUS.copy()
        previous[1, 2, factor] = (previous[1, 2, factor] + 1) % size
        changed = np.abs(small(first)[0] - small(first, previous=previous)[0]).max(-1) > 1e-6
        np.testing.assert_array_equal(changed, flags([0] * TIME, [0, 0, 1, 1, 1, 0]))


def test_the_small_memory_in_full(small):
    state = SMALL.initial_state(2)
    assert state.features.shape == (2, MEMORY - 1, 12) and state.known.shape == (2, MEMORY - 1)
