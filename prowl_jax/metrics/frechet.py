"""Frechet distance between Gaussians fitted to the features of two sets of pictures or clips.

    d^2 = |m_a - m_b|^2 + tr C_a + tr C_b - 2 tr (C_a^1/2 C_b C_a^1/2)^1/2

(Dowson and Landau, J. Multivariate Analysis 1982; Heusel et al., arXiv 1706.08500). Features are
whatever a network gives, and a distance means nothing beside one of another network: name it after the
network. It is the FID or the FVD of the literature with the published weights of Inception v3 or I3D
only, and those are not here.

numpy in float64, since a covariance of many features has small eigenvalues that float32 loses.
"""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Moments:
    """Count, mean and scatter of features, exact in one pass.

    Attributes:
      count: feature vectors seen.
      mean: float64 ``[F]``.
      scatter: float64 ``[F, F]``, the sum of outer products of deviations from the mean.
    """

    count: int
    mean: np.ndarray
    scatter: np.ndarray

    def add(self, features):
        """The moments of what was seen and of float ``[n, F]`` (Chan, Golub and LeVeque 1979).

        Raises:
          ValueError: another number of features, or values that are not finite.
        """
        features = np.asarray(features, np.float64)
        if features.ndim != 2 or features.shape[1] != len(self.mean):
            raise ValueError(f"features must be [n, {len(self.mean)}], got {features.shape}")
        if not np.isfinite(features).all():
            raise ValueError(f"{np.sum(~np.isfinite(features))} features are not finite")
        if not len(features):
            return self
        count, mean = self.count + len(features), features.mean(axis=0)
        apart, deviations = mean - self.mean, features - mean
        between = np.outer(apart, apart) * (self.count * len(features) / count)
        scatter = self.scatter + deviations.T @ deviations + between
        return Moments(count, self.mean + apart * (len(features) / count), scatter)

    def covariance(self):
        """Float64 ``[F, F]``, unbiased.

        Raises:
          ValueError: fewer than F + 1 vectors, whose covariance has no full rank.
        """
        needed = len(self.mean) + 1
        if self.count < needed:
            raise ValueError(
                f"{self.count} feature vectors of {len(self.mean)} numbers are too few for a covariance: "
                f"give at least {needed}, or a network with fewer features"
            )
        return self.scatter / (self.count - 1)


def no_moments(features):
    """``Moments`` of nothing yet, of this many features."""
    return Moments(0, np.zeros(features), np.zeros((features, features)))


def moments_of(network, batches):
    """``Moments`` of ``network(batch)``, float ``[n, F]`` each, over an iterable of batches; ValueError for none."""
    moments = None
    for batch in batches:
        features = np.asarray(network(batch))
        moments = (moments or no_moments(features.shape[-1])).add(features)
    if moments is None:
        raise ValueError("no batch to take features of")
    return moments


def frechet_distance(a, b):
    """The squared Frechet distance d^2 of two ``Moments``, as FID and FVD are given; at least 0.

    Raises:
      ValueError: too few vectors for a covariance, or other numbers of features.
    """
    if a.mean.shape != b.mean.shape:
        raise ValueError(f"moments of {len(a.mean)} and of {len(b.mean)} features have no distance")
    return frechet_of_gaussians(a.mean, a.covariance(), b.mean, b.covariance())


def frechet_of_gaussians(mean_a, covariance_a, mean_b, covariance_b):
    """d^2 of two Gaussians: means float ``[F]``, covariances ``[F, F]``, symmetric and not negative.

    With symmetric roots R the last trace is the sum of the singular values of ``R_a R_b``: no root of a
    product that is not symmetric, and no square of what is small already.
    """
    cross = np.linalg.svd(_root(covariance_a) @ _root(covariance_b), compute_uv=False).sum()
    apart = np.sum(np.square(np.subtract(mean_a, mean_b)))
    return float(max(apart + np.trace(covariance_a) + np.trace(covariance_b) - 2.0 * cross, 0.0))


def _root(covariance):
    """The symmetric root; eigenvalues below 0 are rounding and count as 0."""
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
