"""What stands behind the world model's ``encode`` and ``decode`` keeps one contract, whichever it is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prowl_jax.models.autoencoders.small import Autoencoder
from prowl_jax.models.autoencoders.wan import WanVAE, WanVAENetwork
from prowl_jax.models.dit.dit import DiT
from prowl_jax.models.world_model import WorldModel

SMALL = Autoencoder(channels=3, widths=(8, 8), blocks=1)
FOURFOLD = Autoencoder(channels=3, widths=(8, 8), blocks=1, downsampling=4)
WAN = WanVAE(WanVAENetwork(channels=3, base=4, multiples=(1, 1, 2, 2), blocks=1), (1.0, 2.0, 3.0), (0.5, 1.0, 2.0))
LATENTS, FRAME = 3, (16, 24, 3)
rng = np.random.default_rng(0)


@pytest.fixture(scope="module", params=[SMALL, FOURFOLD, WAN], ids=["small", "fourfold", "wan"])
def stand(request, random_params):
    """``(world model, its parameters, frames uint8 [2, T, H, W, 3], latents, encode, decode)``."""
    autoencoder = request.param
    dit = DiT(channels=3, width=24, depth=1, heads=2, ffn=32, action_sizes=(3,), patch=1, frequency_width=16,
              action_frames=autoencoder.frames_per_latent)  # fmt: skip
    model = WorldModel(dit, autoencoder)
    params = random_params(model.init, FRAME, LATENTS)
    params |= {name: np.array(getattr(autoencoder, name), np.float32) for name in ("latent_mean", "latent_std")}
    time = 1 + (LATENTS - 1) * autoencoder.frames_per_latent
    frames = rng.integers(0, 256, (2, time, *FRAME)).astype(np.uint8)
    latents = rng.normal(size=(2, LATENTS, *model.latent_shape(FRAME))).astype(np.float32)
    return model, params, frames, latents, jax.jit(model.encode), jax.jit(model.decode)


def test_shapes_and_ranges(stand):
    _, params, frames, latents, encode, decode = stand
    encoded = encode(params, frames)
    assert encoded.shape == latents.shape and encoded.dtype == jnp.float32 and np.isfinite(encoded).all()
    shown = np.asarray(decode(params, 20.0 * latents))
    assert shown.shape == frames.shape and shown.dtype == np.float32
    assert shown.min() >= 0.0 and shown.max() <= 1.0 and np.ptp(shown) > 0.1


def test_latents_are_normalised_by_the_statistics(stand):
    model, params, frames, _, encode, _ = stand
    pixels = frames.astype(np.float32) / np.float32(127.5) - 1
    raw = jax.jit(model.autoencoder.encode_frames)(params["autoencoder"], pixels)
    np.testing.assert_allclose(
        np.asarray(encode(params, frames)) * params["latent_std"] + params["latent_mean"], raw, atol=1e-5
    )


def test_a_prefix_has_the_prefix_of_the_rest(stand):
    model, params, frames, latents, encode, decode = stand
    per_latent = model.autoencoder.frames_per_latent
    shorter = 1 + (LATENTS - 2) * per_latent
    np.testing.assert_allclose(encode(params, frames[:, :shorter]), encode(params, frames)[:, :-1], atol=1e-5)
    np.testing.assert_allclose(decode(params, latents[:, :-1]), decode(params, latents)[:, :shorter], atol=1e-5)


def test_what_comes_later_changes_nothing_before(stand):
    """Exact: the same programs, other frames at the end."""
    model, params, frames, latents, encode, decode = stand
    other_frames, other_latents = frames.copy(), latents.copy()
    other_frames[:, -1] //= 2
    other_latents[:, -1] *= 2.0
    ours, theirs = encode(params, frames), encode(params, other_frames)
    np.testing.assert_array_equal(ours[:, :-1], theirs[:, :-1])
    assert np.abs(ours[:, -1] - theirs[:, -1]).max() > 1e-3
    ours, theirs = decode(params, latents), decode(params, other_latents)
    kept = 1 + (LATENTS - 2) * model.autoencoder.frames_per_latent
    np.testing.assert_array_equal(ours[:, :kept], theirs[:, :kept])
    assert np.abs(ours[:, kept:] - theirs[:, kept:]).max() > 1e-3


def test_rows_do_not_mix(stand):
    _, params, frames, latents, encode, decode = stand
    other_frames, other_latents = frames.copy(), latents.copy()
    other_frames[1], other_latents[1] = 0, 0.0
    np.testing.assert_array_equal(encode(params, frames)[0], encode(params, other_frames)[0])
    np.testing.assert_array_equal(decode(params, latents)[0], decode(params, other_latents)[0])


def test_what_follows_a_past(stand):
    model, params, _, latents, _, decode = stand
    per_latent = model.autoencoder.frames_per_latent
    shown = jax.jit(model.decode_after)(params, latents[:, :-1], latents[:, -1:])
    assert shown.shape[1] == per_latent
    np.testing.assert_allclose(shown, decode(params, latents)[:, -per_latent:], atol=1e-5)


def test_an_action_stands_for_a_frame(stand):
    model, params, frames, latents, *_ = stand
    actions = np.zeros((2, frames.shape[1], 1), np.int32)
    sigma = np.full((2, LATENTS // model.chunk), 0.5, np.float32)
    assert jax.eval_shape(model.velocity, params["dit"], latents, sigma, actions).shape == latents.shape
