"""Which entries of the buffer are scored anew after the world model has learned.

The paper (arXiv 2605.18803) scores all of them whenever the learner has been updated. A score is a
whole rollout, so that a large buffer spends its cycle on it. What has just been trained on is what
changed most, and the rest can wait for a while.
"""

import dataclasses

import jax
import jax.numpy as jnp

from prowl_jax.pat import buffer as pat
from prowl_jax.settings import NATURAL, check, one_of, setting

KINDS = ("all", "due")


@dataclasses.dataclass(frozen=True)
class Rescoring:
    """What is scored anew after each cycle's updates. Hashable.

    Attributes:
      kind: ``"all"``: every entry, as in the paper. ``"due"``: those that were sampled (or inserted)
        since their latest scoring, and those whose score is older than ``age`` cycles.
      age: in cycles, 0 or more; 0 makes every entry due.
      rows: at most so many entries a cycle where ``kind`` is ``"due"``; 0 is no bound.
    """

    kind: str = setting(
        "all", "what is scored anew after a cycle; due: what was drawn since, or long ago", one_of(KINDS),
        key="rescore", source="paper: all",
    )  # fmt: skip
    age: int = setting(4, "due: from more cycles than this on", NATURAL, key="rescore_age")
    rows: int = setting(0, "due: at most so many a cycle; 0: no bound", NATURAL, key="rescore_rows")

    def __post_init__(self):
        check(self)

    def most(self, capacity, rows):
        """Entries of a buffer that a cycle scores anew at most, in whole batches of ``rows`` (``make_rescore``)."""
        bound = self.rows if self.kind == "due" and self.rows else capacity
        return min(-(-bound // rows) * rows, capacity)


def queue(buffer, cycle, rescoring):
    """Who is to be scored anew, the most urgent first.

    First what was sampled since its latest scoring, then the rest, each from the oldest score to the
    youngest; the lower slot first on ties. Empty slots come last.

    Args:
      buffer: ``PATBuffer``, after this cycle's draws.
      cycle: int scalar, now.
      rescoring: ``Rescoring``.

    Returns:
      (slots, count): int32 ``[capacity]``, every slot once, and how many of them, from the first, are due.
    """
    filled = buffer.filled
    if rescoring.kind == "all":
        return jnp.argsort(~filled), jnp.sum(filled)
    sampled = filled & (buffer.last_sampled >= buffer.scored)
    too_old = filled & (cycle + 1 - buffer.scored > rescoring.age)
    slots = jnp.lexsort((buffer.scored, ~sampled, ~filled))  # the last key sorts first
    count = jnp.sum(sampled | too_old)
    return slots, jnp.minimum(count, rescoring.rows) if rescoring.rows else count


def make_rescore(score, rescoring, rows):
    """``rescore(params, buffer, cycle) -> buffer``.

    Scores anew what ``rescoring`` asks for, gathered ``rows`` entries at a time: as
    many batches as there are due, so that neither empty slots nor what can wait cost anything. The
    last batch is filled up with the next in the queue.

    Args:
      score: ``f(params, clips) -> {name: [B]}`` of one batch.
    """

    def rescore(params, buffer, cycle):
        slots, count = queue(buffer, cycle, rescoring)
        size = min(rows, buffer.capacity)

        def one_batch(i, scores):
            # Past the end the slice begins earlier: some entries are then scored twice, alike.
            chosen = jax.lax.dynamic_slice_in_dim(slots, i * size, size)
            new = score(params, pat.gather(buffer, chosen))
            return {name: old.at[chosen].set(new[name]) for name, old in scores.items()}

        unknown = {name: jnp.full(buffer.capacity, jnp.nan) for name in buffer.raw}
        raw = jax.lax.fori_loop(0, (count + size - 1) // size, one_batch, unknown)
        return pat.rescore(buffer, raw, cycle)

    return rescore
