"""Numbers that went wrong: found before they are saved, told so that they can be repeated, and gone around.

A step draws its batch by an index (``data.feeder.batch_starts``), a cycle its seeds. ``on_nan=rewind`` goes
back to the last checkpoint and leaves out the index at which it happened; which ones were left out is part
of every later checkpoint, so that a run that is stopped and goes on leaves out the same.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from prowl_jax.settings import NATURAL, POSITIVE, one_of, setting


@dataclasses.dataclass(frozen=True)
class DivergenceSettings:
    """What is done about numbers that went wrong."""

    loss_limit: float = setting(1e4, "a larger loss has exploded: nothing of it is saved", POSITIVE)
    on_nan: str = setting(
        "stop", "or rewind: to the last checkpoint and around the batch of the bad step", one_of(("stop", "rewind"))
    )
    rewinds: int = setting(3, "at most so many in a stage", NATURAL)


class BadNumbers(FloatingPointError):
    """A step or cycle gave numbers that must not be saved.

    Attributes:
      draw: the index of what it drew. skipped: the indices left out so far.
    """

    def __init__(self, message, draw, skipped):
        super().__init__(message)
        self.draw, self.skipped = draw, skipped


def rewinding(config, attempt):
    """``attempt(skipped)``, again from the last checkpoint where numbers went wrong and ``config`` says so.

    Args:
      attempt: it begins at the last checkpoint and raises ``BadNumbers``; ``skipped`` are the indices to
        leave out, in order, None for those of the checkpoint.

    Raises:
      BadNumbers: ``on_nan=stop``, or this happened more than ``rewinds`` times.
    """
    skipped = None
    while True:
        try:
            return attempt(skipped)
        except BadNumbers as bad:
            if config.on_nan != "rewind":
                raise
            if len(bad.skipped) >= config.rewinds:
                raise BadNumbers(f"{bad} (after rewinds={config.rewinds})", bad.draw, bad.skipped) from None
            skipped = sorted([*bad.skipped, bad.draw])
            print(f"{bad}; going back to the last checkpoint, without that draw", flush=True)


def draw_of(count, skipped):
    """The ``count``-th index, from 0, of those that are not ``skipped`` (ints in order)."""
    for index in skipped:
        count += index <= count
    return count


def wrong(value, limit):
    """Whether a loss is not finite or beyond ``limit``."""
    return not math.isfinite(value) or abs(value) > limit


def first_bad(tree):
    """The path of the first array in ``tree`` that is not finite throughout, or None."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if not bool(_finite([leaf] if jnp.issubdtype(leaf.dtype, jnp.inexact) else [])):
            return jax.tree_util.keystr(path)
    return None


def all_finite(tree):
    """Whether every floating-point array of ``tree`` is; one program and one number to wait for."""
    return bool(_finite([leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]))


@jax.jit
def _finite(leaves):
    return functools.reduce(jnp.logical_and, (jnp.isfinite(leaf).all() for leaf in leaves), jnp.bool_(True))


class LossWatch:
    """The losses of the steps since the last look, fetched together: no step waits for the host."""

    def __init__(self, limit):
        self._limit, self._losses = limit, []

    def add(self, step, loss):
        """Keep a device scalar for the next ``look``."""
        self._losses.append((step, loss))

    def look(self):
        """(step, loss) of the first that is wrong since the last look, or None."""
        losses, self._losses = self._losses, []
        for step, loss in losses:
            loss = float(np.asarray(loss))
            if wrong(loss, self._limit):
                return step, loss
        return None
