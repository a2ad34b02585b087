"""The loss of the adversary, term by term."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax

from prowl_jax.rl import categorical
from prowl_jax.rl.ppo import PPOConfig, annealed, masked_mean, ppo_loss

SIZES = (3, 2)
N = 6
rng = np.random.default_rng(0)
STEPS = {
    "logits": rng.normal(size=(N, 5)).astype(np.float32),
    "value": rng.normal(size=N).astype(np.float32),
    "ref_logits": rng.normal(size=(N, 5)).astype(np.float32),
    "actions": np.stack([rng.integers(0, 3, N), rng.integers(0, 2, N)], axis=-1),
    "old_log_prob": rng.uniform(-3.0, -0.5, N).astype(np.float32),
    "advantage": rng.normal(size=N).astype(np.float32),
    "target_value": rng.normal(size=N).astype(np.float32),
    "mask": np.ones(N, bool),
}
ONLY_CLIP = PPOConfig(value_cost=0.0, kl_cost=0.0)


DEFAULT = PPOConfig()
jitted_loss = jax.jit(ppo_loss, static_argnames=("sizes", "config"))


def loss_of(config=DEFAULT, kl_cost=None, **changed):
    return jitted_loss(**{**STEPS, **changed}, sizes=SIZES, config=config, kl_cost=kl_cost)


def test_clipped_objective_agrees_with_rlax():
    @jax.jit
    def theirs(logits):
        log_prob = categorical.log_prob(logits, STEPS["actions"], SIZES)
        ratio = jnp.exp(log_prob - STEPS["old_log_prob"])
        return rlax.clipped_surrogate_pg_loss(ratio, STEPS["advantage"], 0.2)

    loss, metrics = loss_of(ONLY_CLIP)
    assert loss == pytest.approx(float(theirs(STEPS["logits"])), rel=1e-5)
    assert loss == metrics["policy_loss"] and 0 < metrics["clip_fraction"] < 1
    gradient = jax.grad(lambda x: loss_of(ONLY_CLIP, logits=x)[0])(STEPS["logits"])
    np.testing.assert_allclose(gradient, jax.grad(theirs)(STEPS["logits"]), rtol=1e-4, atol=1e-6)


def test_clipping_by_hand():
    # Both values of both factors equally likely: the new log-probability is always -log 6.
    ratio = np.array([1.5, 1.5, 0.5, 0.5, 1.1, 0.9], np.float32)
    advantage = np.array([1.0, -1.0, 1.0, -1.0, 2.0, -2.0], np.float32)
    expected = np.array([1.2, -1.5, 0.5, -0.8, 2.2, -1.8])
    zeros = np.zeros((N, 5), np.float32)
    old = -np.log(6) - np.log(ratio)
    _, metrics = loss_of(ONLY_CLIP, logits=zeros, old_log_prob=old, advantage=advantage)
    assert metrics["policy_loss"] == pytest.approx(-expected.mean(), rel=1e-5)
    assert metrics["clip_fraction"] == pytest.approx(4 / 6)
    assert metrics["approx_kl"] == pytest.approx(np.mean(ratio - 1 - np.log(ratio)), rel=1e-4)
    assert metrics["entropy"] == pytest.approx(np.log(6), rel=1e-5)


def test_the_terms_add_up_with_their_weights_and_signs():
    config = PPOConfig(value_cost=0.3, entropy_cost=0.7, kl_cost=1.5)
    loss, m = loss_of(config)
    expected = m["policy_loss"] + 0.3 * m["value_loss"] - 0.7 * m["entropy"] + 1.5 * m["kl_to_reference"]
    assert loss == pytest.approx(float(expected), rel=1e-6)
    assert m["value_loss"] == pytest.approx(
        0.5 * np.mean((STEPS["value"] - STEPS["target_value"]) ** 2), rel=1e-5
    )
    assert m["kl_to_reference"] == pytest.approx(
        float(categorical.kl(STEPS["logits"], STEPS["ref_logits"], SIZES).mean()), rel=1e-5
    )


def test_the_anchor_pulls_to_the_reference_and_its_strength_may_be_traced():
    @jax.jit
    def step(logits, kl_cost):
        def loss(x):
            return loss_of(logits=x, advantage=np.zeros(N, np.float32), kl_cost=kl_cost)[0]

        return logits - jax.grad(loss)(logits)

    @jax.jit
    def distance(x):
        return categorical.kl(x, STEPS["ref_logits"], SIZES).sum()

    start = jnp.array(STEPS["logits"])
    np.testing.assert_array_equal(step(start, 0.0), start)
    assert distance(step(start, 1.0)) < distance(start)
    np.testing.assert_allclose(step(start, 2.0) - start, 2 * (step(start, 1.0) - start), rtol=1e-4, atol=1e-6)
    x = start
    for _ in range(300):
        x = step(x, 6.0)
    assert distance(x) < 1e-3 * distance(start)


def test_gradients_reach_the_policy_and_the_value_only():
    names = ["logits", "value", "ref_logits", "old_log_prob", "advantage", "target_value"]
    gradients = jax.grad(lambda x: loss_of(**x)[0])({k: STEPS[k] for k in names})
    assert {k for k, g in gradients.items() if np.any(g)} == {"logits", "value"}


def test_masked_steps_do_not_count_whatever_they_hold():
    mask = np.array([1, 1, 0, 1, 0, 1], bool)
    spoiled = STEPS["advantage"].copy()
    spoiled[~mask] = np.nan
    loss, metrics = loss_of(mask=mask, advantage=spoiled)
    alone = {k: v[mask] for k, v in STEPS.items()}
    expected, expected_metrics = loss_of(**alone)
    assert loss == pytest.approx(float(expected), rel=1e-5)
    for name, value in expected_metrics.items():
        assert metrics[name] == pytest.approx(float(value), rel=1e-5), name


def test_an_empty_mask_gives_zero_and_no_gradient():
    value_and_grad = jax.value_and_grad(lambda x: loss_of(logits=x, mask=np.zeros(N, bool))[0])
    loss, gradient = value_and_grad(STEPS["logits"])
    assert loss == 0.0 and not np.any(gradient)


def test_masked_mean_takes_fractional_weights():
    assert masked_mean(jnp.array([1.0, 5.0, jnp.inf]), jnp.array([0.1, 0.3, 0.0])) == pytest.approx(4.0)


def test_annealed_is_linear_then_constant():
    np.testing.assert_allclose(
        [annealed(c, 2.0, 0.5, 3) for c in (0, 1, 2, 3, 9)], [2.0, 1.5, 1.0, 0.5, 0.5], rtol=1e-6
    )
    assert jax.jit(annealed, static_argnums=3)(jnp.int32(1), 2.0, 1.0, 2) == 1.5


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match="clip"):
        PPOConfig(clip=0.0)
