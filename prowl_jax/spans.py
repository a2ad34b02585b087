"""Stretches of time in which the host waits or works, and the programs that it starts, told to whoever listens.

    with span("checkpoints"): ...            one stretch; @span("checkpoints") makes one of every call
    for batch in each("input", batches): ... one for every item that is waited for
    step = program(jax.jit(step))            told of every call, with its arguments

Nobody listens unless a run is profiled (``experiments/benchmarks/profile.py``), and then all of this costs a
comparison. Stretches of a thread lie beside or inside one another, as ``with`` blocks do.
"""

import contextlib
import functools
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

WAITS = {"input": "batches and recordings", "environments": "steps of environments, and their workers' start"}
"""What is waited for, and what is in it."""
WORKS = {
    "checkpoints": "saving, reading back, restoring",
    "checksums": "of checkpoints and clip stores",
    "transfers": "of batches and parameters to the devices",
    "clip stores": "writing episodes",
    "pictures": "drawing and packing them, the report's page",
    "statistics": "resampling, and what else numpy counts of clips",
}
"""What the host does beside starting programs, and what is in it."""
STAGE = "stage"
"""The stretch of a whole stage of a run; all others lie in one."""
KINDS = (*WAITS, *WORKS, STAGE)


class Listener(Protocol):
    """Who is told."""

    def entered(self, kind: str, name: str) -> None:
        """A stretch of the calling thread begins."""

    def left(self, kind: str, name: str) -> None:
        """It is over; those that began in it were over before."""

    def called(self, function: Any, arguments: tuple, keywords: dict) -> None:
        """A ``program`` is about to be called in the calling thread."""


_listener: Listener | None = None


@contextlib.contextmanager
def listen(listener: Listener) -> Iterator[None]:
    """Tell ``listener`` of all that happens meanwhile, in any thread; RuntimeError where another one listens."""
    global _listener
    if _listener is not None:
        raise RuntimeError("somebody listens already")
    _listener = listener
    try:
        yield
    finally:
        _listener = None


@contextlib.contextmanager
def span(kind: str, name: str = "") -> Iterator[None]:
    """A stretch of ``kind``, one of ``KINDS``, as a context or around a function; ``name`` says which stage it is."""
    if kind not in KINDS:
        raise ValueError(f"there is no kind of stretch {kind!r}; take one of {', '.join(KINDS)}")
    if (listener := _listener) is None:
        yield
        return
    listener.entered(kind, name)
    try:
        yield
    finally:
        listener.left(kind, name)


def each(kind: str, items: Iterable) -> Iterator:
    """The ``items``, each waited for in a stretch of ``kind``."""
    iterator = iter(items)
    while True:
        with span(kind):
            try:
                item = next(iterator)
            except StopIteration:
                return
        yield item


def program(function):
    """The jitted ``function``, or where somebody listens what tells them of each call; it has all its attributes."""
    return function if _listener is None else _Told(function)


def kept(make):
    """``make``, whose results are kept: equal arguments give the same program, so that JAX compiles it once.

    Arguments that cannot be hashed get one of their own. What is made while somebody listens is kept apart.
    """
    once = functools.lru_cache(maxsize=32)(lambda listening, *arguments, **keywords: make(*arguments, **keywords))

    @functools.wraps(make)
    def maker(*arguments, **keywords):
        try:
            hash((*arguments, *keywords.values()))
        except TypeError:
            return make(*arguments, **keywords)
        return once(_listener is not None, *arguments, **keywords)

    return maker


class _Told:
    """A function whose calls are told."""

    def __init__(self, function):
        self._function = function
        functools.update_wrapper(self, function)

    def __call__(self, *arguments, **keywords):
        if (listener := _listener) is not None:
            listener.called(self._function, arguments, keywords)
        return self._function(*arguments, **keywords)

    def __getattr__(self, name):
        return getattr(self._function, name)
