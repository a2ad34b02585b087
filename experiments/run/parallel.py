"""Pieces of work at the same time, each in a process of its own on its share of the cores.

On a CPU a step of a small model keeps two cores less than twice as busy as one: two runs, a core each, are
done sooner than one after the other. This module knows no JAX.
"""

import contextlib
import itertools
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
import time

from experiments.run import interruption
from experiments.run.progress import Progress

PATIENCE = 600.0
"""Seconds that processes which were told to end may take to finish their step and save."""


def cores():
    """Cores that this process may use, by number."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def shares(numbers, parts):
    """``numbers`` in so many ``parts`` of neighbours, as equal as they can be."""
    size, rest = divmod(len(numbers), parts)
    bounds = [i * size + min(i, rest) for i in range(parts + 1)]
    return [numbers[a:b] for a, b in itertools.pairwise(bounds)]


def run(work, pieces, processes):
    """Do ``work(argument)`` for all pieces, ``processes`` at a time, as others end; what they print is marked.

    Told to end (SIGTERM), it tells its processes and waits for them; Ctrl-C ends them at once.

    Args:
      work: a function of a module, which returns an exit code. pieces: name -> argument, in their order.
      processes: 1 to the number of ``cores()``.

    Returns:
      name -> exit code, of those that failed; the others have been done all the same.
    """
    context = multiprocessing.get_context("spawn")  # a fork of a process with JAX's threads may hang
    waiting, free, running, failed = list(pieces), shares(cores(), processes), {}, {}
    readers = []
    try:
        while waiting or running:
            while waiting and free:
                name = waiting.pop(0)
                own = free.pop(0)
                process, threads = _start(context, name, work, pieces[name], own)
                running[name] = process, own
                readers += threads
            multiprocessing.connection.wait([process.sentinel for process, _ in running.values()])
            for name, (process, own) in list(running.items()):
                if process.exitcode is not None:
                    process.join()
                    del running[name]
                    free.append(own)
                    if process.exitcode:
                        failed[name] = process.exitcode
    except BaseException as error:
        _end([process for process, _ in running.values()], wait=isinstance(error, interruption.Terminated))
        raise
    finally:
        for reader in readers:
            reader.join(timeout=5.0)
    return failed


def _start(context, name, work, argument, own):
    """(the process, the threads that pass on what it prints)."""
    pipes = [context.Pipe(duplex=False) for _ in range(2)]
    process = context.Process(
        target=_inside, args=(work, argument, own, f"{name} | ", [w for _, w in pipes]), name=name
    )
    process.start()
    threads = []
    for (reader, writer), stream in zip(pipes, ("stdout", "stderr"), strict=True):
        writer.close()
        threads.append(threading.Thread(target=_pass_on, args=(reader, f"{name} | ", stream), daemon=True))
        threads[-1].start()
    return process, threads


def _pass_on(reader, mark, stream):
    with reader, open(reader.fileno(), closefd=False, errors="replace") as lines:
        for line in lines:
            with contextlib.suppress(OSError, ValueError):  # nobody reads us: the work goes on
                print(mark + line.rstrip("\n"), file=getattr(sys, stream), flush=True)


def _inside(work, argument, own, mark, writers):
    """The whole life of a process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to all; who started us passes it on
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, own)  # before JAX counts the cores
    for writer, number in zip(writers, (1, 2), strict=True):
        os.dup2(writer.fileno(), number)
        writer.close()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)
    Progress.COLUMNS -= len(mark)
    interruption.exit_process(work(argument))


def _end(processes, wait):
    for process in processes:
        process.terminate()
    if not wait:  # a second signal does not wait for the step
        time.sleep(0.2)
        for process in processes:
            process.terminate()
    deadline = time.monotonic() + PATIENCE
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        if process.exitcode is None:
            process.kill()
            process.join()
