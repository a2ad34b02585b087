"""Energy score and spread-corrected regret against double loops in numpy, and what they promise of Gaussians."""

import numpy as np
import pytest

from prowl_jax.metrics.sample_scores import energy_score, spread_corrected_regret

RNG = np.random.default_rng(0)


def rms(x):
    return np.sqrt(np.mean(np.square(x)))


def test_the_energy_score_is_its_double_loop():
    samples, real = RNG.normal(size=(5, 3, 7)), RNG.normal(size=(3, 7))
    for clip, score in enumerate(energy_score(samples, real)):
        of, came, k = samples[:, clip], real[clip], 5
        pairs = [rms(of[i] - of[j]) for i in range(k) for j in range(k) if i != j]
        expected = sum(rms(x - came) for x in of) / k - sum(pairs) / (2 * k * (k - 1))
        assert score == pytest.approx(expected, abs=1e-6)


def test_the_corrected_regret_is_its_loop():
    samples, real = RNG.normal(size=(4, 2, 6)), RNG.normal(size=(2, 6))
    for clip, score in enumerate(spread_corrected_regret(samples, real)):
        middle = sum(samples[:, clip]) / 4
        spread = sum(rms(x - middle) ** 2 for x in samples[:, clip]) / 3
        assert score == pytest.approx(rms(middle - real[clip]) ** 2 - 1.25 * spread, abs=1e-6)


def drawn(deviation, shift=0.0, k=8, clips=20000):
    """Samples of a model and what came, of the standard normal of three dimensions."""
    rng = np.random.default_rng(1)
    real = rng.normal(size=(clips, 3))
    return shift + deviation * rng.normal(size=(k, clips, 3)), real


def test_no_model_has_a_lower_energy_score_than_the_truth():
    """Blur (a small spread) has the lower root mean square error, and not the lower score."""
    true = np.mean(energy_score(*drawn(1.0)))
    others = [drawn(0.0), drawn(0.6), drawn(1.5), drawn(1.0, shift=0.5)]
    assert all(np.mean(energy_score(*other)) > true + 0.01 for other in others)
    samples, real = drawn(0.0)
    assert rms(samples[0] - real) < rms(drawn(1.0)[0][0] - real)


@pytest.mark.parametrize("k", [2, 8])
def test_the_corrected_regret_of_a_calibrated_model_is_zero_whatever_the_chance(k):
    for scale in (0.1, 3.0):
        samples, real = drawn(1.0, k=k)
        regrets = np.asarray(spread_corrected_regret(scale * samples, scale * real)) / scale**2
        assert abs(regrets.mean()) < 4 * regrets.std() / np.sqrt(len(regrets)) < 0.05


def test_its_expectation_is_bias_and_the_difference_of_the_covariances():
    for deviation, shift in ((0.0, 0.0), (0.5, 0.0), (1.0, 0.7), (1.4, 0.0)):
        expected = shift**2 + 1 - deviation**2
        assert np.mean(spread_corrected_regret(*drawn(deviation, shift))) == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("score", [energy_score, spread_corrected_regret])
def test_one_sample_has_no_spread(score):
    with pytest.raises(ValueError, match="at least two samples, got 1"):
        score(np.zeros((1, 2, 3)), np.zeros((2, 3)))
