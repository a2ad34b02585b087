"""Diffusion forcing: how levels are drawn, who sees whom, and the loss in closed form."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prowl_jax.diffusion import flow
from prowl_jax.diffusion.forcing import (
    Forcing,
    block_causal_mask,
    forcing_loss,
    per_latent,
    sample_levels,
)


def levels(forcing, batch=4000, chunks=5):
    return map(np.asarray, sample_levels(jax.random.key(1), batch, chunks, forcing))


def test_every_noisy_chunk_follows_a_clean_one():
    """A clean prefix of any length from 1 to 4 of 5, then a noisy and a clean chunk in turn."""
    sigma, weight = levels(Forcing(clean_prefix=1.0))
    clean = sigma == 0.0
    np.testing.assert_array_equal(clean, weight == 0.0)
    rows = {tuple(row) for row in clean.astype(int)}
    assert rows == {(1, 0, 1, 0, 1), (1, 1, 0, 1, 0), (1, 1, 1, 0, 1), (1, 1, 1, 1, 0)}
    first_noisy = np.argmin(clean, axis=1)
    np.testing.assert_allclose(np.bincount(first_noisy) / 4000, [0, 0.25, 0.25, 0.25, 0.25], atol=0.03)


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_the_share_of_rows_with_a_prefix(share):
    sigma, _ = levels(Forcing(clean_prefix=share))
    np.testing.assert_allclose((sigma[:, 0] == 0.0).mean(), share, atol=0.025)


def test_noisy_levels_are_uniform_and_independent_across_chunks():
    sigma, weight = levels(Forcing(clean_prefix=0.0))
    assert (sigma >= 0).all() and (sigma < 1).all() and (weight == 1.0).all()
    for q in (0.1, 0.5, 0.9):
        np.testing.assert_allclose((sigma < q).mean(0), q, atol=0.03)
    correlation = np.corrcoef(sigma.T) - np.eye(5)
    assert np.abs(correlation).max() < 0.06


def test_shifted_levels_are_the_map_of_uniform_ones():
    sigma, _ = levels(Forcing(clean_prefix=0.0, shift=5.0))
    for q in (0.3, 0.8):
        np.testing.assert_allclose((sigma < flow.shift_sigma(q, 5.0)).mean(), q, atol=0.02)


def test_a_single_chunk_is_never_clean():
    sigma, weight = levels(Forcing(clean_prefix=1.0), chunks=1)
    assert (sigma > 0).mean() > 0.99 and (weight == 1.0).all()


@pytest.mark.parametrize("chunk", [1, 2, 3])
@pytest.mark.parametrize("queries, keys", [(6, 6), (3, 6), (6, 12), (2, 6)])
@pytest.mark.parametrize("reach", [None, 0, 1, 2])
def test_the_mask_against_brute_force(queries, keys, chunk, reach):
    latents = None if reach is None else reach * chunk
    mask = np.asarray(block_causal_mask(queries, keys, chunk, latents))
    assert mask.shape == (queries, keys)
    for q in range(queries):
        for k in range(keys):
            position = keys - queries + q  # queries are the last of the keys
            first = position // chunk * chunk - (keys if latents is None else latents)
            assert mask[q, k] == (k >= first and k // chunk <= position // chunk), (q, k)


def test_per_latent_repeats_each_chunk():
    np.testing.assert_array_equal(
        per_latent(jnp.array([[1, 2], [3, 4]]), 3), [[1, 1, 1, 2, 2, 2], [3, 3, 3, 4, 4, 4]]
    )


@pytest.mark.parametrize("kwargs, message", [
    ({"chunk": 0}, "chunk must be at least 1"),
    ({"clean_prefix": 1.5}, "Forcing.clean_prefix=1.5 is not a share"),
])  # fmt: skip
def test_impossible_settings_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        Forcing(**kwargs)


def test_a_window_of_broken_chunks_is_refused():
    with pytest.raises(ValueError, match="7 latent frames are not whole chunks of 3"):
        Forcing(chunk=3).chunks(7)
    assert Forcing(chunk=3).chunks(9) == 3


FORCING = Forcing(chunk=2, clean_prefix=0.5)
SHAPE = (16, 6, 4, 4, 2)
LATENTS = jax.random.normal(jax.random.key(0), SHAPE)


def loss_and_record(velocity, latents=LATENTS, forcing=FORCING):
    """The loss, its metrics, and the (z_sigma, sigma) that the network was given."""
    seen = {}

    def recording(z, sigma):
        seen["z"], seen["sigma"] = z, sigma
        return velocity(z, sigma)

    loss, metrics = forcing_loss(recording, latents, jax.random.key(5), forcing)
    return jax.tree.map(np.asarray, (loss, metrics, seen))


def per_element(sigma):
    return np.repeat(np.asarray(sigma), 2, axis=1)[..., None, None, None]


def test_the_network_is_told_the_noise_that_is_in_its_input():
    """z_sigma of ones less z_sigma of zeros is 1 - sigma, whatever the noise."""
    _, _, zeros = loss_and_record(lambda z, sigma: z, jnp.zeros(SHAPE))
    _, _, ones = loss_and_record(lambda z, sigma: z, jnp.ones(SHAPE))
    assert zeros["sigma"].shape == (16, 3)
    np.testing.assert_array_equal(zeros["sigma"], ones["sigma"])
    told = np.broadcast_to(per_element(ones["sigma"]), SHAPE)
    np.testing.assert_allclose(ones["z"] - zeros["z"], 1.0 - told, atol=1e-6)
    # The noise in it is standard normal, and none of it is in a clean prefix.
    assert (told == 0.0).any() and (ones["z"][told == 0.0] == 1.0).all()
    noise = zeros["z"][told > 0] / told[told > 0]
    np.testing.assert_allclose([noise.mean(), noise.std()], [0.0, 1.0], atol=0.07)


def test_a_network_that_says_zero_pays_the_second_moment_of_its_target():
    """At initialisation the head is zero: E ||eps - z||^2 = 1 + E z^2, whatever the levels."""
    loss, _, seen = loss_and_record(lambda z, sigma: jnp.zeros_like(z))
    np.testing.assert_allclose(loss, 1.0 + np.square(LATENTS).mean(), rtol=0.06)
    # Exactly, on the noise that was drawn: eps = (z_sigma - (1 - sigma) z) / sigma.
    level = np.broadcast_to(per_element(seen["sigma"]), SHAPE)
    counted = level > 0
    level, z = level[counted], np.asarray(LATENTS)[counted]
    noise = (seen["z"][counted] - (1.0 - level) * z) / level
    np.testing.assert_allclose(loss, np.square(noise - z).mean(), rtol=1e-3)


def test_the_true_velocity_costs_nothing():
    def oracle(z, sigma):
        # eps - z from z_sigma and the data it was made of; at sigma 0 the loss does not look.
        level = per_element(sigma)
        return jnp.where(level > 0, (z - LATENTS) / jnp.maximum(level, 1e-9), 7.0)

    loss, metrics, _ = loss_and_record(oracle)
    assert loss < 1e-6 and metrics["loss"] == loss


def test_only_noisy_chunks_are_counted():
    forcing = dataclasses.replace(FORCING, clean_prefix=1.0)
    wrong, _, _ = loss_and_record(
        lambda z, sigma: jnp.where(per_element(sigma) == 0.0, 1e6, jnp.zeros_like(z)), forcing=forcing
    )
    zero, _, _ = loss_and_record(lambda z, sigma: jnp.zeros_like(z), forcing=forcing)
    np.testing.assert_allclose(wrong, zero, rtol=1e-6)


def test_the_loss_and_its_thirds_against_plain_numpy():
    # An answer that is wrong by the noise level itself: the square error of a chunk is sigma^2.
    def velocity(z, sigma):
        level = per_element(sigma)
        return (z - LATENTS) / jnp.maximum(level, 1e-9) + level

    loss, metrics, seen = loss_and_record(velocity, forcing=FORCING)
    s = seen["sigma"][seen["sigma"] > 0].astype(np.float64)
    np.testing.assert_allclose(loss, np.mean(s**2), rtol=1e-4)
    np.testing.assert_allclose(metrics["loss_low_noise"], np.mean(s[s < 1 / 3] ** 2), rtol=1e-3)
    np.testing.assert_allclose(metrics["loss_high_noise"], np.mean(s[s >= 2 / 3] ** 2), rtol=1e-4)
