"""Random keys on three pages at once: memory stays where it is, and nothing is said on a console or in the log.

A few seconds long here. By hand, ten minutes, of shipped weights where one likes:

    JAX_DISABLE_MOST_OPTIMIZATIONS=0 SOAK_SECONDS=600 SOAK_WEIGHTS=voxel \\
        python -m pytest -n0 tests/experiments/live/test_soak.py
"""

import contextlib
import logging
import os
import random
import re
import time

import numpy as np
import psutil
import pytest
from browsing import SHOWN, opened, playing

from experiments.live import played as plays
from experiments.live import server
from experiments.live.pages_of_play import PAGES
from experiments.live.play_socket import Table
from experiments.live.stage import Stage

SECONDS = float(os.environ.get("SOAK_SECONDS", 5))
WEIGHTS = os.environ.get("SOAK_WEIGHTS")
TABS, SAMPLES, LEAST = 3, 40, 8
SIZE = (640, 480)  # painting costs more than playing
HELD = ("w", "a", "s", "d", " ", "Shift", "q", "f", "v", "ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown")
PRESSED = ("r", "h", "n", "e", "g")  # not recording, which keeps frames on purpose, nor pause
MB = 2**20
GROWTH = {"server": 32 * MB, "pages": 4 * MB}
"""What may be more in the last quarter of the time than in the second: what a quarter of ten minutes' frames, kept by
mistake, would exceed many times over."""


@pytest.fixture
def soaked(played, serve):
    """A server of what is soaked."""
    table = Table(Stage(plays.of_weights(WEIGHTS) if WEIGHTS else played, told=lambda line: None).start())
    with serve(server.application(PAGES, table.sit, table.status), table) as running:
        yield running


class Tab:
    """One page under random keys."""

    def __init__(self, page, seed):
        self.page, self._random, self._down = page, random.Random(seed), set()
        self._heap = page.context.new_cdp_session(page)
        page.evaluate("""() => {
          const own = window.picture;
          window.shown = 0;
          window.picture = (...all) => { window.shown += 1; own(...all); };
        }""")

    def press(self):
        """Hold or let go of one key, now and then press another."""
        key = self._random.choice(HELD)
        (self.page.keyboard.up if key in self._down else self.page.keyboard.down)(key)
        self._down ^= {key}
        if self._random.random() < 0.05:
            self.page.keyboard.press(self._random.choice(PRESSED))

    def shown(self):
        """How many pictures have come."""
        return self.page.evaluate("window.shown")

    def heap(self):
        """Bytes that its script holds on to."""
        self._heap.send("HeapProfiler.collectGarbage")
        return self._heap.send("Runtime.getHeapUsage")["usedSize"]


def warm(page):
    """Wait until all is compiled that keys can set off."""
    page.keyboard.press("g")
    page.locator("#board").wait_for(timeout=6 * SHOWN)
    page.locator("#f-regret").filter(has_not_text="–").wait_for(timeout=6 * SHOWN)


def grown(values):
    """How much more the last quarter is than the second, both by their medians; 0 where too few were taken."""
    if len(values) < LEAST:
        return 0.0
    quarters = np.array_split(np.asarray(values, float), 4)
    return np.median(quarters[3]) - np.median(quarters[1])


def test_random_keys_on_three_tabs(browser, soaked, show, caplog, capfd):
    process, rows = psutil.Process(), []
    with contextlib.ExitStack() as open_tabs, caplog.at_level(logging.WARNING):
        tabs = [Tab(open_tabs.enter_context(opened(browser, soaked.url, SIZE)), seed) for seed in range(TABS)]
        for tab in tabs:
            playing(tab.page)
        warm(tabs[0].page)
        first, began = sum(tab.shown() for tab in tabs), time.monotonic()
        while (spent := time.monotonic() - began) < SECONDS:
            for tab in tabs:
                tab.press()
            if spent >= SECONDS / SAMPLES * len(rows):
                rows.append({"server": process.memory_info().rss, "pages": sum(tab.heap() for tab in tabs)})
            tabs[0].page.wait_for_timeout(50)
        shown = sum(tab.shown() for tab in tabs) - first
        for tab in tabs:
            tab.page.locator("#status").filter(has_text=re.compile("playing|held")).wait_for(timeout=SHOWN)
    for _ in range(50):
        if not soaked.table.sessions:
            break
        time.sleep(0.1)
    growth = {name: grown([row[name] for row in rows]) for name in GROWTH}
    show(
        f"soak: {TABS} tabs, {spent:.0f} s of random keys, {WEIGHTS or 'a toy'}",
        f"{shown / spent / TABS:.1f} pictures a second and tab; "
        + "; ".join(
            f"{name} {rows[0][name] / MB:.1f} MB at first, {rows[-1][name] / MB:.1f} at last, "
            f"{growth[name] / MB:+.2f} from the second quarter to the last"
            for name in GROWTH
        ),
    )
    assert shown > TABS
    assert all(growth[name] < GROWTH[name] for name in GROWTH)
    assert not soaked.table.sessions
    assert not caplog.records and capfd.readouterr().err == ""
