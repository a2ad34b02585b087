"""The stochastic sampler against an analytic Gaussian, log-probabilities and gradients against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from prowl_jax.diffusion import sde
from prowl_jax.diffusion.flow import sigma_schedule
from prowl_jax.rl.group import clipped_loss, group_advantages

MEAN, STD = 1.5, 0.4


def velocity(z, s):
    """The exact one where data are N(MEAN, STD^2): E[noise | z] - E[data | z]."""
    rest = z - (1 - s) * MEAN
    return (s - (1 - s) * STD**2) * rest / ((1 - s) ** 2 * STD**2 + s**2) - MEAN


@pytest.mark.parametrize(("form", "strength"), [("flow_grpo", 0.7), ("constant", 0.3), ("constant", 0.0001)])
def test_at_every_level_the_marginals_are_the_flows(form, strength):
    sigmas = sigma_schedule(200)
    noise = jax.random.normal(jax.random.key(0), (20_000, 1))
    sample = jax.jit(lambda z, key: sde.sample_path(velocity, z, sigmas, key, form, strength))
    end, path = sample(noise, jax.random.key(1))
    for i in (50, 100, 150, 200):
        s, z = sigmas[i], path.points[i]
        np.testing.assert_allclose(z.mean(), (1 - s) * MEAN, atol=0.03)
        np.testing.assert_allclose(z.std(), np.hypot((1 - s) * STD, s), rtol=0.04)
    np.testing.assert_array_equal(end, path.points[-1])


def test_log_probability_is_the_mean_of_normal_densities():
    rng = np.random.default_rng(0)
    z, mean = rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 3, 4))
    expected = scipy.stats.norm.logpdf(z, mean, 0.3).mean((1, 2))
    np.testing.assert_allclose(sde.log_prob(jnp.asarray(z), jnp.asarray(mean), 0.3), expected, rtol=1e-5)


@pytest.mark.parametrize("strength", [0.3, 0.8, 1.0])
def test_however_long_its_steps_cps_leaves_as_much_noise_as_the_next_level_says(strength):
    """Of a picture that is known: then the noise is all that there is beside it. The others leave more."""
    sigmas = jnp.asarray([1.0, 0.4, 0.1, 0.0])

    def known(z, s):  # the velocity where every sample is MEAN
        return (z - MEAN) / s

    left = {}
    for form in ("cps", "flow_grpo", "constant"):
        noise = jax.random.normal(jax.random.key(0), (40_000, 1))
        end, path = sde.sample_path(known, noise, sigmas, jax.random.key(1), form, strength)
        np.testing.assert_allclose(end, MEAN, atol=1e-4)
        left[form] = [float((path.points[i] - (1 - sigmas[i]) * MEAN).std()) for i in (1, 2)]
        np.testing.assert_allclose(path.points[1].mean(), 0.6 * MEAN, atol=0.02)
    np.testing.assert_allclose(left["cps"], [0.4, 0.1], rtol=0.02)
    assert min(left["flow_grpo"][1], left["constant"][1]) > 0.11


@pytest.mark.parametrize(
    ("form", "strength", "left"),
    [("flow_grpo", 0.7, (0.72, 0.32)), ("constant", 0.3, (0.44, 0.18)), ("cps", 0.8, (0.40, 0.10))],
)
def test_the_noise_that_the_page_on_post_training_tells(form, strength, left):
    sigmas, noise = jnp.asarray([1.0, 0.4, 0.1, 0.0]), jax.random.normal(jax.random.key(0), (40_000, 1))
    _, path = sde.sample_path(lambda z, s: (z - MEAN) / s, noise, sigmas, jax.random.key(1), form, strength)
    found = [float((path.points[i] - (1 - sigmas[i]) * MEAN).std()) for i in (1, 2)]
    np.testing.assert_allclose(found, left, atol=0.007)


@pytest.mark.parametrize(("form", "strength"), [("flow_grpo", 0.7), ("constant", 0.3), ("cps", 0.8)])
def test_a_kept_path_has_the_log_probabilities_that_its_points_have(form, strength):
    sigmas = sigma_schedule(4, 3.0)
    noise = jax.random.normal(jax.random.key(0), (5, 2))
    _, path = sde.sample_path(velocity, noise, sigmas, jax.random.key(1), form, strength)
    for i in range(3):
        z = path.points[i]
        mean, std, _ = sde.transition(z, velocity(z, sigmas[i]), sigmas[i], sigmas[i + 1], form, strength)
        again = sde.log_prob(path.points[i + 1], mean, std)
        np.testing.assert_allclose(again, path.log_prob[i], rtol=1e-4, atol=1e-5)
        ratio = clipped_loss(again, path.log_prob[i], jnp.ones(5), 0.2)[1]
        np.testing.assert_allclose(ratio, 1.0, atol=1e-5)


def test_the_gradient_of_one_step_is_that_of_the_expected_reward():
    std, theta = 0.5, 0.8
    x = theta + std * jax.random.normal(jax.random.key(0), (1, 200_000))
    centred = (x**2 - jnp.mean(x**2))[0]  # rewards x^2: E[x^2] = theta^2 + std^2, whose gradient is 2 theta

    def loss(theta):
        return clipped_loss(sde.log_prob(x.T, theta, std), old, centred, 0.2)[0].mean()

    old = sde.log_prob(x.T, theta, std)
    np.testing.assert_allclose(-jax.grad(loss)(theta), 2 * theta, rtol=0.03)
    scaled = group_advantages(x**2, scale="group", clip=100.0)[0][0]
    np.testing.assert_allclose(scaled * jnp.std(x**2), centred, rtol=1e-2, atol=1e-2)


def test_beyond_the_clip_a_ratio_moves_nothing():
    def loss(log_prob, advantage):
        return clipped_loss(log_prob, jnp.zeros(1), jnp.full(1, advantage), 0.1)[0].sum()

    assert jax.grad(loss)(jnp.full(1, 0.2), 1.0) == 0.0 and jax.grad(loss)(jnp.full(1, 0.2), -1.0) > 0.0


@pytest.mark.parametrize(("steps", "form", "says"), [(1, "constant", "at least 2 steps"), (3, "brown", "no noise")])
def test_what_cannot_be_sampled_is_refused(steps, form, says):
    with pytest.raises(ValueError, match=says):
        sde.sample_path(velocity, jnp.zeros((2, 1)), sigma_schedule(steps), jax.random.key(0), form, 0.3)
