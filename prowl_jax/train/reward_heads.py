"""Reward and end heads by maximum likelihood of real steps: squared error in deviations, and cross-entropy.

Neither is weighted: heads that shall say how likely an end is must see ends as often as they are. (World Models weighs
them tenfold, and DIAMOND not.)
"""

import jax
import jax.numpy as jnp
import optax

from prowl_jax.train.state import make_step
from prowl_jax.types import pytree


@pytree
class Steps:
    """Steps of an environment with a goal, with a leading axis.

    Attributes:
      before, after: uint8 ``[B, H, W, 3]``, the frame that was seen and the one that the action led to.
      actions: int32 ``[B, A]``. reward: float32 ``[B]``. over: bool ``[B]``.
    """

    before: jax.Array
    after: jax.Array
    actions: jax.Array
    reward: jax.Array
    over: jax.Array


def make_loss(heads):
    """``loss(params, Steps) -> scalar``; mean and deviation of the rewards stay as they are."""

    def loss(params, steps):
        fixed = {name: jax.lax.stop_gradient(params[name]) for name in ("mean", "std")}
        reward, end = heads.apply(params | fixed, steps.before, steps.after, steps.actions)
        wrong = jnp.mean(jnp.square((reward - steps.reward) / fixed["std"]))
        return wrong + jnp.mean(optax.sigmoid_binary_cross_entropy(end, steps.over.astype(jnp.float32)))

    return loss


def make_train_step(heads, optimizer, *, ema_decay=0.0):
    """``step(state, Steps, key) -> (state, metrics)``, see ``state.make_step``."""
    return make_step(make_loss(heads), optimizer, ema_decay=ema_decay)
