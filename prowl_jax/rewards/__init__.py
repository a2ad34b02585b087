"""Rewards: functions of a dream and of what was real.

A reward is ``f(params, dream) -> [B]``, or ``[B, L']`` where it tells the dreamt latents apart: of the world model's
parameters, among which one with weights of its own finds them, and of a ``types.Dream``, whose ``real`` is what
really followed. It works on any leading axes, so also on groups of dreams of one context. ``dream`` makes the dreams.

``REWARDS`` names those that need nothing else, ``OF_BRANCHES`` those by which dreams of one context are told apart and
``OF_SEVERAL`` those that look at K dreams of a context at once. One with settings or weights, or asking another
network, is made by its module (``disagreement``, ``predicted_error``, ``reducible``, ``inverse_dynamics``,
``similarity`` with LPIPS or views) and passed beside them.
"""

from prowl_jax.rewards.afs import afs
from prowl_jax.rewards.flow_magnitude import flow_magnitude
from prowl_jax.rewards.inverse_dynamics import NAME, WHOLE
from prowl_jax.rewards.regret import regret
from prowl_jax.rewards.several import energy, learnability, spread_corrected
from prowl_jax.rewards.similarity import group_similarity, similarity

REWARDS = {"regret": regret, "afs": afs}
"""name -> ``f(params, dream) -> [...]``."""

OF_BRANCHES = {
    "similarity": similarity,
    "group_similarity": group_similarity,
    "flow_magnitude": flow_magnitude,
}
"""name -> ``f(params, dream [..., K]) -> [..., K]``: what siblings are told apart by, from frames as they are seen."""

OF_SEVERAL = {"spread_corrected": spread_corrected, "energy": energy, "learnability": learnability}
"""name -> ``f(params, dream [B, K, ...]) -> [B]``."""

OF_JUDGE = (NAME, WHOLE)
"""Names of the rewards of a model that reads actions, by factor and as a whole: they need no real future."""

ERRORS = frozenset({"regret", "afs", "disagreement", "spread_corrected", "energy", "reducible", "predicted_error"})
"""Those that are high where a dream is wrong: they pay who looks for errors. Of all others the highest is the best."""

__all__ = [
    *("ERRORS", "OF_BRANCHES", "OF_JUDGE", "OF_SEVERAL", "REWARDS", "afs", "energy", "flow_magnitude"),
    *("group_similarity", "learnability", "regret", "similarity", "spread_corrected"),
]
