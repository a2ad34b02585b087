"""Pages in a real browser, for the tests of the live pages and of reports. Where there is none, these skip."""

import contextlib
import pathlib
import shutil

import pytest

SHOWN = 30_000
"""Milliseconds in which what is asked for is shown, however busy the machine is."""
SIZES = [(1280, 900), (390, 844)]


@pytest.fixture(scope="module")
def browser():
    """Debian's Chromium, or the one that Playwright brought."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    own = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with playwright.sync_playwright() as driver:
        if own is None and not pathlib.Path(driver.chromium.executable_path).exists():
            pytest.skip("there is no Chromium: apt-get install chromium")
        running = driver.chromium.launch(executable_path=own, args=["--no-sandbox"])
        yield running
        running.close()


@contextlib.contextmanager
def opened(browser, url, size=SIZES[0], scheme="light", **options):
    """A page on ``url``; no error may stand on its console in the end, and nothing be asked from elsewhere."""
    context = browser.new_context(
        viewport=dict(zip(("width", "height"), size, strict=True)), color_scheme=scheme, has_touch=size[0] < 600,
        accept_downloads=True, **options,
    )  # fmt: skip
    page, errors, asked = context.new_page(), [], []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: asked.append(request.url))
    page.goto(url)
    yield page
    assert not errors
    assert all(address.startswith((url, "blob:", "data:")) for address in asked)
    context.close()


def until(page, expression):
    """Wait until a JavaScript expression holds, asked from outside: the pages' policy forbids ``eval``."""
    for _ in range(SHOWN // 50):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"not within {SHOWN / 1000} s: {expression}")


def playing(page):
    """Wait until a page of play does."""
    page.locator("#status").filter(has_text="playing").wait_for(timeout=6 * SHOWN)


def content(page, canvas):
    """What a canvas, the first that a CSS selector finds, shows: a text that differs where a pixel does."""
    return page.locator(canvas).first.evaluate(
        "(c) => Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).join()"
    )


def changes(page, canvas, before, seconds=10):
    """Whether a canvas shows something else within so many seconds."""
    for _ in range(10 * seconds):
        if content(page, canvas) != before:
            return True
        page.wait_for_timeout(100)
    return False


CONTRAST = """() => {
  const part = (v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
  const light = ([r, g, b]) => 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const c = numbers(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] > 0) return c;
    }
    return [255, 255, 255];
  };
  const low = [];
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.offsetParent) continue;
    const [a, b] = [light(numbers(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) low.push(`${e.tagName} ${e.textContent.trim().slice(0, 20)}`);
  }
  return low;
}"""
"""Words that stand out less than 4.5 to 1 from what is behind them (WCAG 2.2, 1.4.3)."""
