"""Training the world model with diffusion forcing: all of it in phase 1, a part in phase 2."""

import functools

import jax

from prowl_jax.diffusion.forcing import forcing_loss
from prowl_jax.models.dit.dit import ACTION_CONDITIONING
from prowl_jax.train.state import apply_gradients, merge, split_by_path


def loss_of(world_model, forcing, params, frozen, batch, key):
    """(the forcing loss of a ``types.Batch`` under the merged parameters, metrics)."""
    params = merge(params, frozen)

    def velocity(z, sigma):
        return world_model.velocity(params, z, sigma, batch.actions)

    return forcing_loss(velocity, batch.latents, key, forcing)


def make_update(world_model, forcing, optimizer, *, ema_decay=0.0):
    """One gradient step on the parameters in ``state``, the ``frozen`` ones held.

    Gradients are taken of the trained parameters only, so a smaller set costs less.

    Returns:
      ``update(state, frozen, batch, key) -> (state, metrics)``, pure and not jitted; ``batch``
      is a ``types.Batch`` with latents ``[B, L, h, w, C]`` and actions ``[B, T, A]``; the key is
      folded with the step.
    """

    def update(state, frozen, batch, key):
        key = jax.random.fold_in(key, state.step)
        loss = functools.partial(loss_of, world_model, forcing)
        gradients, metrics = jax.grad(loss, has_aux=True)(state.params, frozen, batch, key)
        return apply_gradients(state, gradients, optimizer, ema_decay), metrics

    return update


def make_train_step(world_model, forcing, optimizer, *, ema_decay=0.0):
    """Phase 1's step, ``step(state, batch, key) -> (state, metrics)``, jitted, state donated."""
    update = make_update(world_model, forcing, optimizer, ema_decay=ema_decay)
    return jax.jit(lambda state, batch, key: update(state, {}, batch, key), donate_argnums=0)


def split_trainable(dit_params):
    """(action conditioning, the rest): what phase 2 trains and what it freezes (PROWL section 3.2)."""
    return split_by_path(dit_params, ACTION_CONDITIONING)
