"""The reference policy by behaviour cloning: maximum likelihood of the demonstrators' actions."""

import jax
import jax.numpy as jnp

from prowl_jax.rl import categorical
from prowl_jax.train.state import apply_gradients


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
    """``step(state, clip, key) -> (state, metrics)``, jitted, state donated; the key is not used."""

    def train_step(state, clip, key):
        del key
        loss, gradients = jax.value_and_grad(lambda p: negative_log_likelihood(policy, p, clip))(state.params)
        return apply_gradients(state, gradients, optimizer, ema_decay), {"loss": loss}

    return jax.jit(train_step, donate_argnums=0)


def marginal_nll(train_actions, held_out_actions, sizes):
    """NLL of held-out actions ``[F, A]`` under the training frequencies of each factor, in nats.

    What a policy that sees nothing reaches: the yardstick of a cloned policy.
    """
    total = 0.0
    for i, size in enumerate(sizes):
        counts = jnp.bincount(jnp.asarray(train_actions[:, i]), length=size) + 1.0
        total -= jnp.mean(jnp.log(counts / counts.sum())[jnp.asarray(held_out_actions[:, i])])
    return total
