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


def test_brighter_has_no_wrong_gradient_and_a_wrong_step_is_weighed():
    frames = np.full((3, 8, 8, 3), 51, np.uint8)

    def losses(network):
        key = jax.random.key(0)
        return [reconstruction_loss(network, {}, frames, key, 0.1, gradient_weight=w)[0] for w in (0, 2.0)]

    plain, weighed = losses(Shifted())
    assert float(plain) == float(weighed)

    class OneWrong(Shifted):
        def apply(self, variables, frames, noise=None, method=None):
            first, *rest = super().apply(variables, frames, noise, method)
            return (first if method else jnp.asarray(first).at[:, :, 4:].add(0.3), *rest)

    plain, weighed = losses(OneWrong())
    np.testing.assert_allclose(weighed - plain, 2.0 * 0.3**2 / 7, rtol=1e-4)  # one of seven steps to the side is wrong


def test_latents_that_are_pictures_transform_as_pictures():
    class Halved(Shifted):
        """Latents are means of 2x2 pixels, or, ``wrong``, those upside down."""

        wrong = False

        def apply(self, variables, x, noise=None, method=None):
            if method == "decode":
                return jnp.repeat(jnp.repeat(x[:, ::-1] if self.wrong else x, 2, 1), 2, 2)
            mean = x.reshape(len(x), 4, 2, 4, 2, 3).mean((2, 4))
            return (mean, mean) if method == "encode" else (x, mean, jnp.zeros_like(mean))

    columns = np.random.default_rng(0).integers(0, 255, (2, 2, 2, 3))
    frames = np.repeat(np.repeat(columns, 4, 1), 4, 2).astype(np.uint8)
    losses = []
    for wrong in (False, True):
        network = Halved()
        network.wrong = wrong
        losses.append(
            reconstruction_loss(network, {}, frames, jax.random.key(0), kl_weight=0.0, equivariance_weight=1.0)[0]
        )
    assert float(losses[0]) < 1e-10 < 1e-2 < float(losses[1])


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
