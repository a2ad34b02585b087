"""Training the ensemble whose disagreement ``rewards/disagreement.py`` measures."""

import jax
import jax.numpy as jnp
import optax

from prowl_jax.rewards.disagreement import transitions
from prowl_jax.train.state import apply_gradients, init_state
from prowl_jax.types import Batch


def optimizer_of(ensemble):
    """Adam at a constant rate."""
    return optax.adam(ensemble.learning_rate)


def init_ensemble(ensemble, key):
    """A ``TrainState`` whose leaves have a leading axis of M."""
    return init_state(ensemble.init_params(key), optimizer_of(ensemble))


def make_fit(ensemble):
    """``fit(state, clips, key) -> (state, loss)``, jitted, state donated: one step a leading row of ``clips``.

    ``clips`` is a ``Batch`` with leaves ``[n, B, T, ...]``. In every step each member draws, with
    replacement, as many transitions as there are: its bootstrap.
    """

    def loss(params, z, a, change):
        return jnp.mean(jnp.square(ensemble.predict(params, z, a) - change))

    def step(state, batch_and_key):
        batch, key = batch_and_key
        rows = transitions(batch.latents, batch.actions)
        drawn = jax.random.randint(key, (ensemble.members, len(rows[0])), 0, len(rows[0]))
        own = tuple(x[drawn] for x in rows)
        losses, gradients = jax.vmap(jax.value_and_grad(loss))(state.params, *own)
        return apply_gradients(state, gradients, optimizer_of(ensemble)), losses.mean()

    def fit(state, clips, key):
        state, losses = jax.lax.scan(step, state, (clips, jax.random.split(key, clips.actions.shape[0])))
        return state, losses.mean()

    return jax.jit(fit, donate_argnums=0)


def make_fit_cycle(ensemble):
    """``fit(state, buffer, passive, key) -> (state, metrics)``, jitted, state donated.

    One step a world-model step, on its passive clips (leaves ``[updates, passive_rows, window, ...]``) and
    as many windows from anywhere in the PAT buffer, all entries alike.
    """
    fit = make_fit(ensemble)

    def fit_cycle(state, buffer, passive, key):
        *shape, window = passive.actions.shape[:3]
        slot_key, crop_key, fit_key = jax.random.split(key, 3)
        filled = buffer.filled / jnp.maximum(buffer.filled.sum(), 1)
        slots = jax.random.choice(slot_key, buffer.capacity, shape, p=filled)[..., None]
        length = buffer.items.actions.shape[1]
        starts = jax.random.randint(crop_key, shape, 0, length - window + 1)
        steps = starts[..., None] + jnp.arange(window)
        found = Batch(buffer.items.latents[slots, steps], buffer.items.actions[slots, steps])
        clips = jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=1), passive, found)
        state, loss = fit(state, clips, fit_key)
        return state, {"ensemble_loss": loss}

    return jax.jit(fit_cycle, donate_argnums=0)
