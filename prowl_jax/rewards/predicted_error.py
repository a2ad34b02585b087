"""The error that a head expects of a dream, a rival of PROWL's score that needs no real future to be computed.

PROWL pays its policy for how wrong the dream was; here it is paid for how wrong a head thinks that it is
(``models.error_head``), which is trained on dreams whose real future is known. A policy that is paid for it looks for
what the head fears: it may be fooled where the head is wrong, and is not paid for the world's chance alone, since the
head says the expected error of either.
"""

import jax.numpy as jnp

NAME = "error_head"
"""Where a head's parameters lie among those that a reward is given."""


def error_maps(dream):
    """What the head is to say: mean absolute error of each place of each dreamt latent, float32 ``[..., L', h, w]``."""
    difference = dream.latents.astype(jnp.float32) - dream.real.latents.astype(jnp.float32)
    return jnp.abs(difference).mean(-1)


def make_predicted_error(head):
    """The reward ``f(params, dream) -> [B]``: the head's b, mean over places and latents; reality is not looked at."""

    def predicted_error(params, dream):
        said = head.log_scale(params[NAME], dream.context, dream.latents, dream.actions)
        return jnp.exp(said).mean((1, 2, 3))

    return predicted_error
