"""Can the commanded actions be read off a dream? The reward of RLIR (arXiv 2509.23958).

    R = 1/n sum_i 1[IDM(frames)_i = a_i]

The formula asks for the whole action; agreement factor by factor is denser. The judge's accuracy on real clips is its
ceiling and belongs beside every figure. Its parameters are ``params["inverse_dynamics"]``.
"""

import jax.numpy as jnp

from prowl_jax.rl import categorical

NAME, WHOLE = "inverse_dynamics", "inverse_dynamics_whole"


def make_inverse_dynamics(model, action_sizes, whole=False, before=1):
    """The reward ``f(params, dream) -> [...]`` in 0..1, the share of commands that are read off.

    Args:
      model: an ``InverseDynamics``. action_sizes: of the world model's actions. whole: a step counts if all factors do.
      before: frames before the dream that the judge sees, of as many as are known; it is asked about the dream alone.

    Raises:
      ValueError: a judge of other actions. When called: parameters without those of the judge.
    """
    if tuple(model.sizes) != tuple(action_sizes):
        raise ValueError(f"the judge reads actions {model.sizes}, the world model's are {action_sizes}")

    def reward(params, dream):
        if NAME not in params:
            raise ValueError(f"the reward {NAME} needs the weights of the model that reads actions")
        *batch, time, height, width, _ = dream.frames.shape
        past = dream.seen[..., -before:, :, :, :]
        past = jnp.broadcast_to(past, (*batch, *past.shape[-4:]))
        frames = jnp.concatenate([past, dream.frames], axis=-4).reshape(-1, past.shape[-4] + time, height, width, 3)
        logits = model.apply(params[NAME], jnp.round(frames * 255.0).astype(jnp.uint8))
        first = dream.seen.shape[-4] - 1
        asked = dream.actions[..., first : first + time, :]
        read = categorical.mode(logits, model.sizes)[:, -time:].reshape(*batch, *asked.shape[-2:])
        right = read == asked
        return (right.all(-1) if whole else right.mean(-1)).mean(-1)

    return reward
