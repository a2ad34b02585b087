"""The pages in a real browser: pictures that move, keys that do something, no error on the console."""

import contextlib
import pathlib
import shutil

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

SHOWN = 30_000
SIZES = [(1280, 900), (390, 844)]


@pytest.fixture(scope="module")
def browser():
    """Debian's Chromium, or the one that Playwright brought."""
    own = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with playwright.sync_playwright() as driver:
        if own is None and not pathlib.Path(driver.chromium.executable_path).exists():
            pytest.skip("there is no Chromium: apt-get install chromium")
        running = driver.chromium.launch(executable_path=own, args=["--no-sandbox"])
        yield running
        running.close()


@contextlib.contextmanager
def opened(browser, url, size=SIZES[0], scheme="light"):
    """A page on ``url``; no error may stand on its console in the end."""
    context = browser.new_context(
        viewport=dict(zip(("width", "height"), size, strict=True)), color_scheme=scheme, has_touch=size[0] < 600,
        accept_downloads=True,
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


def playing(page):
    page.locator("#status").filter(has_text="playing").wait_for(timeout=6 * SHOWN)


def content(page, canvas):
    return page.evaluate(
        "(id) => { const c = document.getElementById(id); "
        "return Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).join(); }", canvas
    )  # fmt: skip


def changes(page, canvas, before, seconds=10):
    """Whether a canvas shows something else within so many seconds."""
    for _ in range(10 * seconds):
        if content(page, canvas) != before:
            return True
        page.wait_for_timeout(100)
    return False


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_keys_change_both_pictures(browser, served, size):
    with opened(browser, served.url, size) as page:
        playing(page)
        real, dream = content(page, "real"), content(page, "dream")
        page.keyboard.down("w")
        assert changes(page, "real", real) and changes(page, "dream", dream)
        page.keyboard.up("w")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.locator("#f-latency").filter(has_not_text="–").wait_for(timeout=SHOWN)
        page.locator("#f-regret").filter(has_not_text="–").wait_for(timeout=6 * SHOWN)


def test_every_control_can_be_reached_and_does_what_it_says(browser, served):
    with opened(browser, served.url) as page:
        playing(page)
        page.keyboard.press("e")
        assert page.locator("#heat").is_visible()
        page.keyboard.press("p")
        page.wait_for_timeout(500)
        still = content(page, "dream")
        assert not changes(page, "dream", still, 1)
        page.keyboard.press("p")
        page.keyboard.press("h")
        page.locator("#status").filter(has_text="held").wait_for(timeout=SHOWN)
        page.click("#hold")
        playing(page)
        page.click("#resync")
        page.select_option("#third-choice", "mirrored")
        page.locator("#third-name").filter(has_text="MIRRORED").wait_for(timeout=SHOWN)
        page.click("#record")
        page.locator("#webp:enabled").wait_for(timeout=SHOWN)
        page.click("#record")
        with page.expect_download(timeout=SHOWN) as saved:
            page.click("#webp")
        assert pathlib.Path(saved.value.path()).read_bytes()[:4] == b"RIFF"
        page.click("#hunt")
        page.locator("#board").filter(has_text="you").wait_for(timeout=4 * SHOWN)
        reached = set()
        for _ in range(60):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("document.activeElement.id"))
        controls = page.evaluate(
            "[...document.querySelectorAll('button, select, input')].filter(e => e.id && e.offsetParent && !e.disabled)"
            ".map(e => e.id)"
        )
        assert set(controls) <= reached
        nameless = page.evaluate(
            "[...document.querySelectorAll('select, input')].filter(e => e.offsetParent && !e.labels.length).length"
        )
        assert nameless == 0


def test_fingers_hold_what_they_touch(browser, served):
    with opened(browser, served.url, SIZES[1]) as page:
        playing(page)
        real = content(page, "real")
        button = page.locator("#touch button[aria-label=forward]")
        button.dispatch_event("pointerdown", {"pointerId": 1})
        held = changes(page, "real", real)
        page.locator("#touch button[aria-label=forward][aria-pressed=true]")
        assert held


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


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out(browser, served, scheme):
    with opened(browser, served.url, scheme=scheme) as page:
        playing(page)
        page.click("#error")
        page.evaluate("document.getElementById('left').hidden = false")
        assert page.evaluate(CONTRAST) == []
