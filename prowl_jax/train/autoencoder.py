"""Training the autoencoder on single frames, and the statistics that normalise its latents."""

import jax
import jax.numpy as jnp

from prowl_jax.metrics.image import psnr
from prowl_jax.train.state import apply_gradients


def reconstruction_loss(autoencoder, params, frames, key, kl_weight):
    """Mean squared error in [-1, 1] plus ``kl_weight`` times KL(posterior || N(0, 1)) per latent.

    Args:
      frames: uint8 ``[B, H, W, 3]``.

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
    return square + kl_weight * kl, metrics


def make_train_step(autoencoder, optimizer, *, kl_weight, ema_decay):
    """``step(state, frames uint8 [B, H, W, 3], key) -> (state, metrics)``, jitted, state donated."""

    def train_step(state, frames, key):
        key = jax.random.fold_in(key, state.step)
        gradients, metrics = jax.grad(
            lambda p: reconstruction_loss(autoencoder, p, frames, key, kl_weight), has_aux=True
        )(state.params)
        return apply_gradients(state, gradients, optimizer, ema_decay), metrics

    return jax.jit(train_step, donate_argnums=0)


def latent_statistics(mean_latents):
    """Mean and deviation per channel of latents ``[F, h, w, C]`` -> two ``[C]``; deviation > 0."""
    axes = tuple(range(mean_latents.ndim - 1))
    return jnp.mean(mean_latents, axes), jnp.maximum(jnp.std(mean_latents, axes), 1e-6)
