"""PAT, the prioritised adversarial trajectory buffer of PROWL (arXiv 2605.18803).

It keeps the ``capacity`` trajectories on which the world model is most wrong, and draws from
them the more often, the more wrong it still is. The buffer is one pytree of arrays of fixed
size and every function here is pure, so that all of it lives and stays on the device:

    from prowl_jax.pat import buffer as pat

    buffer = pat.init(jax.eval_shape(lambda: one_trajectory), capacity=256)
    insert = jax.jit(pat.insert, donate_argnames="buffer", static_argnames="scoring")
    sample = jax.jit(pat.sample, donate_argnames="buffer", static_argnames=("n", "scoring", "priority"))
    rescore = jax.jit(pat.rescore, donate_argnames="buffer")

    buffer = insert(buffer, trajectories, {"regret": regret, "afs": afs}, valid, cycle, scoring)
    buffer, indices = sample(buffer, key, 8, cycle, scoring, priority)
    batch = pat.gather(buffer, indices)
    ...                                  # train, then score all entries with the new parameters
    buffer = rescore(buffer, {"regret": regret, "afs": afs}, cycle)

Donate the buffer wherever a new one is returned. Without donation XLA must leave the old
buffer intact and copies every trajectory in it to write a few; with donation it writes in
place, and the old Python object is dead: always rebind the name, ``buffer = insert(buffer, ...)``.

Of the items only the rows that are written or asked for are touched; all else works on vectors
``[capacity]``, without a sort but for the ranks of ``"rank"`` priorities. ``nbytes`` says how much
memory a buffer takes. The items may be any pytree of arrays; this module never looks inside.
"""

import dataclasses
import functools
import math
from typing import Any

import chex
import jax
import jax.numpy as jnp

from prowl_jax.pat.priority import draw, mixture, score_weights
from prowl_jax.pat.score import (
    Welford,
    composite_score,
    moments,
    welford_init,
    welford_update,
)
from prowl_jax.settings import COUNT, check, setting
from prowl_jax.types import pytree


@dataclasses.dataclass(frozen=True)
class Scoring:
    """Which raw scores a buffer keeps, and how they make one. Hashable, so it can be a static argument of ``jit``.

    Attributes:
      weights: name -> weight of its z-score; a dict, kept as a tuple of pairs. These are the raw scores that the
        buffer keeps, one of weight 0 too. The paper: 1 for the regret, lambda_AFS 0.10 or 0.25.
      changes: name -> weight of its change between two scorings. The paper: 1 for the regret.
      warm_up: entries from which on z-scores use the buffer's own statistics.
      epsilon: a deviation below this counts as "has not varied", see ``statistics``.
    """

    weights: tuple = (("regret", 1.0), ("afs", 0.10))
    changes: tuple = (("regret", 1.0),)
    warm_up: int = setting(
        32, "entries from which on z-scores use the buffer's own statistics", COUNT, key="score_warm_up"
    )
    epsilon: float = 1e-6

    def __post_init__(self):
        for name in ("weights", "changes"):
            object.__setattr__(self, name, tuple(dict(getattr(self, name)).items()))
        if not self.weights:
            raise ValueError("scoring weights must name at least one raw score")
        if unknown := [name for name, _ in self.changes if name not in self.names]:
            raise ValueError(f"scoring changes of {', '.join(unknown)}: there are weights of {', '.join(self.names)}")
        check(self)
        if not self.epsilon > 0:
            raise ValueError(f"scoring epsilon must be positive, not {self.epsilon}")

    @property
    def names(self):
        """The raw scores, in the order of their weights."""
        return tuple(name for name, _ in self.weights)


@pytree
class PATBuffer:
    """The buffer. Slots are not ordered; what a slot without ``filled`` holds means nothing.

    Attributes:
      items: any pytree, each leaf ``[capacity, ...]``.
      raw: name -> float32 ``[capacity]``, the raw scores (``Scoring.names``) at the latest scoring.
      previous: name -> float32 ``[capacity]``, at the scoring before, those whose change counts (``Scoring.changes``).
      last_sampled: int32 ``[capacity]``, the cycle last drawn, or inserted when never drawn.
      inserted: int32 ``[capacity]``, the cycle of insertion.
      scored: int32 ``[capacity]``, the world model that ``raw`` is of, by the cycles it had
        learned for: that of insertion, or the one after the latest rescoring.
      filled: bool ``[capacity]``.
      running: statistics of every admissible trajectory ever offered to ``insert``.
    """

    items: Any
    raw: dict
    previous: dict
    last_sampled: jax.Array
    inserted: jax.Array
    scored: jax.Array
    filled: jax.Array
    running: Welford

    @property
    def capacity(self):
        """Number of slots, a Python int."""
        return self.filled.shape[0]


