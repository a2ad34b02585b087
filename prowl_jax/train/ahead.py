"""Collecting for the next cycle while the device still trains for this one.

What a cycle collects depends on its seeds, its key and phi, and phi is final after PPO. So the environments
of the next cycle play in a thread while the world model is trained: the same numbers as one after the
other, in the same order, and no trajectory is of an older policy.
"""

import threading
import time
from concurrent.futures import Future

from prowl_jax.spans import span


class Abandoned(Exception):
    """Raised inside a collection that nobody waits for any more."""


class Ahead:
    """Trajectories of one cycle after the other, each started before it is asked for.

    Use it as a context manager: what is collected ahead when the loop is left, however it is left,
    is abandoned. The collections run in turn, never two at a time::

        with Ahead(collect, cycles) as collection:
            for cycle in range(first, cycles):
                trajectory = collection.take(cycle, state.phi.params)
                state, _ = method.update_policy(state, start, trajectory, key)
                collection.start(cycle + 1, state.phi.params)  # not donated before the next ``take``
                state, _ = method.update_world_model(state, start, demonstrations, key)

    Args:
      collect: ``f(cycle, params, check) -> trajectory``, a pure function of its first two arguments;
        it calls ``check()`` now and then, which raises ``Abandoned`` once nobody waits.
      cycles: there is nothing to collect from this cycle on.
      overlap: False collects in ``take``, in the caller's thread.

    Attributes:
      waited: seconds that the last ``take`` took.
    """

    PATIENCE = 2.0  # seconds for a collection to see that it is abandoned; closing its environments ends it

    def __init__(self, collect, cycles, overlap=True):
        self._collect, self._cycles, self._overlap = collect, cycles, overlap
        self._left, self._thread, self._started, self._future = threading.Event(), None, None, None
        self.waited = 0.0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def start(self, cycle, params):
        """Begin to collect for ``cycle`` with ``params``, which must stay alive until it is taken."""
        if self._left.is_set() or self._future is not None:
            raise RuntimeError(f"cannot collect for cycle {cycle}: closed, or another cycle is not taken yet")
        if not self._overlap or cycle >= self._cycles:
            return
        self._started, self._future = cycle, Future()
        self._thread = threading.Thread(
            target=self._run, args=(cycle, params, self._future), name="prowl-collect", daemon=True
        )
        self._thread.start()

    def take(self, cycle, params):
        """The trajectory of ``cycle``: what was started, or else collected now with ``params``.

        Raises whatever ``collect`` raised; RuntimeError where another cycle was started.
        """
        began = time.perf_counter()
        if self._future is None:
            trajectory = self._collect(cycle, params, self._check)
        elif self._started != cycle:
            raise RuntimeError(f"cycle {cycle} is asked for, but cycle {self._started} was started")
        else:
            future, self._future = self._future, None
            with span("environments"):
                trajectory = future.result()
        self.waited = time.perf_counter() - began
        return trajectory

    def close(self):
        """Abandon what is being collected. Safe to call twice."""
        self._left.set()
        if self._thread is not None:
            self._thread.join(self.PATIENCE)

    def _check(self):
        if self._left.is_set():
            raise Abandoned

    def _run(self, cycle, params, future):
        try:
            future.set_result(self._collect(cycle, params, self._check))
        except BaseException as error:  # noqa: BLE001 - raised again where it is taken
            future.set_exception(error)
