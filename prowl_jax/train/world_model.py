"""Training the world model: all of it in phase 1, a part in phase 2, with any loss and on any data."""

import jax
import jax.numpy as jnp

from prowl_jax.diffusion.forcing import forcing_loss, per_latent, shortcut_forcing_loss
from prowl_jax.train.state import apply_gradients, merge, split_by_path
from prowl_jax.types import Batch


def make_loss(world_model, forcing, shortcut=None):
    """Diffusion forcing: ``loss(dit_params, batch, key) -> (scalar, metrics)`` of a ``types.Batch``.

    With a ``diffusion.shortcut.Shortcut``, shortcut forcing, of a network that is told how long its steps are.
    """
    if shortcut is not None:
        return _make_shortcut_loss(world_model, forcing, shortcut)

    def loss(params, batch, key):
        def velocity(z, sigma):
            return world_model.velocity(params, z, sigma, batch.actions)

        return forcing_loss(velocity, batch.latents, key, forcing)

    return loss


def _make_shortcut_loss(world_model, forcing, shortcut):
    def loss(params, batch, key):
        def predict(z, sigma, length):
            velocity = world_model.velocity(params, z, sigma, batch.actions[: len(z)], length)
            return z - per_latent(sigma, forcing.chunk)[..., None, None, None] * velocity

        return shortcut_forcing_loss(predict, batch.latents, key, forcing, shortcut)

    return loss


def make_update(loss, optimizer, *, ema_decay=0.0):
    """One gradient step on the parameters in ``state``, the ``frozen`` ones held.

    Gradients are taken of the trained parameters only, so a smaller set costs less.

    Args:
      loss: ``f(params, batch, key) -> (scalar, metrics)`` of the merged parameters and any batch, as of ``make_loss``.

    Returns:
      ``update(state, frozen, batch, key) -> (state, metrics)``, pure and not jitted; the key is
      folded with the step.
    """

    def update(state, frozen, batch, key):
        key = jax.random.fold_in(key, state.step)

        def loss_of(trained):
            return loss(merge(trained, frozen), batch, key)

        gradients, metrics = jax.grad(loss_of, has_aux=True)(state.params)
        return apply_gradients(state, gradients, optimizer, ema_decay), metrics

    return update


def make_train_step(loss, optimizer, *, ema_decay=0.0):
    """Phase 1's step, ``step(state, batch, key) -> (state, metrics)``, jitted, state donated."""
    update = make_update(loss, optimizer, ema_decay=ema_decay)
    return jax.jit(lambda state, batch, key: update(state, {}, batch, key), donate_argnums=0)


def make_fine_tune(update, begin_draw=None):
    """``fine_tune(theta, frozen, pool, batches, key, cycle) -> (theta, pool, metrics)``: many steps in one program.

    Pure and not jitted. A step for each leading row of ``batches``; metrics are means over the steps.

    Args:
      update: from ``make_update``.
      begin_draw: ``f(pool, cycle) -> draw``, called once; ``draw(pool, batch, key) -> (pool, batch)`` then makes the
        batch of a step from its row of ``batches`` and from ``pool``, of which it may note what it drew. None: the
        rows are the batches.
    """

    def fine_tune(theta, frozen, pool, batches, key, cycle):
        draw_key, noise_key = jax.random.split(key)
        draw = begin_draw and begin_draw(pool, cycle)

        def step(carry, batch):
            theta, pool = carry
            if draw is not None:
                pool, batch = draw(pool, batch, jax.random.fold_in(draw_key, theta.step))
            theta, metrics = update(theta, frozen, batch, noise_key)
            return (theta, pool), metrics

        (theta, pool), metrics = jax.lax.scan(step, (theta, pool), batches)
        return theta, pool, jax.tree.map(jnp.mean, metrics)

    return fine_tune


def windows(clips, rows, starts, length, world_model):
    """``Batch`` of B windows of ``length`` latents, each with the actions of its frames.

    Args:
      clips: has ``latents [N, L, ...]`` and ``actions [N, T, A]``. rows: int ``[B]``, which clip each window is of.
      starts: int ``[B]``, the latent it begins with.
    """
    rows, starts = rows[:, None], starts[:, None]
    latents = starts + jnp.arange(length)
    frames = world_model.stride * starts + jnp.arange(world_model.frames_of(length))
    return Batch(clips.latents[rows, latents], clips.actions[rows, frames])


def split_trainable(world_model, dit_params):
    """(action conditioning, the rest): what phase 2 trains of the network and what it freezes (PROWL section 3.2)."""
    return split_by_path(dit_params, world_model.action_conditioning)
