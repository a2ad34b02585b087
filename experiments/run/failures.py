"""What ends a run although nobody made a mistake, told in one line: a full disk, numbers, dead environments, memory."""

import errno
import re
import sys

from experiments.run import interruption
from experiments.run.command_line import UsageError, fail
from experiments.run.divergence import BadNumbers
from experiments.run.places import said
from prowl_jax.envs.workers import EnvironmentFailure
from prowl_jax.train.checkpoint import CheckpointError

FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ESTALE)
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
GO_ON = "the same command goes on from the last checkpoint"


def guarded(work, config, largest_part):
    """Do ``work()``; returns the exit code, and says in one line what ended it before its time.

    Args:
      work: what is done. config: of the run.
      largest_part: ``f(config) -> (name, size in words, what to lower)``, asked where memory was too little.
    """
    interruption.listen()
    try:
        work()
    except UsageError as error:
        fail(str(error))
    except KeyboardInterrupt:
        print(f"\ninterrupted: {GO_ON}", file=sys.stderr)
        return 130
    except interruption.Terminated:
        print("\nterminated: saved; the same command goes on from there", file=sys.stderr)
        return interruption.EXIT_CODE
    except Exception as error:
        line = explain(error, config, largest_part)
        if line is None:
            raise
        print(line, file=sys.stderr)
        return 1
    return 0


def explain(error, config, largest_part):
    """One line for an exception that a user meets and can do something about; None for any other.

    Of environments that do not come back, what they wrote to stderr follows.
    """
    if isinstance(error, CheckpointError):
        return f"error: {error}"
    if isinstance(error, OSError) and error.errno in FULL:
        name = f"{error.filename}: " if error.filename else ""
        return f"error: {name}{error.strerror}; make room, then {GO_ON}"
    if isinstance(error, OSError) and error.errno in FORBIDDEN:
        return f"error: {said(error)}; make it writable, then {GO_ON}"
    if isinstance(error, BadNumbers):
        cure = "" if config.on_nan == "rewind" else "; with --config.on_nan=rewind the same command goes around it"
        return f"error: {error}{cure}"
    if isinstance(error, EnvironmentFailure):
        return "\n".join([f"error: {error}; {GO_ON}", *getattr(error, "__notes__", ())])
    if out_of_memory(error):
        return f"error: {memory_line(error, config, largest_part)}"
    return None


def out_of_memory(error):
    """Whether the host or a device had no memory left."""
    return isinstance(error, MemoryError) or bool(re.search(r"RESOURCE_EXHAUSTED|[Oo]ut of memory", str(error)))


def memory_line(error, config, largest_part):
    """Which part of a run is the largest, and what to lower."""
    part, size, cure = largest_part(config)
    return f"out of memory ({str(error).splitlines()[0][:120]}); the largest part is {part} ({size}): lower {cure}"