def init(example_item, capacity, scoring=Scoring()):
    """An empty buffer.

    Args:
      example_item: pytree of arrays or ``jax.ShapeDtypeStruct``: one item, no batch axis.
      capacity: number of slots, 256 in the paper.
      scoring: which raw scores it keeps.

    Raises:
      ValueError: capacity below 1.
    """
    if capacity < 1:
        raise ValueError(f"buffer capacity must be at least 1, not {capacity}")
    # One array for each field: donating a buffer whose fields share an array is an error.
    return PATBuffer(
        items=jax.tree.map(lambda x: jnp.zeros((capacity, *x.shape), x.dtype), example_item),
        raw={name: jnp.zeros(capacity) for name in scoring.names},
        previous={name: jnp.zeros(capacity) for name, _ in scoring.changes},
        last_sampled=jnp.zeros(capacity, jnp.int32),
        inserted=jnp.zeros(capacity, jnp.int32),
        scored=jnp.zeros(capacity, jnp.int32),
        filled=jnp.zeros(capacity, bool),
        running=welford_init(len(scoring.names)),
    )


def nbytes(example_item, capacity, scoring=Scoring()):
    """Bytes of a buffer's arrays: ``capacity * (bytes of one item + 25) + 20`` with the paper's scores.

    25 for the six numbers and the flag of an entry, 20 for the running statistics; 4 more of the former and 8 of the
    latter for every raw score more. Donated, the
    functions of this module need vectors ``[capacity]`` beside it and never a second set of items.

    Args:
      example_item: pytree of arrays or ``jax.ShapeDtypeStruct``: one item, no batch axis.
      capacity: number of slots. scoring: which raw scores it keeps.
    """
    leaves = jax.tree.leaves(example_item)
    item = sum(math.prod(leaf.shape) * jnp.dtype(leaf.dtype).itemsize for leaf in leaves)
    numbers = len(scoring.names) + len(scoring.changes) + 3
    return capacity * (item + 4 * numbers + 1) + 4 * (1 + 2 * len(scoring.names))


def changes(buffer):
    """name -> Delta ``[capacity]`` of what ``previous`` keeps, 0 at first; negative where the model got better."""
    return {name: buffer.raw[name] - before for name, before in buffer.previous.items()}


def statistics(buffer, scoring):
    """Mean and deviation of the raw scores, with which they are standardised.

    Those of the buffer's own entries once ``warm_up`` of them are filled; until then those of
    everything offered so far (so always, if the capacity is below ``warm_up``). A quantity
    that has not varied yet is given deviation 1, so that the first differences to appear are
    not blown up; with nothing seen at all the mean is 0.

    Returns:
      (mean, std), float32 ``[R]`` each, in the order of ``scoring.names``; std is the population deviation.
    """
    own_count = jnp.sum(buffer.filled)
    own_mean, own_m2 = moments(_columns(buffer.raw, scoring), buffer.filled)
    warm = own_count >= scoring.warm_up
    count = jnp.maximum(jnp.where(warm, own_count, buffer.running.count), 1)
    mean = jnp.where(warm, own_mean, buffer.running.mean)
    std = jnp.sqrt(jnp.where(warm, own_m2, buffer.running.m2) / count)
    return mean, jnp.where(std < scoring.epsilon, 1.0, std)


def scores(buffer, scoring):
    """Composite score of every entry, float32 ``[capacity]``; -inf in empty slots."""
    mean, std = statistics(buffer, scoring)
    score = composite(buffer.raw, changes(buffer), mean, std, scoring)
    return jnp.where(buffer.filled, score, -jnp.inf)


