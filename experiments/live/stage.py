"""What has to be done before a page shows anything: done beside the server, which answers from the first moment."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from experiments.live.programs import own_sampling


class Preparation:
    """Work in a thread of its own.

    Args:
      work: ``f()``, does it; returns in a few words what is ready then. says: what goes on until then.
      told: ``f(line)`` for what is worth a line on the terminal.

    Attributes:
      says: how far it is, or what went wrong. ``work`` may set it.
    """

    def __init__(self, work, says, told=print):
        self.says, self._work, self._told = says, work, told
        self._began, self._done, self._failed = time.monotonic(), threading.Event(), False

    def start(self):
        """Begin; returns at once."""
        threading.Thread(target=self._run, name="preparation", daemon=True).start()
        return self

    def seconds(self):
        """Since the beginning."""
        return time.monotonic() - self._began

    async def done(self):
        """Whether it went well, once it is over."""
        while not self._done.is_set():
            await asyncio.sleep(0.05)
        return not self._failed

    def _run(self):
        try:
            what = self._work()
            self.says = "ready"
            self._told(f"ready after {self.seconds():.1f} s: {what}")
        except Exception as error:  # noqa: BLE001 - told on the page and on the terminal, whatever it was
            self._failed = True
            self.says = f"the start failed: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
            self._told(self.says)
        finally:
            self._done.set()


class Stage(Preparation):
    """The start of what is ``played``, a ``Played``: compiled."""

    def __init__(self, played, told=print):
        super().__init__(self._compile, "compiling the world and the dream", told)
        self.played = played

    async def ready(self):
        """``played``, once a first picture can be made; None where that failed."""
        return self.played if await self.done() else None

    def _compile(self):
        played = self.played
        with ThreadPoolExecutor(2) as both:  # the world's two programs, and the dream's
            jobs = [both.submit(played.world.compile_ahead)]
            jobs.append(both.submit(played.programs.compile_ahead, own_sampling(played.programs.model)))
            for job in jobs:
                job.result()
        return played.title

    def _run(self):
        super()._run()
        if not self._failed:
            self.played.programs.compare()  # what is measured comes a little later than what is seen
