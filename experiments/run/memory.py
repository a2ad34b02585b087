"""How much memory a run takes, and keeping what was freed for the next step."""

import ctypes
import functools
import threading
import time

import psutil

NEWBORN_SECONDS = 0.5


def keep_freed_memory():
    """Ask glibc to keep freed memory for the next allocation instead of returning it to the system.

    A training step on a CPU allocates the same large arrays again and again; by default every one
    is mapped and zeroed anew, a quarter of the time of a small step. Call it before JAX starts its
    threads. Returns whether it took effect; without glibc nothing happens.
    """
    arena_max, mmap_max, top_pad, trim_threshold = -8, -4, -2, -1  # from malloc.h
    try:
        libc = ctypes.CDLL(None)
        mallopt = libc.mallopt
    except (OSError, AttributeError):
        return False
    settings = ((arena_max, 1), (mmap_max, 0), (top_pad, 2**28), (trim_threshold, 2**31 - 1))
    took_effect = all(mallopt(name, value) for name, value in settings)
    if took_effect:
        _ask_for_huge_pages(libc)
    return took_effect


def _ask_for_huge_pages(libc, size=2**32, page=2**21):
    """Let the next ``size`` bytes of the heap come in huge pages where Linux has them.

    The addresses are taken and given back untouched, so nothing becomes resident by it. A training step
    walks through hundreds of megabytes; with pages of 4 kB its address look-ups cost a tenth of the time.
    """
    madv_hugepage = 14  # from mman.h
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.restype, libc.free.argtypes = None, [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    block = libc.malloc(size)
    if block:
        start = -(-block // page) * page
        libc.madvise(start, (block + size - start) // page * page, madv_hugepage)
        libc.free(block)


class _Mallinfo2(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in [
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        ]
    ]


def heap_bytes():
    """(bytes in use, bytes taken from the system) of this process's heap, by glibc's own count.

    Where glibc 2.33 is not at hand, both are the resident memory. That grows for a long time although nothing
    is lost: of the heap that is kept, ever more pages have been touched.
    """
    try:
        mallinfo2 = ctypes.CDLL(None).mallinfo2
    except (OSError, AttributeError):
        return (psutil.Process().memory_info().rss,) * 2
    mallinfo2.restype = _Mallinfo2
    info = mallinfo2()
    return info.uordblks + info.hblkhd, info.arena + info.hblkhd


class MemoryWatch:
    """Keeps the largest sum of resident memory seen so far, looking every ``interval`` seconds.

    The sum is an upper bound at every look: pages that processes share, such as the engine's
    program and maps, count once for each, and so do the pages of memory-mapped files. What comes
    and goes between two looks is missed, and a child counts from its second look on, half a
    second after the first: until it has become its own program, it shows its parent's memory as
    its own. (``ru_maxrss`` of ended children would not do for the same reason.)

    The thread is a daemon and ends with ``close``, or with the process.
    """

    def __init__(self, interval=1.0):
        self._process = psutil.Process()
        self._lock = threading.Lock()
        self._first_seen = {}
        self._peak = 0
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(interval,), name="memory-watch", daemon=True)
        self._thread.start()

    def peak_gb(self):
        """The peak so far in GB (1e9 bytes), this moment included."""
        return self._look() / 1e9

    def close(self):
        """Stop looking; the peak stays. Safe to call twice."""
        self._closed.set()
        self._thread.join()

    def _run(self, interval):
        while not self._closed.wait(interval):
            self._look()

    def _look(self):
        """Look once; returns the peak so far in bytes."""
        with self._lock:
            now, total = time.monotonic(), self._process.memory_info().rss
            children = self._process.children(recursive=True)
            self._first_seen = {child: self._first_seen.get(child, now) for child in children}
            for child, since in self._first_seen.items():
                if now - since >= NEWBORN_SECONDS:
                    try:
                        total += child.memory_info().rss
                    except psutil.Error:  # it has ended meanwhile
                        continue
            self._peak = max(self._peak, total)
            return self._peak


@functools.cache
def _memory_watch():
    return MemoryWatch()


def peak_memory_gb():
    """Peak resident memory of this process and all its descendants since the first ``Run``, in GB.

    An upper bound, see ``MemoryWatch``.
    """
    return _memory_watch().peak_gb()
