"""The factored categorical against its joint distribution, written out in full."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from prowl_jax.rl import categorical

SIZES = (3, 2, 4)
entropy = jax.jit(categorical.entropy, static_argnames="sizes")
kl = jax.jit(categorical.kl, static_argnames="sizes")
P = jnp.array(np.random.default_rng(0).normal(size=(2, 9)) * 2, jnp.float32)
Q = jnp.array(np.random.default_rng(1).normal(size=(2, 9)) * 2, jnp.float32)
ACTIONS = np.array(list(itertools.product(*map(range, SIZES))))  # all 24


def joint(logits):
    """Probabilities of all 24 actions, float64 ``[24]``."""
    p = np.exp(np.asarray(logits, np.float64))
    a, b, c = p[:3] / p[:3].sum(), p[3:5] / p[3:5].sum(), p[5:] / p[5:].sum()
    return np.einsum("i,j,k->ijk", a, b, c).ravel()


def test_log_prob_of_every_action():
    logits = jnp.broadcast_to(P[0], (24, 9))
    np.testing.assert_allclose(
        np.exp(categorical.log_prob(logits, jnp.array(ACTIONS), SIZES)), joint(P[0]), rtol=1e-5
    )


def test_entropy_and_kl_are_those_of_the_joint_distribution():
    p, q = map(joint, P), map(joint, Q)
    np.testing.assert_allclose(entropy(P, SIZES), [scipy.stats.entropy(joint(row)) for row in P], rtol=1e-5)
    expected = [scipy.stats.entropy(a, b) for a, b in zip(p, q, strict=True)]  # KL(p || q)
    np.testing.assert_allclose(kl(P, Q, SIZES), expected, rtol=1e-5)
    np.testing.assert_allclose(kl(P, P, SIZES), 0.0, atol=1e-6)
    assert (np.abs(kl(P, Q, SIZES) - kl(Q, P, SIZES)) > 0.1).all()


def test_kl_gradient_agrees_with_differences():
    gradient = jax.grad(lambda p: kl(p, Q[0], SIZES))(P[0])
    for i in range(9):
        e = np.eye(9)[i] * 1e-5
        p = np.asarray(P[0], np.float64)
        up, down = (scipy.stats.entropy(joint(x), joint(Q[0])) for x in (p + e, p - e))
        assert gradient[i] == pytest.approx((up - down) / 2e-5, abs=1e-4)


def test_values_that_are_ruled_out_do_no_harm():
    p, q = P[0].at[1].set(-jnp.inf), Q[0].at[1].set(-jnp.inf)
    with np.errstate(divide="ignore"):
        assert entropy(p, SIZES) == pytest.approx(scipy.stats.entropy(joint(p)), rel=1e-5)
        assert kl(p, q, SIZES) == pytest.approx(scipy.stats.entropy(joint(p), joint(q)), rel=1e-5)
    assert kl(P[0], q, SIZES) == jnp.inf
    for f in (lambda x: entropy(x, SIZES), lambda x: kl(x, q, SIZES)):
        assert np.isfinite(jax.grad(f)(p)).all()
    assert not (categorical.sample(jax.random.key(0), jnp.tile(p, (500, 1)), SIZES)[:, 0] == 1).any()


def test_draws_follow_the_joint_distribution():
    draws = categorical.sample(jax.random.key(1), jnp.broadcast_to(P[1] / 2, (20_000, 9)), SIZES)
    assert draws.dtype == jnp.int32 and draws.shape == (20_000, 3)
    counts = np.bincount(np.ravel_multi_index(np.asarray(draws).T, SIZES), minlength=24)
    assert scipy.stats.chisquare(counts, joint(P[1] / 2) * 20_000).pvalue > 1e-3


def test_mode_is_the_likeliest_action():
    for logits in P:
        action = categorical.mode(logits, SIZES)
        assert action.dtype == jnp.int32
        np.testing.assert_array_equal(action, ACTIONS[joint(logits).argmax()])


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(AssertionError):
        categorical.entropy(P, (3, 2))
