"""PAT, the prioritised adversarial trajectory buffer of PROWL (arXiv 2605.18803).

It keeps the ``capacity`` trajectories on which the world model is most wrong, and draws from
them the more often, the more wrong it still is. The buffer is one pytree of arrays of fixed
size and every function here is pure, so that all of it lives and stays on the device:

    from prowl_jax.pat import buffer as pat

    buffer = pat.init(jax.eval_shape(lambda: one_trajectory), capacity=256)
    insert = jax.jit(pat.insert, donate_argnames="buffer", static_argnames="scoring")
    sample = jax.jit(pat.sample, donate_argnames="buffer", static_argnames=("n", "scoring", "priority"))
    rescore = jax.jit(pat.rescore, donate_argnames="buffer")

    buffer = insert(buffer, trajectories, regret, afs, valid, cycle, scoring)
    buffer, indices = sample(buffer, key, 8, cycle, scoring, priority)
    batch = pat.gather(buffer, indices)
    ...                                  # train, then score all entries with the new parameters
    buffer = rescore(buffer, regret, afs, cycle)

Donate the buffer wherever a new one is returned. Without donation XLA must leave the old
buffer intact and copies every trajectory in it to write a few; with donation it writes in
place, and the old Python object is dead: always rebind the name, ``buffer = insert(buffer, ...)``.

Of the items only the rows that are written or asked for are touched; all else works on vectors
``[capacity]``, without a sort but for the ranks of ``"rank"`` priorities. ``nbytes`` says how much
memory a buffer takes. The items may be any pytree of arrays; this module never looks inside.
"""

import dataclasses
import math
from typing import Any

import chex
import jax
import jax.numpy as jnp

from prowl_jax.pat.priority import mixture, score_weights
from prowl_jax.pat.score import (
    Welford,
    composite_score,
    moments,
    welford_init,
    welford_update,
)
from prowl_jax.types import pytree


@dataclasses.dataclass(frozen=True)
class Scoring:
    """Constants of the composite score. Hashable, so it can be a static argument of ``jit``.

    Attributes:
      lambda_afs: weight of AFS-EPE, 0.10 or 0.25 in the paper.
      delta_scale: weight of the change of the regret, 1 in the paper.
      warm_up: entries from which on z-scores use the buffer's own statistics.
      epsilon: a deviation below this counts as "has not varied", see ``statistics``.
    """

    lambda_afs: float = 0.10
    delta_scale: float = 1.0
    warm_up: int = 32
    epsilon: float = 1e-6

    def __post_init__(self):
        if self.warm_up < 1:
            raise ValueError(f"scoring warm_up must be at least 1, not {self.warm_up}")
        if not self.epsilon > 0:
            raise ValueError(f"scoring epsilon must be positive, not {self.epsilon}")


@pytree
class PATBuffer:
    """The buffer. Slots are not ordered; what a slot without ``filled`` holds means nothing.

    Attributes:
      items: any pytree, each leaf ``[capacity, ...]``.
      regret: float32 ``[capacity]``, l_regret at the latest scoring.
      previous_regret: float32 ``[capacity]``, l_regret at the scoring before.
      afs: float32 ``[capacity]``, l_AFS at the latest scoring, in pixels.
      last_sampled: int32 ``[capacity]``, the cycle last drawn, or inserted when never drawn.
      inserted: int32 ``[capacity]``, the cycle of insertion.
      scored: int32 ``[capacity]``, the world model that ``regret`` and ``afs`` are of, by the cycles it
        had learned for: that of insertion, or the one after the latest rescoring.
      filled: bool ``[capacity]``.
      running: statistics of every admissible trajectory ever offered to ``insert``.
    """

    items: Any
    regret: jax.Array
    previous_regret: jax.Array
    afs: jax.Array
    last_sampled: jax.Array
    inserted: jax.Array
    scored: jax.Array
    filled: jax.Array
    running: Welford

    @property
    def capacity(self):
        """Number of slots, a Python int."""
        return self.filled.shape[0]


def init(example_item, capacity):
    """An empty buffer.

    Args:
      example_item: pytree of arrays or ``jax.ShapeDtypeStruct``: one item, no batch axis.
      capacity: number of slots, 256 in the paper.

    Raises:
      ValueError: capacity below 1.
    """
    if capacity < 1:
        raise ValueError(f"buffer capacity must be at least 1, not {capacity}")
    # One array for each field: donating a buffer whose fields share an array is an error.
    return PATBuffer(
        items=jax.tree.map(lambda x: jnp.zeros((capacity, *x.shape), x.dtype), example_item),
        regret=jnp.zeros(capacity),
        previous_regret=jnp.zeros(capacity),
        afs=jnp.zeros(capacity),
        last_sampled=jnp.zeros(capacity, jnp.int32),
        inserted=jnp.zeros(capacity, jnp.int32),
        scored=jnp.zeros(capacity, jnp.int32),
        filled=jnp.zeros(capacity, bool),
        running=welford_init(),
    )


