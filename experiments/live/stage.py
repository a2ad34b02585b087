"""The start of what is played: compiled beside the server, which answers from the first moment."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from experiments.live.programs import own_sampling


class Stage:
    """Compiles in a thread of its own.

    Args:
      played: ``Played``. told: ``f(line)`` for what is worth a line on the terminal.

    Attributes:
      played: as given. says: how far it is, or what went wrong.
    """

    def __init__(self, played, told=print):
        self.played, self._told = played, told
        self._began, self._done, self._failed = time.monotonic(), threading.Event(), False
        self.says = "compiling the world and the dream"

    def start(self):
        """Begin; returns at once."""
        threading.Thread(target=self._run, name="stage", daemon=True).start()
        return self

    def seconds(self):
        """Since the beginning."""
        return time.monotonic() - self._began

    async def ready(self):
        """``played``, once a first picture can be made; None where that failed."""
        while not self._done.is_set():
            await asyncio.sleep(0.05)
        return None if self._failed else self.played

    def _run(self):
        played = self.played
        try:
            with ThreadPoolExecutor(2) as both:  # the world's two programs, and the dream's
                jobs = [both.submit(played.world.compile_ahead)]
                jobs.append(both.submit(played.programs.compile_ahead, own_sampling(played.programs.model)))
                for job in jobs:
                    job.result()
            self.says = "ready"
            self._told(f"ready after {self.seconds():.1f} s: {played.title}")
        except Exception as error:  # noqa: BLE001 - told on the page and on the terminal, whatever it was
            self._failed = True
            self.says = f"the start failed: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
            self._told(self.says)
        finally:
            self._done.set()
        if not self._failed:
            played.programs.compare()  # what is measured comes a little later than what is seen
