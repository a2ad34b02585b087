"""SIGTERM, which schedulers send some time before SIGKILL: a step is finished and saved, and the process ends.

Outside of a training loop there is nothing to save that is not on the disk: the signal ends the work at
once, as Ctrl-C does. A second one always does.
"""

import contextlib
import os
import signal
import sys
import threading

EXIT_CODE = 128 + signal.SIGTERM


class Terminated(BaseException):
    """Raised where SIGTERM ends the work; no ``Exception``, so that nothing takes it for a failure."""


class _Request:
    asked = False
    waits = False


def listen():
    """Hear SIGTERM from now on. Only the main thread can; elsewhere nothing happens."""
    if threading.current_thread() is threading.main_thread():
        _Request.asked = _Request.waits = False
        signal.signal(signal.SIGTERM, _hear)


def asked():
    """Whether the process was told to end."""
    return _Request.asked


@contextlib.contextmanager
def importing():
    """Within it Ctrl-C ends the process at once, with nothing said: nothing has been done yet.

    A ``KeyboardInterrupt`` that is raised while JAX's extension modules start crashes them. Where the signal is
    ignored, or somebody else hears it, that stays.
    """
    main = threading.current_thread() is threading.main_thread()
    ours = main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if ours:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def exit_process(code):
    """End the process with an exit code; after an interruption without waiting for what a device still computes."""
    if code in (130, EXIT_CODE):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


@contextlib.contextmanager
def after_the_step():
    """Within it the first SIGTERM only makes ``asked()`` true: the loop saves and raises ``Terminated``."""
    _Request.waits = True
    try:
        yield
    finally:
        _Request.waits = False
    if _Request.asked:  # too late for the loop to see
        raise Terminated


def _hear(*_):
    ends_now = _Request.asked or not _Request.waits
    _Request.asked = True
    if ends_now:
        raise Terminated
