"""Worker processes as their parent has them: started quietly, given their share of the environments, ended for sure."""

import contextlib
import os
import select
import shutil
import signal
import sys
import tempfile
import threading
import types

import numpy as np

from prowl_jax.envs.worker_process import send, work

STDERR_BYTES = 2000  # of what a worker said last are told when it ends


class WorkerHandle:
    """The parent's side of one process: its pipe, its directory, and which envs it runs."""

    def __init__(self, context, core, make_one, share, memory, finish):
        self._made_with = context, core, make_one, share, memory, finish
        self.share, self.failure = share, None
        self.name = f"the worker of environments {environments_of(share)}"
        self.directory = tempfile.mkdtemp(prefix="prowl-worker-")
        # The worker unlinks it; here it is read.
        self._stderr = tempfile.NamedTemporaryFile(prefix="prowl-stderr-", delete=False)  # noqa: SIM115
        self.pipe, theirs = context.Pipe()
        arguments = theirs, self.directory, self._stderr.name, core, make_one, share, memory, finish
        self.process = context.Process(target=work, args=arguments, daemon=True)
        self.process.start()
        theirs.close()  # so that the pipe ends when the worker does
        self._news = select.poll()
        for source in (self.pipe.fileno(), self.process.sentinel):
            self._news.register(source, select.POLLIN)

    def wait(self, seconds):
        """Whether it answers, or dies, within ``seconds``."""
        return bool(self._news.poll(1000 * seconds))

    def last_words(self):
        """The end of what it and its engines wrote to stderr."""
        self._stderr.seek(max(0, os.fstat(self._stderr.fileno()).st_size - STDERR_BYTES))
        return self._stderr.read().decode(errors="replace").strip()

    def again(self):
        """A new worker in the place of this one, which was killed."""
        return WorkerHandle(*self._made_with)

    def kill(self):
        """End it and what it started, at once."""
        self.process.kill()
        self.process.join()
        self.clean()

    def clean(self):
        """What is left to do once the process has ended. Safe to call twice."""
        if self.pipe.closed:
            return
        if self.process.exitcode != 0:  # it could not end what it had started
            with contextlib.suppress(OSError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.pipe.close()
        self._stderr.close()
        with contextlib.suppress(OSError):
            os.unlink(self._stderr.name)
        shutil.rmtree(self.directory, ignore_errors=True)


def deal(num_envs, workers, groups):
    """Environments to groups, and each group to workers.

    Returns:
      the groups as slices, and for each worker the indices of its share of every group.
    """
    parts = np.array_split(np.arange(num_envs), min(groups, num_envs // workers))
    shares = []
    for i, part in enumerate(parts):
        lengths = [len(run) for run in np.array_split(part, workers)]
        lengths = lengths[:: -1 if i % 2 else 1]  # so that who has more of one group has less of the next
        shares.append([run.tolist() for run in np.split(part, np.cumsum(lengths)[:-1])])
    return tuple(slice(int(p[0]), int(p[-1]) + 1) for p in parts), list(zip(*shares, strict=True))


def environments_of(share):
    """``[[0, 1], [4]]`` -> "0..1 and 4..4"."""
    runs = []
    for indices in share:
        if runs and runs[-1][-1] + 1 == indices[0]:
            runs[-1] = runs[-1] + indices
        else:
            runs.append(indices)
    return " and ".join(f"{run[0]}..{run[-1]}" for run in runs)


def cores(workers):
    """The core that each worker and its engines keep to; None where the system places them.

    They take turns, so that they lose nothing on one core, while moving to another costs each turn some
    of its caches. Only where every core gets as many workers: else cores might stay idle.
    """
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if not allowed or workers % len(allowed):
        return [None] * workers
    return [allowed[i % len(allowed)] for i in range(workers)]


def shut_down(workers):
    """End them all: asked, then told, then killed."""
    for worker in workers:
        with contextlib.suppress(OSError):
            send(worker.pipe, ("close", None))
    for worker in workers:
        worker.process.join(2.0)
        if worker.process.is_alive():
            worker.process.terminate()
            worker.process.join(2.0)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        worker.clean()
    workers.clear()


@contextlib.contextmanager
def quiet_start():
    """Start processes that ignore SIGINT from birth, use one BLAS thread, and skip ``__main__``.

    Spawned processes import the parent's ``__main__`` again, which in a training script means
    JAX: seconds and hundreds of MB for each worker. An empty stand-in avoids it.
    """
    main, threads = sys.modules["__main__"], ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")
    saved = {name: os.environ.get(name) for name in threads}
    in_main_thread = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN) if in_main_thread else None
    sys.modules["__main__"] = types.ModuleType("__main__")
    os.environ.update(dict.fromkeys(threads, "1"))
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        for name, value in saved.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value
        if in_main_thread:
            signal.signal(signal.SIGINT, handler)
