"""Training the autoencoder on single frames, and the statistics that normalise its latents."""

import jax
import jax.numpy as jnp

from prowl_jax.metrics.image import psnr
from prowl_jax.train.state import apply_gradients


def reconstruction_loss(autoencoder, params, frames, key, kl_weight, gradient_weight=0.0, equivariance_weight=0.0):
    """Mean squared error in [-1, 1] plus ``kl_weight`` times KL(posterior || N(0, 1)) per latent, and two more terms.

    Args:
      frames: uint8 ``[B, H, W, 3]``.
      gradient_weight: of the mean squared error of the steps between neighbouring pixels, without which what is
        fine and faint is blurred away.
      equivariance_weight: of the error of latents that are halved in size and turned by half, against frames that
        are (EQ-VAE, arXiv 2502.09509, with these two in the place of any scale and quarter turn): latents that
        transform as pictures do are easier to predict.

    Returns:
      the loss, and metrics with the ``psnr`` of the batch in dB.
    """
    target = frames.astype(jnp.float32) / 127.5 - 1.0
    shape = jax.eval_shape(
        lambda p, x: autoencoder.apply({"params": p}, x, method="encode")[0], params, target
    ).shape
    noise = jax.random.normal(key, shape)
    decoded, mean, log_variance = autoencoder.apply({"params": params}, target, noise)
    square = jnp.mean(jnp.square(decoded - target))
    kl = 0.5 * jnp.mean(jnp.square(mean) + jnp.exp(log_variance) - 1.0 - log_variance)
    metrics = {"loss": square, "psnr": jnp.mean(psnr(decoded / 2 + 0.5, target / 2 + 0.5)), "kl": kl}
    loss = square + kl_weight * kl
    if gradient_weight:
        error = decoded - target
        loss += gradient_weight * sum(jnp.mean(jnp.square(jnp.diff(error, axis=axis))) for axis in (1, 2))
    if equivariance_weight:
        turned = autoencoder.apply({"params": params}, _small_and_turned(mean), method="decode")
        loss += equivariance_weight * jnp.mean(jnp.square(turned - _small_and_turned(target)))
    return loss, metrics


def _small_and_turned(x):
    """Means of 2x2 places of ``[B, h, w, C]``, upside down and left to right in every second row."""
    small = x.reshape(len(x), x.shape[1] // 2, 2, x.shape[2] // 2, 2, -1).mean((2, 4))
    second = (jnp.arange(len(x)) % 2)[:, None, None, None]
    return jnp.where(second, jnp.flip(small, (1, 2)), small)


def make_train_step(autoencoder, optimizer, *, kl_weight, ema_decay, gradient_weight=0.0, equivariance_weight=0.0):
    """``step(state, frames uint8 [B, H, W, 3], key) -> (state, metrics)``, jitted, state donated."""

    def train_step(state, frames, key):
        key = jax.random.fold_in(key, state.step)
        gradients, metrics = jax.grad(
            lambda p: reconstruction_loss(
                autoencoder, p, frames, key, kl_weight, gradient_weight, equivariance_weight
            ),
            has_aux=True,
        )(state.params)
        return apply_gradients(state, gradients, optimizer, ema_decay), metrics

    return jax.jit(train_step, donate_argnums=0)


def latent_statistics(mean_latents):
    """Mean and deviation per channel of latents ``[F, h, w, C]`` -> two ``[C]``; deviation > 0."""
    axes = tuple(range(mean_latents.ndim - 1))
    return jnp.mean(mean_latents, axes), jnp.maximum(jnp.std(mean_latents, axes), 1e-6)