def insert(buffer, items, raw, valid, cycle, scoring):
    """Offer new trajectories; of old and new together the highest scores stay.

    Newcomers enter with Delta = 0 and count as sampled now. They first join the running
    statistics; then old and new are scored by one mean and deviation, those of ``statistics``
    before any of them takes a slot. Entries that stay keep their slot, and newcomers
    take the free slots in order. On equal scores an old entry beats a new one, and
    then the lower index wins, so that the outcome is deterministic.

    Args:
      buffer: ``PATBuffer``; donate it.
      items: pytree like the buffer's items, each leaf ``[B, ...]``; any ``B``.
      raw: name -> float ``[B]``, the raw scores.
      valid: bool ``[B]``. Rows without it, or with a raw score that is not finite, never
        enter and leave no trace in the statistics.
      cycle: int scalar, now.
      scoring: ``Scoring``.

    Returns:
      ``PATBuffer``.
    """
    raw = {name: raw[name] for name in scoring.names}
    chex.assert_rank([*raw.values(), valid], 1)
    chex.assert_equal_shape([*raw.values(), valid])
    chex.assert_trees_all_equal_structs(buffer.items, items)
    valid = valid & all_finite(raw)
    running = welford_update(buffer.running, _columns(raw, scoring), valid)
    buffer = dataclasses.replace(buffer, running=running)

    mean, std = statistics(buffer, scoring)
    old_changes = changes(buffer)
    union = composite(
        {name: jnp.concatenate([buffer.raw[name], new]) for name, new in raw.items()},
        {name: jnp.concatenate([old, jnp.zeros_like(raw[name])]) for name, old in old_changes.items()},
        mean,
        std,
        scoring,
    )
    exists = jnp.concatenate([buffer.filled, valid])
    keep = exists & ~_lowest(union, exists, jnp.sum(exists) - buffer.capacity, len(valid))
    keep_old, keep_new = keep[: buffer.capacity], keep[buffer.capacity :]

    # The j-th newcomer that stays takes the j-th free slot. The others aim past the end,
    # and a scatter drops what lies out of bounds.
    free_slots = jnp.searchsorted(jnp.cumsum(~keep_old), jnp.cumsum(keep_new))
    slots = jnp.where(keep_new, free_slots, buffer.capacity)

    def write(old, new):
        return old.at[slots].set(jnp.asarray(new).astype(old.dtype), mode="drop")

    return PATBuffer(
        items=jax.tree.map(write, buffer.items, items),
        raw={name: write(buffer.raw[name], new) for name, new in raw.items()},
        previous={name: write(old, raw[name]) for name, old in buffer.previous.items()},
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
    """Draw ``n`` entries, with or without replacement as ``priority`` says (``priority.draw``), and note the cycle.

    Drawing from an empty buffer gives slot 0: look at ``filled`` first. ``by_score`` as in
    ``distribution``.

    Returns:
      (``PATBuffer``, int32 ``[n]`` slots for ``gather``).
    """
    probabilities = distribution(buffer, cycle, scoring, priority, by_score)
    indices = draw(key, probabilities, buffer.filled, n, priority.replacement)
    last_sampled = buffer.last_sampled.at[indices].set(cycle)
    return dataclasses.replace(buffer, last_sampled=last_sampled), indices


def gather(buffer, indices):
    """The items in slots ``indices``, int ``[n]``: a pytree with leaves ``[n, ...]``."""
    return jax.tree.map(lambda x: x[indices], buffer.items)


def rescore(buffer, raw, cycle):
    """Enter scores under new world-model parameters.

    An entry of which a new raw score is not finite keeps all its old values, Delta included; so NaN
    stands for what was not scored anew. Delta of an entry is over its own two latest scorings.

    Args:
      buffer: ``PATBuffer``; donate it.
      raw: name -> float ``[capacity]``; what stands in empty slots is ignored.
      cycle: int scalar, now: the cycle whose updates led to the new parameters.

    Returns:
      ``PATBuffer`` with ``previous`` <- ``raw`` <- new raw scores.
    """
    raw = {name: raw[name] for name in buffer.raw}
    chex.assert_shape([*raw.values()], (buffer.capacity,))
    known = buffer.filled & all_finite(raw)
    return dataclasses.replace(
        buffer,
        raw={name: jnp.where(known, new, buffer.raw[name]) for name, new in raw.items()},
        previous={name: jnp.where(known, buffer.raw[name], old) for name, old in buffer.previous.items()},
        scored=jnp.where(known, cycle + 1, buffer.scored),
    )


def composite(raw, changes, mean, std, scoring):
    """``score.composite_score`` as ``scoring`` says; ``mean`` and ``std`` from ``statistics``."""
    return composite_score(raw, changes, mean, std, scoring.weights, scoring.changes, scoring.epsilon)


def all_finite(raw):
    """Where every raw score is finite: name -> float ``[n]`` to bool ``[n]``."""
    return functools.reduce(jnp.logical_and, [jnp.isfinite(value) for value in raw.values()])


def _columns(raw, scoring):
    """The raw scores side by side, float ``[n, R]``."""
    return jnp.stack([raw[name] for name in scoring.names], axis=1)


def _lowest(score, exists, n, most):
    """Bool mask of the ``n`` lowest scores that exist, the higher index first on ties.

    ``n`` may be traced and is at most ``most``, a Python int: no sort of all is needed. NaN is lowest.
    """
    badness = jnp.nan_to_num(-score, nan=jnp.inf, neginf=jnp.finfo(score.dtype).min)
    badness = jnp.where(exists, badness, -jnp.inf)
    _, from_the_end = jax.lax.top_k(badness[::-1], most)  # the lower index first on ties
    chosen = jnp.where(jnp.arange(most) < n, score.size - 1 - from_the_end, score.size)
    return jnp.zeros_like(exists).at[chosen].set(True, mode="drop")
