"""DiffusionNFT's loss in x0 against its formula, and which way it pulls."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prowl_jax.diffusion.contrastive import contrastive_loss, old_decay, optimality

rng = np.random.default_rng(0)
NEW, OLD, X0 = rng.normal(size=(3, 4, 2, 5)).astype(np.float32)
R = np.array([0.0, 0.3, 0.5, 1.0], np.float32)


@pytest.mark.parametrize("beta", [1.0, 0.1])
def test_is_the_formula(beta):
    expected = []
    for new, old, x0, r in zip(NEW, OLD, X0, R, strict=True):
        total = 0.0
        for share, x in ((r, (1 - beta) * old + beta * new), (1 - r, (1 + beta) * old - beta * new)):
            total += share * ((x - x0) ** 2).mean() / np.abs(x - x0).mean()
        expected.append(total / beta)
    np.testing.assert_allclose(contrastive_loss(NEW, OLD, X0, R, beta), expected, rtol=1e-5)


@pytest.mark.parametrize(("r", "towards"), [(1.0, True), (0.0, False)])
def test_good_samples_pull_and_bad_ones_push(r, towards):
    gradient = jax.grad(lambda new: contrastive_loss(new, OLD, X0, jnp.full(4, r), 1.0).sum())(OLD)
    moves = -np.sum(np.asarray(gradient) * (X0 - OLD))
    assert (moves > 0) == towards


def test_of_a_sample_that_is_neither_there_is_nothing_to_learn_at_the_old_policy():
    gradient = jax.grad(lambda new: contrastive_loss(new, OLD, X0, jnp.full(4, 0.5), 1.0).sum())(OLD)
    np.testing.assert_allclose(gradient, 0.0, atol=1e-6)


def test_no_gradient_reaches_the_old_network_and_none_divides_by_zero():
    gradient = jax.grad(lambda old: contrastive_loss(NEW, old, X0, R, 1.0).sum())(OLD)
    assert not np.asarray(gradient).any()
    assert np.isfinite(contrastive_loss(X0, X0, X0, R, 1.0)).all()


def test_optimality_and_decay():
    np.testing.assert_allclose(optimality(jnp.array([-9.0, -5.0, 0.0, 2.5, 5.0]), 5.0), [0, 0, 0.5, 0.75, 1])
    np.testing.assert_allclose([old_decay(s, 1) for s in (0, 100, 900)], [0, 0.1, 0.5])
    np.testing.assert_allclose([old_decay(s, 2) for s in (0, 75, 85, 900)], [0, 0, 0.075, 0.999], rtol=1e-5)
