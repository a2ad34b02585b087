"""Batches as a pure function of (seed, step), fetched ahead by a background thread.

Nothing is shuffled or remembered: a run that resumes at step k draws what an unbroken run
would have drawn, and every process computes the same indices and takes its own rows.
"""

import queue
import threading
from collections.abc import Callable, Iterator

import numpy as np

from prowl_jax.spans import span


def batch_starts(seed: int, step: int, starts, batch: int):
    """The clip starts of one step: int64 ``[batch]``, drawn uniformly from ``starts``.

    A pure function of its arguments, from a counter-based generator (Philox: Salmon et al.,
    SC 2011) with ``seed`` as key and ``step`` as counter, so neighbouring steps are independent.

    Args:
      seed, step: non-negative ints.
      starts: int ``[S]``, S at least 1.
      batch: number of clips.
    """
    starts = np.asarray(starts)
    if starts.ndim != 1 or starts.size == 0:
        raise ValueError(f"starts must be a non-empty vector, got shape {starts.shape}")
    if seed < 0 or step < 0 or batch < 1:
        raise ValueError(f"seed, step and batch must not be negative, got {seed}, {step}, {batch}")
    # The step is the high word of the counter: draws within a step count up the low words.
    generator = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 0, step]))
    return starts[generator.integers(0, starts.size, batch)].astype(np.int64)


def process_share(batch: int, process_index: int, process_count: int) -> slice:
    """Rows of the batch that a process feeds: contiguous, equal; their union is the batch.

    Raises:
      ValueError: where the batch does not divide, or there is no such process.
    """
    if not 0 <= process_index < process_count:
        raise ValueError(f"process {process_index} is not in 0..{process_count - 1}")
    if batch % process_count:
        raise ValueError(f"a batch of {batch} does not divide among {process_count} processes")
    share = batch // process_count
    return slice(process_index * share, (process_index + 1) * share)


class Feeder:
    """Iterates over ``fetch(first_step), fetch(first_step + 1), ...`` in order, without end.

    A background thread stays up to ``prefetch`` items ahead. Use it as a context manager, so
    that the thread ends when the loop is left, however it is left::

        with Feeder(fetch, first_step=state.step) as batches:
            for step, batch in zip(range(state.step, steps), batches): ...

    Args:
      fetch: step -> batch (any pytree); runs in the thread, so it shares nothing unguarded.
      first_step: where to start.
      prefetch: at least 1.

    Raises (from the iteration): what ``fetch`` raised, once all batches before it were given.
    """

    def __init__(self, fetch: Callable, first_step: int, prefetch: int = 2):
        if prefetch < 1:
            raise ValueError(f"prefetch must be at least 1, got {prefetch}")
        self._fetch, self._step = fetch, first_step
        self._slots = threading.Semaphore(prefetch)
        self._ready: queue.SimpleQueue = queue.SimpleQueue()
        self._closed, self._error = threading.Event(), None
        self._thread = threading.Thread(target=self._run, name="prowl-feeder", daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __iter__(self) -> Iterator:
        return self

    def __next__(self):
        if self._error is not None:
            raise self._error
        if self._closed.is_set():
            raise StopIteration
        with span("input"):
            item, self._error = self._ready.get()
        if self._error is not None:
            raise self._error
        self._slots.release()
        return item

    def close(self):
        """End the thread; it finishes the fetch that it is in. Safe to call twice."""
        self._closed.set()
        self._slots.release()
        self._thread.join()

    def _run(self):
        while True:
            self._slots.acquire()
            if self._closed.is_set():
                return
            try:
                self._ready.put((self._fetch(self._step), None))
            except BaseException as error:  # noqa: BLE001 - raised again in the consumer
                self._ready.put((None, error))
                return
            self._step += 1
