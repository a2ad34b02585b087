"""Training the head that says a dream's error (``models.error_head``) on dreams whose real future is known.

With e the mean absolute error of a place and b what the head says of it, the loss of a place is the negative
log-likelihood of a Laplace distribution of scale b a channel, log 2b + e / b: its minimum in expectation is b = E[e].
"""

import dataclasses

import jax
import jax.numpy as jnp
import optax

from prowl_jax.rewards.predicted_error import error_maps
from prowl_jax.train.state import apply_gradients, init_state
from prowl_jax.types import RealClip

LOG_2 = 0.6931472


def laplace_loss(log_scale, error):
    """Negative log-likelihood in nats a channel; two arrays of one shape, log b and mean absolute errors."""
    return LOG_2 + log_scale + error * jnp.exp(-log_scale)


def optimizer_of(head):
    """Adam at a constant rate."""
    return optax.adam(head.learning_rate)


def init_head(head, key, latent_shape, typical=1.0):
    """A ``TrainState``; arguments as of ``ErrorHead.init``."""
    return init_state(head.init(key, latent_shape, typical), optimizer_of(head))


def make_loss(head):
    """``loss(params, dream) -> scalar`` of a ``Dream`` with its ``real`` latents; ``typical`` stays as it is."""

    def loss(params, dream):
        fixed = params | {"typical": jax.lax.stop_gradient(params["typical"])}
        said = head.log_scale(fixed, dream.context, dream.latents, dream.actions)
        return laplace_loss(said, error_maps(dream)).mean()

    return loss


def make_train_step(head):
    """``step(state, dream) -> (state, loss)``, jitted, state donated: one step on a ``Dream`` that is there already."""
    loss = make_loss(head)

    def step(state, dream):
        value, gradients = jax.value_and_grad(loss)(state.params, dream)
        return apply_gradients(state, gradients, optimizer_of(head)), value

    return jax.jit(step, donate_argnums=0)


def make_fit(head, dream):
    """``fit(state, params, clips, key) -> (state, loss)``, pure and not jitted: one step a leading row of ``clips``.

    Args:
      dream: from ``rewards.dream.make_dream``; every step dreams its clips anew, each from noise of its own.
        ``params`` are the world model's, ``clips`` a ``Batch`` with leaves ``[n, B, ...]``, contexts and what followed.

    What is typical is the mean error of the very first dreams: there the network begins.
    """
    loss = make_loss(head)

    def begun(state, dreamt):
        typical = jnp.log(jnp.maximum(error_maps(dreamt).mean(), 1e-6))

        def told(params):
            return params | {"typical": jnp.where(state.step == 0, typical, params["typical"])}

        return dataclasses.replace(state, params=told(state.params), ema=told(state.ema))

    def fit(state, params, clips, key):
        def step(state, batch):
            dreamt = dream(params, jax.random.fold_in(key, state.step), RealClip(batch.latents, batch.actions))
            state = begun(state, dreamt)
            value, gradients = jax.value_and_grad(loss)(state.params, dreamt)
            return apply_gradients(state, gradients, optimizer_of(head)), value

        state, losses = jax.lax.scan(step, state, clips)
        return state, losses.mean()

    return fit


def make_fit_cycle(head, dream):
    """``fit(state, params, buffer, key) -> (state, metrics)``: ``cycle_steps`` steps on the buffer, all entries alike.

    Pure and not jitted.
    """
    fit = make_fit(head, dream)

    def fit_cycle(state, params, buffer, key):
        slot_key, fit_key = jax.random.split(key)
        filled = buffer.filled / jnp.maximum(buffer.filled.sum(), 1)
        slots = jax.random.choice(slot_key, buffer.capacity, (head.cycle_steps, head.batch), p=filled)
        found = RealClip(buffer.items.latents[slots], buffer.items.actions[slots])
        state, loss = fit(state, params, found, fit_key)
        return state, {"error_head_loss": loss}

    return fit_cycle
