"""Disagreement of an ensemble, the reward of Plan2Explore (arXiv 2005.05960): a rival of PROWL's score.

Each of M small networks predicts, one step ahead, how the latent changes under the action,

    f_m(z_t, a_t) ~ z_{t+1} - z_t,

trained on a bootstrap of its own of the transitions that the world model is trained on too. Where many
were seen the members agree, be the outcome certain or not; where few were, they do not. The policy is
paid for the deviation between them, and no world model is asked how wrong it was. Plan2Explore plans
in imagination; here the policy acts in the real environment, as PROWL's does, so that only the reward
differs. ``train/disagreement.py`` trains it.
"""

import dataclasses

import jax
import jax.numpy as jnp

from prowl_jax.settings import COUNT, POSITIVE, check, setting


@dataclasses.dataclass(frozen=True)
class Ensemble:
    """What the members are. Hashable, so that jit can close over it.

    Attributes:
      latent_shape: ``(h, w, C)`` of a latent; one latent is one frame. action_sizes: of the factors.
      members: M. width: of two hidden layers. learning_rate: of Adam.
      steps: on the demonstrations before the first cycle: what is common is not new.
    """

    latent_shape: tuple
    action_sizes: tuple
    members: int = setting(5, "networks of the ensemble", COUNT, source="Plan2Explore: 5 to 10")
    width: int = setting(128, "of their two hidden layers", COUNT)
    learning_rate: float = setting(1e-3, "of Adam", POSITIVE)
    steps: int = setting(500, "on the demonstrations, before the first cycle", COUNT)

    def __post_init__(self):
        check(self)

    def init_params(self, key):
        """Parameters whose leaves have a leading axis of M; the members begin apart."""
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

        return jax.vmap(member)(jax.random.split(key, self.members))

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


def make_disagreement(ensemble):
    """The reward ``f(params, dream) -> [B]``: how far the members, ``params["ensemble"]``, lie apart on what was real.

    From the last latent of the context on; the dream itself is not looked at, so under ``jit`` it is not dreamt.
    """

    def reward(params, dream):
        seen, steps = dream.context.shape[1], dream.context.shape[1] + dream.real.latents.shape[1]
        latents = jnp.concatenate([dream.context[:, -1:], dream.real.latents], axis=1)
        return disagreement(ensemble, params["ensemble"], latents, dream.actions[:, seen - 1 : steps])

    return reward
