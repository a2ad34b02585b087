"""PMPO against its formula in NumPy, and which way its gradients point."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prowl_jax.rl import categorical
from prowl_jax.rl.pmpo import PMPOConfig, pmpo_loss

SIZES = (3, 2)


@pytest.fixture
def steps():
    rng = np.random.default_rng(0)
    logits, reference = rng.normal(size=(2, 4, 6, 5)).astype(np.float32)
    actions = np.stack([rng.integers(0, n, (4, 6)) for n in SIZES], -1)
    value, advantage, target = rng.normal(size=(3, 4, 6)).astype(np.float32)
    return logits, value, reference, actions, advantage, target


def log_softmax(x):
    return x - x.max(-1, keepdims=True) - np.log(np.exp(x - x.max(-1, keepdims=True)).sum(-1, keepdims=True))


def test_it_is_what_its_formula_says(steps):
    logits, value, reference, actions, advantage, target = (np.asarray(x, np.float64) for x in steps)
    said, kl = 0.0, 0.0
    for i, part in enumerate((slice(0, 3), slice(3, 5))):
        own, theirs = log_softmax(logits[..., part]), log_softmax(reference[..., part])
        said += np.take_along_axis(own, actions[..., i : i + 1].astype(int), -1)[..., 0]
        kl += (np.exp(own) * (own - theirs)).sum(-1)
    good = advantage >= 0
    expected = 0.4 * said[~good].mean() - 0.6 * said[good].mean() + 0.2 * kl.mean()
    expected += 0.5 * 0.5 * ((value - target) ** 2).mean()
    loss, metrics = pmpo_loss(*steps, SIZES, PMPOConfig(good_share=0.6, prior_cost=0.2))
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert float(metrics["good"]) == pytest.approx(good.mean())
    assert float(metrics["kl_to_reference"]) == pytest.approx(kl.mean(), rel=1e-5)


def test_the_size_of_an_advantage_says_nothing(steps):
    logits, value, reference, actions, advantage, target = steps
    one, other = (pmpo_loss(logits, value, reference, actions, a, target, SIZES)[0] for a in (advantage, 9 * advantage))
    assert float(one) == float(other)


def test_what_was_good_becomes_likelier_and_what_was_not_less(steps):
    logits, value, reference, actions, advantage, target = map(jnp.asarray, steps)
    free = PMPOConfig(prior_cost=0.0)
    slope = jax.grad(lambda x: pmpo_loss(x, value, reference, actions, advantage, target, SIZES, free)[0])(logits)
    change = categorical.log_prob(logits - 1e-2 * slope, actions, SIZES) - categorical.log_prob(logits, actions, SIZES)
    assert (jnp.sign(change) == jnp.where(advantage >= 0, 1, -1)).all()
    all_good = pmpo_loss(logits, value, reference, actions, jnp.ones_like(advantage), target, SIZES)[0]
    assert jnp.isfinite(all_good)  # nobody on the other side
