"""Rows, and how their times are taken: rivals in alternation, medians, compilation apart."""

import dataclasses
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is asked of a benchmark.

    Attributes:
      quick: smaller shapes and the fewest repeats; every row is still there.
      repeats: timed calls of each rival, 10 or more.
    """

    quick: bool = False
    repeats: int = 20

    def __post_init__(self):
        if self.repeats < 10:
            raise ValueError(f"repeats must be at least 10, not {self.repeats}")


@dataclasses.dataclass(frozen=True)
class Row:
    """One figure beside its limit or its rival.

    Attributes:
      name: stable, so that versions can be compared. value: the figure, in ``unit``; None where it
        could not be measured here, ``against`` then says why.
      against: the rival or the limit, with its own figure.
      ratio: what the name promises: of two times the share (``_over_``, ``_share``) or the gain
        (``_speedup``); None where there is nothing to compare with.
      repeats: timed calls behind ``value``, which is their median.
    """

    name: str
    value: float | None
    unit: str
    against: str = ""
    ratio: float | None = None
    repeats: int = 0

    @classmethod
    def not_run(cls, name, why):
        """A row without a value."""
        return cls(name, None, "", f"not run: {why}")


def alternate(rivals, repeats):
    """Time callables in turns, so that a machine's moods fall on all of them alike.

    Args:
      rivals: ``{name: function}``; what a function returns is waited for. Each is called once, untimed,
        before the turns.
      repeats: turns.

    Returns:
      ``{name: median seconds}``.
    """
    for function in rivals.values():
        jax.block_until_ready(function())
    seconds = {name: [] for name in rivals}
    for _ in range(repeats):
        for name, function in rivals.items():
            began = time.perf_counter()
            jax.block_until_ready(function())
            seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(times) for name, times in seconds.items()}


def compiled(function, *arguments):
    """(compiled function, seconds that compiling took), of something jitted."""
    lowered = function.lower(*arguments)
    began = time.perf_counter()
    program = lowered.compile()
    return program, time.perf_counter() - began


def compile_row(name, seconds):
    """The row ``NAME_compile_s``: compile time, apart from the times of the steps."""
    return Row(f"{name}_compile_s", seconds, "s", repeats=1)


def random_like(shapes, seed=0):
    """Small random numbers of the given shapes, made on the host: an initialisation takes long to compile."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: jnp.asarray(0.02 * rng.normal(size=x.shape), x.dtype), shapes)
