"""The flags of every server here."""

import argparse


def server_flags(parser):
    """Add ``--host``, ``--port`` and ``--no-browser`` (as ``browser``)."""
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="to listen on (127.0.0.1)")
    parser.add_argument("--port", type=_port, default=0, metavar="N", help="0: a free one")
    parser.add_argument("--no-browser", dest="browser", action="store_false", help="print the address, open nothing")


def _port(text):
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port")
    return int(text)
