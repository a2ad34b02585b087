"""Processes that read files: fresh interpreters, ended at once by Ctrl-C and with their parent."""

import concurrent.futures
import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
import types
from collections import deque


def cores():
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Process(multiprocessing.context.SpawnProcess):
    """Starts without importing the program it is started from, which a script without a main guard would begin anew.

    What it calls lies in modules that it can import, so that it needs nothing of the program.
    """

    @staticmethod
    def _Popen(process):
        with _no_main():
            return multiprocessing.context.SpawnProcess._Popen(process)


class _Context(multiprocessing.context.SpawnContext):
    """The way to start of ``_Process``."""

    Process = _Process


@contextlib.contextmanager
def _no_main():
    program = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = program


@contextlib.contextmanager
def processes(count):
    """An executor of ``count`` processes; when the block raises, they are ended in the middle of their work."""
    others = set(multiprocessing.active_children())
    executor = concurrent.futures.ProcessPoolExecutor(count, _Context(), initializer=_begin)
    try:
        yield executor
    except BaseException:
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        raise
    finally:
        executor.shutdown(cancel_futures=True)


def in_order(executor, call, jobs, ahead):
    """Yield ``call(*job)`` of every job, in their order, with up to ``ahead`` of them under way.

    Raises:
      RuntimeError: a process died, as it does when memory runs out. What ``call`` raises is raised.
    """
    jobs, waiting = iter(jobs), deque()
    while True:
        while len(waiting) < ahead and (job := next(jobs, None)) is not None:
            waiting.append(executor.submit(call, *job))
        if not waiting:
            return
        try:
            result = waiting.popleft().result()
        except concurrent.futures.BrokenExecutor:
            raise RuntimeError("a reading process died, perhaps for want of memory; use fewer workers") from None
        yield result


def _begin():
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent():
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)
