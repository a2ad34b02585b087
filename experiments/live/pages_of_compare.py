"""The page of ``python -m experiments.compare``."""

from experiments.evaluation import votes
from experiments.live import server
from experiments.live.booth import Booth
from experiments.live.pages_of_play import SHARED

PAGES = {**SHARED, "/": "compare.html", "/compare.js": "compare.js"}


def serve_compare(options):
    """Serve until interrupted, then print what the votes say; returns the exit code.

    ``options.poll()`` makes the ``Poll``. UsageError: it cannot be made.
    """
    poll = options.poll()
    code = server.serve(application(Booth(poll)), options.host, options.port, opens=options.browser, says=_says)
    print(votes.text(poll.result()))
    return code


def application(booth):
    """The aiohttp application of a ``Booth``."""
    return server.application(PAGES, booth.sit, booth.status)


def _says(url):
    print(f"vote at {url}  (Ctrl-C ends it)", flush=True)