def nbytes(example_item, capacity):
    """Bytes of a buffer's arrays: ``capacity * (bytes of one item + 25) + 20``.

    25 for the six numbers and the flag of an entry, 20 for the running statistics. Donated, the
    functions of this module need vectors ``[capacity]`` beside it and never a second set of items.

    Args:
      example_item: pytree of arrays or ``jax.ShapeDtypeStruct``: one item, no batch axis.
      capacity: number of slots.
    """
    leaves = jax.tree.leaves(example_item)
    item = sum(math.prod(leaf.shape) * jnp.dtype(leaf.dtype).itemsize for leaf in leaves)
    return capacity * (item + 6 * 4 + 1) + 5 * 4


def progress(buffer):
    """Delta l_regret ``[capacity]``: negative where the world model got better, 0 at first."""
    return buffer.regret - buffer.previous_regret


def statistics(buffer, scoring):
    """Mean and deviation of (regret, AFS), with which scores are standardised.

    Those of the buffer's own entries once ``warm_up`` of them are filled; until then those of
    everything offered so far (so always, if the capacity is below ``warm_up``). A quantity
    that has not varied yet is given deviation 1, so that the first differences to appear are
    not blown up; with nothing seen at all the mean is 0.

    Returns:
      (mean, std), float32 ``[2]`` each; std is the population deviation.
    """
    own_count = jnp.sum(buffer.filled)
    own_mean, own_m2 = moments(jnp.stack([buffer.regret, buffer.afs], axis=1), buffer.filled)
    warm = own_count >= scoring.warm_up
    count = jnp.maximum(jnp.where(warm, own_count, buffer.running.count), 1)
    mean = jnp.where(warm, own_mean, buffer.running.mean)
    std = jnp.sqrt(jnp.where(warm, own_m2, buffer.running.m2) / count)
    return mean, jnp.where(std < scoring.epsilon, 1.0, std)


def scores(buffer, scoring):
    """Composite score of every entry, float32 ``[capacity]``; -inf in empty slots."""
    mean, std = statistics(buffer, scoring)
    score = _composite(buffer.regret, buffer.afs, progress(buffer), mean, std, scoring)
    return jnp.where(buffer.filled, score, -jnp.inf)


def insert(buffer, items, regret, afs, valid, cycle, scoring):
    """Offer new trajectories; of old and new together the highest scores stay.

    Newcomers enter with Delta = 0 and count as sampled now. They first join the running
    statistics; then old and new are scored by one mean and deviation, those of ``statistics``
    before any of them takes a slot. Entries that stay keep their slot, and newcomers
    take the free slots in order. On equal scores an old entry beats a new one, and
    then the lower index wins, so that the outcome is deterministic.

    Args:
      buffer: ``PATBuffer``; donate it.
      items: pytree like the buffer's items, each leaf ``[B, ...]``; any ``B``.
      regret: float ``[B]``, l_regret.
      afs: float ``[B]``, l_AFS.
      valid: bool ``[B]``. Rows without it, or with a regret or AFS that is not finite, never
        enter and leave no trace in the statistics.
      cycle: int scalar, now.
      scoring: ``Scoring``.

    Returns:
      ``PATBuffer``.
    """
    chex.assert_rank([regret, afs, valid], 1)
    chex.assert_equal_shape([regret, afs, valid])
    chex.assert_trees_all_equal_structs(buffer.items, items)
    valid = valid & jnp.isfinite(regret) & jnp.isfinite(afs)
    running = welford_update(buffer.running, jnp.stack([regret, afs], axis=1), valid)
    buffer = dataclasses.replace(buffer, running=running)

    mean, std = statistics(buffer, scoring)
    union = _composite(
        jnp.concatenate([buffer.regret, regret]),
        jnp.concatenate([buffer.afs, afs]),
        jnp.concatenate([progress(buffer), jnp.zeros_like(regret)]),
        mean,
        std,
        scoring,
    )
    exists = jnp.concatenate([buffer.filled, valid])
    keep = exists & ~_lowest(union, exists, jnp.sum(exists) - buffer.capacity, len(regret))
    keep_old, keep_new = keep[: buffer.capacity], keep[buffer.capacity :]

    # The j-th newcomer that stays takes the j-th free slot. The others aim past the end,
    # and a scatter drops what lies out of bounds.
    free_slots = jnp.searchsorted(jnp.cumsum(~keep_old), jnp.cumsum(keep_new))
    slots = jnp.where(keep_new, free_slots, buffer.capacity)

    def write(old, new):
        return old.at[slots].set(jnp.asarray(new).astype(old.dtype), mode="drop")

    return PATBuffer(
        items=jax.tree.map(write, buffer.items, items),
        regret=write(buffer.regret, regret),
        previous_regret=write(buffer.previous_regret, regret),
        afs=write(buffer.afs, afs),
        last_sampled=write(buffer.last_sampled, cycle),
        inserted=write(buffer.inserted, cycle),
        scored=write(buffer.scored, cycle),
        filled=write(keep_old, keep_new),
        running=running,
    )


