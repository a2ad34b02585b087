"""Disagreement of an ensemble, the reward of Plan2Explore (arXiv 2005.05960): a rival of PROWL's score.

Each of M small networks predicts, one step ahead, how the latent changes under the action,

    f_m(z_t, a_t) ~ z_{t+1} - z_t,

trained on a bootstrap of its own of the transitions that the world model is trained on too. Where many
were seen the members agree, be the outcome certain or not; where few were, they do not. The policy is
paid for the deviation between them, and no world model is asked how wrong it was. Plan2Explore plans
in imagination; here the policy acts in the real environment, as PROWL's does, so that only the reward
differs.
"""

import dataclasses

import jax
import jax.numpy as jnp
import optax

from prowl_jax.train.state import apply_gradients, init_state
from prowl_jax.types import Batch


@dataclasses.dataclass(frozen=True)
class Ensemble:
    """What the members are. Hashable, so that jit can close over it.

    Attributes:
      latent_shape: ``(h, w, C)`` of a latent; one latent is one frame. action_sizes: of the factors.
      members: M (Plan2Explore: 5 to 10). width: of two hidden layers. learning_rate: of Adam.
    """

    latent_shape: tuple
    action_sizes: tuple
    members: int = 5
    width: int = 128
    learning_rate: float = 1e-3

    @property
    def optimizer(self):
        """Adam at a constant rate."""
        return optax.adam(self.learning_rate)

    def init(self, key):
        """A ``TrainState`` whose leaves have a leading axis of M; the members begin apart."""
        size = self.latent_shape[0] * self.latent_shape[1] * self.latent_shape[2]
        sizes = (size + sum(self.action_sizes), self.width, self.width, size)

        def member(key):
            layers = {}
            for i, layer_key in enumerate(jax.random.split(key, 3)):
                scale = jnp.sqrt(2.0 / sizes[i])
                layers[f"dense_{i}"] = {
                    "kernel": scale * jax.random.normal(layer_key, (sizes[i], sizes[i + 1])),
                    "bias": jnp.zeros(sizes[i + 1]),
                }
            return layers

        params = jax.vmap(member)(jax.random.split(key, self.members))
        return init_state(params, self.optimizer)

    def predict(self, params, latents, actions):
        """One member's change of each latent: ``[N, h w C]`` and int32 ``[N, A]`` -> ``[N, h w C]``."""
        known = [jax.nn.one_hot(actions[:, i], size) for i, size in enumerate(self.action_sizes)]
        x = jnp.concatenate([latents, *known], axis=-1)
        for i in range(2):
            x = jax.nn.relu(x @ params[f"dense_{i}"]["kernel"] + params[f"dense_{i}"]["bias"])
        return x @ params["dense_2"]["kernel"] + params["dense_2"]["bias"]


def transitions(latents, actions):
    """Clips as single steps: ``[B, T, h, w, C]`` and ``[B, T, A]`` -> z, a, change, each ``[B (T-1), ...]``.

    Raises:
      ValueError: latents that are not one a frame.
    """
    if latents.shape[1] != actions.shape[1]:
        raise ValueError(f"{latents.shape[1]} latents of {actions.shape[1]} frames: disagreement needs one a frame")
    flat = latents.reshape(*latents.shape[:2], -1)
    rows = (flat[:, :-1], actions[:, :-1], flat[:, 1:] - flat[:, :-1])
    return tuple(x.reshape(-1, x.shape[-1]) for x in rows)


def disagreement(ensemble, params, latents, actions):
    """How far the members lie apart on each trajectory.

    Args:
      params: of all members, leaves ``[M, ...]``.
      latents: float ``[B, T, h, w, C]``. actions: int32 ``[B, T, A]``.

    Returns:
      float ``[B]``: deviation over the members, mean over latent dimensions and steps.
    """
    z, a, _ = transitions(latents, actions)
    predicted = jax.vmap(ensemble.predict, (0, None, None))(params, z, a)
    return jnp.std(predicted, axis=0).mean(-1).reshape(latents.shape[0], -1).mean(-1)


def make_reward(ensemble, curriculum):
    """``reward(state, items, valid) -> (reward [B], metrics)``, jitted.

    ``items`` as in ``curriculum.PATItem``. The disagreement on the scored steps, standardised over the
    cycle's valid trajectories, so that its scale is that of PROWL's z-scores; 0 where not valid.
    """
    scored = slice(curriculum.context - 1, curriculum.context + curriculum.horizon)

    @jax.jit
    def reward(state, items, valid):
        raw = disagreement(ensemble, state.params, items.latents[:, scored], items.actions[:, scored])
        valid = valid & jnp.isfinite(raw)
        total = jnp.maximum(jnp.sum(valid), 1)
        mean = jnp.sum(jnp.where(valid, raw, 0.0)) / total
        std = jnp.sqrt(jnp.sum(jnp.where(valid, jnp.square(raw - mean), 0.0)) / total)
        return jnp.where(valid, (raw - mean) / jnp.maximum(std, 1e-6), 0.0), {"disagreement": mean}

    return reward


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
        return apply_gradients(state, gradients, ensemble.optimizer), losses.mean()

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
