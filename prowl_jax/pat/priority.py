"""How likely each entry of the buffer is to be replayed (PROWL, arXiv 2605.18803, section on PAT).

    P(i) = (1 - rho) P_score(i) + rho P_stale(i)

P_score favours what the world model still gets wrong, P_stale what has not been looked at
for long. The mixture has the form of Prioritized Level Replay (arXiv 2010.03934, equations
1 to 3), from which the rank form of P_score and its defaults are taken, since the PROWL
paper does not print them.
"""

import dataclasses

import chex
import jax
import jax.numpy as jnp

from prowl_jax.settings import POSITIVE, SHARE, check, one_of, setting

KINDS = ("rank", "softmax", "power", "uniform")


@dataclasses.dataclass(frozen=True)
class Priority:
    """How scores become probabilities. Hashable, so it can be a static argument of ``jit``.

    Attributes:
      kind: the shape of P_score. ``"rank"``: (1 / rank)^(1/T), rank 1 for the highest score,
        blind to the scale of the scores; equal scores share the better rank. ``"softmax"``: exp(score / T).
        ``"power"``: (score - lowest score)^(1/T). ``"uniform"``: the same for all, the control that knows no score.
      temperature: T (PLR's beta), above 0; smaller is greedier.
      staleness: rho in 0..1, the share of P_stale.
      replacement: whether one draw of several entries may hold an entry more than once.
    """

    kind: str = setting("rank", f"how scores become P_score: {', '.join(KINDS)}", one_of(KINDS), key="priority")
    temperature: float = setting(0.3, "T of P_score, smaller is greedier", POSITIVE, source="PLR: 0.3")
    staleness: float = setting(0.3, "rho, the share of what was not drawn for long", SHARE, source="PLR: 0.3")
    replacement: bool = setting(True, "whether an entry may come twice in one batch")

    def __post_init__(self):
        check(self)


def score_weights(scores, filled, priority):
    """P_score: the share of each entry by how wrong the world model is on it.

    Args:
      scores: float ``[n]``. One that is not finite counts as the lowest.
      filled: bool ``[n]``, which entries there are.
      priority: a ``Priority``.

    Returns:
      float ``[n]``, sums to 1, 0 where not filled; all 0 when nothing is filled.
    """
    chex.assert_rank([scores, filled], 1)
    chex.assert_equal_shape([scores, filled])
    known = filled & jnp.isfinite(scores)
    lowest = jnp.min(jnp.where(known, scores, jnp.inf))
    scores = jnp.where(known, scores, jnp.where(jnp.isfinite(lowest), lowest, 0.0))
    # In logarithms, so that one masked softmax normalises all three without underflow.
    if priority.kind == "rank":
        log_weights = -jnp.log(1.0 + _higher(jnp.where(known, scores, -jnp.inf), filled))
    elif priority.kind == "softmax":
        log_weights = scores
    elif priority.kind == "uniform":
        log_weights = jnp.zeros_like(scores)
    else:
        log_weights = jnp.log(scores - jnp.min(jnp.where(filled, scores, jnp.inf)) + 1e-6)
    log_weights = jnp.where(filled, log_weights / priority.temperature, -jnp.inf)
    return jax.nn.softmax(log_weights, where=filled)


def _higher(scores, filled):
    """How many filled entries have a higher score, float32 ``[n]``.

    Whole numbers in the floats' order stand for them, since those sort many times faster on a CPU.
    """
    bits = jax.lax.bitcast_convert_type(jnp.where(scores == 0, 0.0, scores).astype(jnp.float32), jnp.int32)
    order = bits ^ ((bits >> 31) & jnp.iinfo(jnp.int32).max)
    order = jnp.where(filled, order, jnp.iinfo(jnp.int32).min)
    not_higher = jnp.searchsorted(jnp.sort(order), order, side="right")
    return (scores.size - not_higher).astype(jnp.float32)


def staleness_weights(last_sampled, cycle, filled):
    """P_stale: proportional to ``cycle - last_sampled``, uniform when nothing is stale.

    Args:
      last_sampled: int ``[n]``, the cycle in which each entry was last drawn or inserted.
      cycle: int scalar, now.
      filled: bool ``[n]``, which entries there are.

    Returns:
      float ``[n]``, sums to 1, 0 where not filled; all 0 when nothing is filled.
    """
    chex.assert_rank([last_sampled, filled], 1)
    chex.assert_equal_shape([last_sampled, filled])
    age = jnp.where(filled, jnp.maximum(cycle - last_sampled, 0), 0).astype(jnp.float32)
    weights = jnp.where(jnp.any(age > 0), age, filled.astype(jnp.float32))
    return weights / jnp.maximum(jnp.sum(weights), 1.0)


def mixture(by_score, last_sampled, cycle, filled, priority):
    """P(i) = (1 - rho) P_score(i) + rho P_stale(i).

    Args:
      by_score: float ``[n]``, P_score, see ``score_weights``.
      last_sampled: int ``[n]``, see ``staleness_weights``.
      cycle: int scalar, now.
      filled: bool ``[n]``, which entries there are.
      priority: a ``Priority``.

    Returns:
      float ``[n]``, sums to 1, 0 where not filled; all 0 when nothing is filled.
    """
    by_age = staleness_weights(last_sampled, cycle, filled)
    return (1.0 - priority.staleness) * by_score + priority.staleness * by_age


def draw(key, probabilities, filled, n, replacement=True):
    """Draw ``n`` entries; one that is not filled is never among them, as long as any is.

    With replacement each by itself, by the inverse of the cumulative sum. Without replacement one after the other,
    each among those that are left, by the highest of log P plus Gumbel noise (arXiv 1903.06059). What is filled but
    has probability 0 comes after all else; where more are asked for than are filled, the same come again in the same
    order.

    Args:
      key: of JAX.
      probabilities: float ``[capacity]``, see ``mixture``.
      filled: bool ``[capacity]``, which entries there are.
      n: how many, a Python int.
      replacement: whether an entry may be drawn more than once.

    Returns:
      int32 ``[n]``; 0 where nothing is filled.
    """
    chex.assert_rank([probabilities, filled], 1)
    chex.assert_equal_shape([probabilities, filled])
    if replacement:
        steps = cumulative(probabilities, filled)
        heights = steps[-1] * (1 - jax.random.uniform(key, (n,), steps.dtype))  # above 0, and at most the last
        return jnp.searchsorted(steps, heights).astype(jnp.int32)
    smallest = jnp.finfo(probabilities.dtype).tiny
    chance = jnp.log(jnp.maximum(probabilities, smallest)) + jax.random.gumbel(key, probabilities.shape)
    order = jax.lax.top_k(jnp.where(filled, chance, -jnp.inf), min(n, len(filled)))[1]
    return order[jnp.arange(n) % jnp.clip(jnp.sum(filled), 1, len(order))].astype(jnp.int32)


def cumulative(probabilities, filled):
    """The cumulative sum of ``probabilities`` ``[n]``, which never falls, nor rises where an entry has none.

    A sum in float32 that is added up in parallel does both by its last digits, from some 500 entries on: then an empty
    slot has a share. So the sum counts at the entries that have a probability, and only there.
    """
    rising = filled & (probabilities > 0)
    return jax.lax.cummax(jnp.where(rising, jnp.cumsum(probabilities), 0.0))
