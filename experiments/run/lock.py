"""One process at a time in a run directory."""

import fcntl
import os
import pathlib
import socket
import weakref

from experiments.run.config_file import UsageError

FILE = ".lock"
_held = weakref.WeakValueDictionary()


class Lock:
    """Held while the object lives; the system frees it with its process, however that ends.

    Within one process it may be taken again: ``take`` then returns the same object.
    """

    def __init__(self, path):
        self._file = None
        try:
            self._file = open(path, "a+")  # noqa: SIM115 - closing it frees the lock
        except OSError as error:
            raise UsageError(f"{path.parent} cannot be used: {path.name}: {error.strerror}") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.seek(0)
            owner = self._file.read().strip() or "another process"
            self._file.close()
            if isinstance(error, BlockingIOError):
                raise UsageError(
                    f"{path.parent} is in use by {owner}; wait for it, or choose another --workdir"
                ) from None
            raise UsageError(f"{path} cannot be locked ({error.strerror}); choose a --workdir that can") from None
        self._file.seek(0)
        owner = f"process {os.getpid()} on {socket.gethostname()}\n"
        if self._file.read() != owner:
            self._file.truncate(0)
            self._file.write(owner)
            self._file.flush()

    def __del__(self):
        if self._file is not None:
            self._file.close()


def take(directory):
    """The ``Lock`` of ``directory``, to be kept as long as it is used.

    Raises:
      UsageError: another process holds it, named by its id and host.
    """
    path = pathlib.Path(directory).resolve() / FILE
    lock = _held.get(str(path))
    if lock is None:
        lock = _held[str(path)] = Lock(path)
    return lock
