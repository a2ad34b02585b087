"""The flags of every server here, and how one is started."""

import argparse
import importlib

from experiments.run.command_line import UsageError, fail


def server_flags(parser):
    """Add ``--host``, ``--port`` and ``--no-browser`` (as ``browser``)."""
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="to listen on (127.0.0.1)")
    parser.add_argument("--port", type=_port, default=0, metavar="N", help="0: a free one")
    parser.add_argument("--no-browser", dest="browser", action="store_false", help="print the address, open nothing")


def serve(module, function, options):
    """``experiments.live.MODULE.FUNCTION(options)``, its exit code; what it needs is imported only now.

    Raises:
      SystemExit: code 2 after one line: a package of the extra ``play`` is missing, or what was asked for cannot be.
    """
    try:
        start = getattr(importlib.import_module(f"experiments.live.{module}"), function)
    except ImportError as error:
        if error.name and error.name.startswith("experiments"):
            raise
        fail(f"{error.name} is not installed: pip install '.[play]'")
    try:
        return start(options)
    except UsageError as error:
        fail(error)


def _port(text):
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port")
    return int(text)
