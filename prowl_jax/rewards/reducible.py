"""What of a dream's regret another model does not have: reducible regret, and learning progress.

Both dream the clip again, from the same noise, with another network's parameters, and are ``regret`` minus its regret
or the reverse: what no model can know weighs on either, and drops out. The other network's parameters lie in
``params`` beside the world model's ``"dit"``, whole, as an ensemble's do in ``params["ensemble"]``.
"""

import jax
import jax.numpy as jnp

from prowl_jax.pat.score import latent_regret
from prowl_jax.types import RealClip

ORACLE, BEFORE = "oracle", "before"
"""Where in ``params`` the other network stands: one trained on everything, and the own one of a cycle ago."""


def make_reducible(dream, seed):
    """Reducible regret (RHO-LOSS, arXiv 2206.07137), ``f(params, dream) -> [B]``: regret now - that of the oracle.

    Args:
      dream: from ``make_dream``. seed: of the noise that the scored dreams begin from.
    """

    def reward(params, dreamt):
        return _regret(dreamt) - _regret(_again(dream, seed, params, ORACLE, dreamt))

    return reward


def make_progress(dream, seed):
    """Learning progress, ``f(params, dream) -> [B]``: regret a cycle ago - regret now; arguments as ``make_reducible``.

    Delta with the other sign, of what was never scored before too. LPM (arXiv 2509.25438) has a second network predict
    the earlier model's error, since that model is gone; here the trained part of it is kept, and asked.
    """

    def reward(params, dreamt):
        return _regret(_again(dream, seed, params, BEFORE, dreamt)) - _regret(dreamt)

    return reward


def _again(dream, seed, params, name, dreamt):
    """The same clips dreamt by the network ``params[name]``; of latents alone, since nothing else is compared."""
    if name not in params:
        raise ValueError(f"no network {name!r} beside the world model's parameters (phase2.oracle names the oracle's)")
    clips = RealClip(jnp.concatenate([dreamt.context, dreamt.real.latents], axis=1), dreamt.actions)
    return dream({**params, "dit": params[name]}, jax.random.key(seed), clips)


def _regret(dreamt):
    return latent_regret(dreamt.latents, dreamt.real.latents)