def distribution(buffer, cycle, scoring, priority, by_score=None):
    """P(i) of every slot, float32 ``[capacity]``; see ``priority.mixture``.

    ``by_score`` is P_score where it is known already (``score_distribution``). It changes with
    ``insert`` and ``rescore``, not with ``sample``: who draws often in between asks for it once.
    """
    if by_score is None:
        by_score = score_distribution(buffer, scoring, priority)
    return mixture(by_score, buffer.last_sampled, cycle, buffer.filled, priority)


def score_distribution(buffer, scoring, priority):
    """P_score of every slot, float32 ``[capacity]``; see ``priority.score_weights``."""
    return score_weights(scores(buffer, scoring), buffer.filled, priority)


def sample(buffer, key, n, cycle, scoring, priority, by_score=None):
    """Draw ``n`` entries with replacement and note the cycle.

    Drawing from an empty buffer gives slot 0: look at ``filled`` first. ``by_score`` as in
    ``distribution``.

    Returns:
      (``PATBuffer``, int32 ``[n]`` slots for ``gather``).
    """
    probabilities = distribution(buffer, cycle, scoring, priority, by_score)
    indices = jax.random.choice(key, buffer.capacity, (n,), p=probabilities).astype(jnp.int32)
    last_sampled = buffer.last_sampled.at[indices].set(cycle)
    return dataclasses.replace(buffer, last_sampled=last_sampled), indices


def gather(buffer, indices):
    """The items in slots ``indices``, int ``[n]``: a pytree with leaves ``[n, ...]``."""
    return jax.tree.map(lambda x: x[indices], buffer.items)


def rescore(buffer, regret, afs, cycle):
    """Enter scores under new world-model parameters.

    An entry whose new regret or AFS is not finite keeps all its old values, Delta included; so NaN
    stands for what was not scored anew. Delta of an entry is over its own two latest scorings.

    Args:
      buffer: ``PATBuffer``; donate it.
      regret: float ``[capacity]``; what stands in empty slots is ignored.
      afs: float ``[capacity]``; likewise.
      cycle: int scalar, now: the cycle whose updates led to the new parameters.

    Returns:
      ``PATBuffer`` with ``previous_regret`` <- ``regret`` <- new regret.
    """
    chex.assert_shape([regret, afs], (buffer.capacity,))
    known = buffer.filled & jnp.isfinite(regret) & jnp.isfinite(afs)
    return dataclasses.replace(
        buffer,
        regret=jnp.where(known, regret, buffer.regret),
        previous_regret=jnp.where(known, buffer.regret, buffer.previous_regret),
        afs=jnp.where(known, afs, buffer.afs),
        scored=jnp.where(known, cycle + 1, buffer.scored),
    )


def _composite(regret, afs, delta, mean, std, scoring):
    return composite_score(
        regret, afs, delta, mean, std, scoring.lambda_afs, scoring.delta_scale, scoring.epsilon
    )


def _lowest(score, exists, n, most):
    """Bool mask of the ``n`` lowest scores that exist, the higher index first on ties.

    ``n`` may be traced and is at most ``most``, a Python int: no sort of all is needed. NaN is lowest.
    """
    badness = jnp.nan_to_num(-score, nan=jnp.inf, neginf=jnp.finfo(score.dtype).min)
    badness = jnp.where(exists, badness, -jnp.inf)
    _, from_the_end = jax.lax.top_k(badness[::-1], most)  # the lower index first on ties
    chosen = jnp.where(jnp.arange(most) < n, score.size - 1 - from_the_end, score.size)
    return jnp.zeros_like(exists).at[chosen].set(True, mode="drop")
