"""The Frechet distance against its closed form, scipy, and the definition of its moments."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prowl_jax.metrics import frechet


def random_covariance(rng, size, smallest=1e-3):
    basis, _ = np.linalg.qr(rng.normal(size=(size, size)))
    return (basis * np.geomspace(smallest, 3.0, size)) @ basis.T


@settings(max_examples=40, deadline=None)
@given(size=st.integers(1, 12), seed=st.integers(0, 2**31), same_basis=st.booleans())
def test_covariances_that_commute_have_a_closed_form(size, seed, same_basis):
    """|m_a - m_b|^2 + sum (s_a - s_b)^2 of the deviations along shared axes."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(size, size)))[0] if same_basis else np.eye(size)
    a, b = rng.gamma(1.0, size=(2, size))
    means = rng.normal(size=(2, size))
    covariances = [(basis * np.square(s)) @ basis.T for s in (a, b)]
    distance = frechet.frechet_of_gaussians(means[0], covariances[0], means[1], covariances[1])
    np.testing.assert_allclose(distance, np.square(means[0] - means[1]).sum() + np.square(a - b).sum(), rtol=1e-9)


def test_scipys_root_of_the_product_gives_the_same():
    linalg = pytest.importorskip("scipy.linalg", reason="scipy has the root of a matrix; it is not installed")
    rng = np.random.default_rng(0)
    means, (a, b) = rng.normal(size=(2, 9)), (random_covariance(rng, 9) for _ in range(2))
    expected = np.square(means[0] - means[1]).sum() + np.trace(a + b - 2 * linalg.sqrtm(a @ b).real)
    np.testing.assert_allclose(frechet.frechet_of_gaussians(means[0], a, means[1], b), expected, rtol=1e-9)
    np.testing.assert_allclose(frechet.frechet_of_gaussians(means[1], b, means[0], a), expected, rtol=1e-9)


def test_the_same_gaussian_is_at_no_distance_even_where_it_is_flat():
    rng = np.random.default_rng(1)
    for smallest in (1e-3, 1e-14, 0.0):
        covariance = random_covariance(rng, 64, 1e-3)
        covariance[:, :8] *= smallest
        covariance[:8] *= smallest
        distance = frechet.frechet_of_gaussians(np.ones(64), covariance, np.ones(64), covariance)
        assert 0 <= distance < 1e-12


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 9), min_size=1, max_size=6),
    shift=st.sampled_from([0.0, 1e4]),
    seed=st.integers(0, 99),
)
def test_moments_in_parts_are_moments_of_all(sizes, shift, seed):
    features = np.random.default_rng(seed).normal(size=(sum(sizes) + 5, 4)) + shift
    batches = np.split(features, np.cumsum(sizes))
    moments = frechet.moments_of(lambda x: x, batches)
    assert moments.count == len(features)
    np.testing.assert_allclose(moments.mean, features.mean(0), rtol=1e-12)
    np.testing.assert_allclose(moments.covariance(), np.cov(features.T), rtol=1e-6, atol=1e-9)


def test_the_distance_is_that_of_the_networks_features():
    rng = np.random.default_rng(2)
    frames = rng.normal(size=(2, 3, 40, 6))

    def network(x):
        return x[:, :3] * 2.0

    a, b = (frechet.moments_of(network, batches) for batches in frames)
    features = [2.0 * batches.reshape(-1, 6)[:, :3] for batches in frames]
    expected = frechet.frechet_of_gaussians(
        *(f(x) for x in features for f in (lambda x: x.mean(0), lambda x: np.cov(x.T)))
    )
    np.testing.assert_allclose(frechet.frechet_distance(a, b), expected, rtol=1e-9)
    assert frechet.frechet_distance(a, a) < 1e-12


def test_too_few_samples_and_other_mistakes_are_refused():
    few = frechet.no_moments(8).add(np.eye(8))
    enough = few.add(np.ones((1, 8)))
    with pytest.raises(ValueError, match="8 feature vectors of 8 numbers are too few .* give at least 9") as told:
        frechet.frechet_distance(enough, few)
    assert "\n" not in str(told.value)
    assert frechet.frechet_distance(enough, enough) < 1e-12
    with pytest.raises(ValueError, match=r"features must be \[n, 8\], got \(3, 7\)"):
        few.add(np.ones((3, 7)))
    with pytest.raises(ValueError, match="1 features are not finite"):
        few.add(np.full((1, 8), [np.nan] + [0.0] * 7))
    with pytest.raises(ValueError, match="no batch"):
        frechet.moments_of(lambda x: x, [])
    with pytest.raises(ValueError, match="of 8 and of 2 features have no distance"):
        frechet.frechet_distance(few, frechet.no_moments(2))
