"""The autoencoder's loss in closed form, and that it learns."""

import jax
import jax.numpy as jnp
import numpy as np

from prowl_jax.models.autoencoders.small import Autoencoder
from prowl_jax.train.autoencoder import (
    latent_statistics,
    make_train_step,
    reconstruction_loss,
)
from prowl_jax.train.state import init_state, make_optimizer


class Shifted:
    """Answers with the picture made brighter by 0.5, and a posterior that is told."""

    mean, log_variance = 2.0, -1.0

    def apply(self, variables, frames, noise=None, method=None):
        mean = jnp.full((len(frames), 1, 1, 2), self.mean)
        if method == "encode":
            return mean, mean
        assert noise.shape == mean.shape
        return frames + 0.5, mean, jnp.full_like(mean, self.log_variance)


def test_the_loss_in_closed_form():
    frames = np.full((3, 8, 8, 3), 51, np.uint8)  # -0.6 in [-1, 1]
    loss, metrics = reconstruction_loss(Shifted(), {}, frames, jax.random.key(0), kl_weight=0.1)
    kl = 0.5 * (2.0**2 + np.exp(-1.0) - 1.0 + 1.0)
    np.testing.assert_allclose(metrics["kl"], kl, rtol=1e-5)
    np.testing.assert_allclose(metrics["loss"], 0.25, rtol=1e-5)
    np.testing.assert_allclose(loss, 0.25 + 0.1 * kl, rtol=1e-5)
    # Half as far in [0, 1]: an error of 0.25 there.
    np.testing.assert_allclose(metrics["psnr"], -20 * np.log10(0.25), rtol=1e-4)


def test_it_learns_a_few_pictures(random_params):
    network = Autoencoder(channels=3, widths=(12, 12), blocks=1)
    # Four pictures, each of one colour on each half.
    colours = np.random.default_rng(0).integers(0, 256, (4, 1, 2, 3))
    frames = np.repeat(np.repeat(colours, 16, 1), 8, 2).astype(np.uint8)
    params = random_params(network.init, jnp.zeros((1, 16, 16, 3)), jnp.zeros((1, 2, 2, 3)))["params"]
    optimizer = make_optimizer(5e-3, 80)
    step = make_train_step(network, optimizer, kl_weight=1e-4, ema_decay=0.9)
    state, psnr = init_state(params, optimizer), []
    for _ in range(80):
        state, metrics = step(state, frames, jax.random.key(1))
        psnr.append(float(metrics["psnr"]))
    assert np.mean(psnr[-5:]) > psnr[0] + 10, psnr[::16]
    assert step._cache_size() == 1


def test_latent_statistics_normalise():
    latents = np.random.default_rng(0).normal([1.0, -2.0, 0.0], [0.5, 3.0, 0.0], (40, 2, 2, 3))
    latents = latents.astype(np.float32)
    mean, std = latent_statistics(latents)
    np.testing.assert_allclose(mean, latents.mean((0, 1, 2)), atol=1e-5)
    np.testing.assert_allclose(std[:2], latents.std((0, 1, 2))[:2], rtol=1e-5)
    assert std[2] > 0, "a channel that never varies would divide by 0"
