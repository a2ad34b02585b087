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
    buffer = rescore(buffer, regret, afs)

Donate the buffer wherever a new one is returned. Without donation XLA must leave the old
buffer intact and copies every trajectory in it to write a few; with donation it writes in
place, and the old Python object is dead: always rebind the name, ``buffer = insert(buffer, ...)``.

The items may be any pytree of arrays; this module never looks inside.
"""

import dataclasses
from typing import Any

import chex
import jax
import jax.numpy as jnp

from prowl_jax.pat.priority import sampling_distribution
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
      filled: bool ``[capacity]``.
      running: statistics of every admissible trajectory ever offered to ``insert``.
    """

    items: Any
    regret: jax.Array
    previous_regret: jax.Array
    afs: jax.Array
    last_sampled: jax.Array
    inserted: jax.Array
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
        filled=jnp.zeros(capacity, bool),
        running=welford_init(),
    )


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
    keep = _highest(union, jnp.concatenate([buffer.filled, valid]), buffer.capacity)
    keep_old, keep_new = keep[: buffer.capacity], keep[buffer.capacity :]

    # The j-th newcomer that stays takes the j-th free slot. The others aim past the end,
    # and a scatter drops what lies out of bounds.
    free_slots = jnp.argsort(keep_old, stable=True)
    place = jnp.clip(jnp.cumsum(keep_new) - 1, 0, buffer.capacity - 1)
    slots = jnp.where(keep_new, free_slots[place], buffer.capacity)

    def write(old, new):
        return old.at[slots].set(jnp.asarray(new).astype(old.dtype), mode="drop")

    return PATBuffer(
        items=jax.tree.map(write, buffer.items, items),
        regret=write(buffer.regret, regret),
        previous_regret=write(buffer.previous_regret, regret),
        afs=write(buffer.afs, afs),
        last_sampled=write(buffer.last_sampled, cycle),
        inserted=write(buffer.inserted, cycle),
        filled=write(keep_old, keep_new),
        running=running,
    )


def distribution(buffer, cycle, scoring, priority):
    """P(i) of every slot, float32 ``[capacity]``; see ``priority.sampling_distribution``."""
    return sampling_distribution(scores(buffer, scoring), buffer.last_sampled, cycle, buffer.filled, priority)


def sample(buffer, key, n, cycle, scoring, priority):
    """Draw ``n`` entries with replacement and note the cycle.

    Drawing from an empty buffer gives slot 0: look at ``filled`` first.

    Returns:
      (``PATBuffer``, int32 ``[n]`` slots for ``gather``).
    """
    probabilities = distribution(buffer, cycle, scoring, priority)
    indices = jax.random.choice(key, buffer.capacity, (n,), p=probabilities).astype(jnp.int32)
    last_sampled = buffer.last_sampled.at[indices].set(cycle)
    return dataclasses.replace(buffer, last_sampled=last_sampled), indices


def gather(buffer, indices):
    """The items in slots ``indices``, int ``[n]``: a pytree with leaves ``[n, ...]``."""
    return jax.tree.map(lambda x: x[indices], buffer.items)


def rescore(buffer, regret, afs):
    """Enter the scores of all entries under new world-model parameters.

    An entry whose new regret or AFS is not finite keeps all its old values, Delta included.

    Args:
      buffer: ``PATBuffer``; donate it.
      regret: float ``[capacity]``; what stands in empty slots is ignored.
      afs: float ``[capacity]``; likewise.

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
    )


def _composite(regret, afs, delta, mean, std, scoring):
    return composite_score(
        regret, afs, delta, mean, std, scoring.lambda_afs, scoring.delta_scale, scoring.epsilon
    )


def _highest(score, exists, n):
    """Bool mask of the ``n`` highest scores among those that exist; ties to the lower index."""
    score = jnp.where(jnp.isnan(score), -jnp.inf, score)
    order = jnp.lexsort((-score, ~exists))  # what exists comes before what does not
    return jnp.zeros_like(exists).at[order[:n]].set(True) & exists
