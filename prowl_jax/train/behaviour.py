"""The reference policy by behaviour cloning: maximum likelihood of the demonstrators' actions."""

import functools

import jax.numpy as jnp

from prowl_jax.rl import categorical
from prowl_jax.train.state import make_step


def previous_actions(actions):
    """The action that led to each frame: ``[B, T, A]`` shifted by one, -1 for the first."""
    return jnp.concatenate([jnp.full_like(actions[:, :1], -1), actions[:, :-1]], axis=1)


def negative_log_likelihood(policy, params, clip):
    """Mean NLL per step of a batch of clips, in nats, all factors of an action together.

    The policy's memory starts empty at the clip's first frame, as it does when acting.
    """
    batch, time = clip.actions.shape[:2]
    first = jnp.zeros((batch, time), bool).at[:, 0].set(True)
    logits, _, _ = policy.apply(
        params, policy.initial_state(batch), clip.frames, previous_actions(clip.actions), first
    )
    return -jnp.mean(categorical.log_prob(logits, clip.actions, policy.sizes))


def make_train_step(policy, optimizer, *, ema_decay=0.0):
    """``step(state, clip, key) -> (state, metrics)``, see ``state.make_step``."""
    return make_step(functools.partial(negative_log_likelihood, policy), optimizer, ema_decay=ema_decay)


def marginal_nll(train_actions, held_out_actions, sizes):
    """NLL of held-out actions ``[F, A]`` under the training frequencies of each factor, in nats.

    What a policy that sees nothing reaches: the yardstick of a cloned policy.
    """
    total = 0.0
    for i, size in enumerate(sizes):
        counts = jnp.bincount(jnp.asarray(train_actions[:, i]), length=size) + 1.0
        total -= jnp.mean(jnp.log(counts / counts.sum())[jnp.asarray(held_out_actions[:, i])])
    return total
