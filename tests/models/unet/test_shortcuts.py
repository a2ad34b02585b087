"""A convolutional world model that takes few steps: what its sampler tells it, how it learns, where it begins."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prowl_jax.diffusion.autoregressive import FrameLevels
from prowl_jax.diffusion.shortcut import Shortcut
from prowl_jax.models.unet.unet import UNet
from prowl_jax.models.unet.world_model import UNetWorldModel, even_levels, powers
from prowl_jax.types import Batch

SIZES = (3, 5)
NETWORK = UNet(SIZES, widths=(8,), blocks=(1,), width=8, attention=False, motion=False, shortcut=4)
MODEL = UNetWorldModel(NETWORK, sampler_levels=even_levels(2))
PLAIN = UNetWorldModel(NETWORK.clone(shortcut=0), sampler_levels=even_levels(2))
rng = np.random.default_rng(0)
FRAMES = rng.integers(0, 256, (4, 4, 8, 8, 3)).astype(np.uint8)
ACTIONS = np.stack([rng.integers(0, size, (4, 4)) for size in SIZES], axis=-1).astype(np.int32)
KEY = jax.random.key(3)


@pytest.fixture(scope="module")
def params(random_params):
    found = random_params(MODEL.init, (8, 8, 3))
    return found | {
        name: np.array(getattr(MODEL.autoencoder, name), np.float32) for name in ("latent_mean", "latent_std")
    }


def dream(model, params):
    latents = model.encode(params, FRAMES)[:, :2]
    return np.asarray(jax.jit(model.rollout, static_argnums=4)(params, KEY, latents, ACTIONS, 2))


def test_a_network_that_heeds_no_lengths_is_the_one_that_knows_none(params):
    """At the start the lengths' last matrix is zero, so that a second stage begins where the first ended."""
    fresh = MODEL.init(KEY, (8, 8, 3))["dit"]["lengths"]["out"]["kernel"]
    assert not np.any(fresh)
    lengths = params["dit"]["lengths"]
    deaf = {**lengths, "out": jax.tree.map(jnp.zeros_like, lengths["out"])}
    theirs = {name: leaf for name, leaf in params["dit"].items() if name != "lengths"}
    np.testing.assert_allclose(
        dream(MODEL, params | {"dit": {**theirs, "lengths": deaf}}), dream(PLAIN, params | {"dit": theirs}), atol=1e-5
    )


def test_the_sampler_tells_how_long_its_steps_are(params, monkeypatch):
    told, denoise = [], UNet.denoise
    monkeypatch.setattr(
        UNet, "denoise", lambda self, *a: (told.append(float(np.ravel(a[-2])[0])), denoise(self, *a))[1]
    )
    with jax.disable_jit():
        for steps in (1, 4):
            model = dataclasses.replace(MODEL, sampler_levels=even_levels(steps))
            latents = model.encode(params, FRAMES)[:, :2]
            noise = jax.random.normal(KEY, (4, 1, *latents.shape[2:]))
            model.next_chunk(params, noise, model.prefill(params, latents, ACTIONS), ACTIONS[:, 1:2])
    assert told == [1.0] + [0.25] * 4
    for levels in ((1.0, 0.13, 0.0), even_levels(8)):
        with pytest.raises(ValueError, match="1, 2, 4 ... 4 steps of one length"):
            UNetWorldModel(NETWORK, sampler_levels=levels)
    assert powers(8) == (1, 2, 4, 8) and even_levels(2) == (1.0, 0.5, 0.0)


def test_it_learns_both_kinds_of_steps(params):
    latents, batch_actions = MODEL.encode(params, FRAMES), ACTIONS
    shortcut = Shortcut(most=4, share=0.5)
    loss = jax.jit(jax.value_and_grad(MODEL.loss(FrameLevels(), shortcut=shortcut), has_aux=True))
    now, batch = params["dit"], Batch(latents, batch_actions)
    (first, metrics), gradient = loss(now, batch, KEY)
    assert {"loss", "loss_fine", "loss_coarse"} <= metrics.keys()
    assert np.isclose(first, np.mean([metrics["loss_fine"], metrics["loss_coarse"]]), rtol=1e-4)
    assert np.any(gradient["lengths"]["out"]["kernel"])
    for _ in range(20):
        size = jnp.sqrt(sum(jnp.sum(g**2) for g in jax.tree.leaves(gradient)))
        now = jax.tree.map(lambda p, g, s=size: p - 0.05 * g / s, now, gradient)
        (last, _), gradient = loss(now, batch, KEY)
    assert last < 0.9 * first
