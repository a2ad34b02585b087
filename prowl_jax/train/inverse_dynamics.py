"""The inverse dynamics model by maximum likelihood of recorded actions."""

import functools

import jax
import jax.numpy as jnp

from prowl_jax.rl import categorical
from prowl_jax.spans import kept, program
from prowl_jax.train.state import make_step


def negative_log_likelihood(model, params, clip):
    """Mean NLL a step of a ``Clip`` ``[B, T, ...]``, in nats, all factors of an action together.

    The last action of a clip leads out of it and is not asked for.
    """
    return -jnp.mean(categorical.log_prob(model.apply(params, clip.frames), clip.actions[:, :-1], model.sizes))


def make_train_step(model, optimizer, *, ema_decay=0.0):
    """``step(state, clip, key) -> (state, metrics)``, see ``state.make_step``."""
    return make_step(functools.partial(negative_log_likelihood, model), optimizer, ema_decay=ema_decay)


@kept
def make_recover(model):
    """``recover(params, frames uint8 [B, T, H, W, 3]) -> int32 [B, T - 1, A]``, the likeliest actions, jitted."""
    return program(jax.jit(lambda params, frames: categorical.mode(model.apply(params, frames), model.sizes)))
