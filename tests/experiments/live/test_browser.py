"""The pages in a real browser: pictures that move, keys that do something, no error on the console."""

import pathlib

import pytest
from browsing import CONTRAST, SHOWN, SIZES, changes, content, opened


def playing(page):
    page.locator("#status").filter(has_text="playing").wait_for(timeout=6 * SHOWN)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_keys_change_both_pictures(browser, served, size):
    with opened(browser, served.url, size) as page:
        playing(page)
        real, dream = content(page, "#real"), content(page, "#dream")
        page.keyboard.down("w")
        assert changes(page, "#real", real) and changes(page, "#dream", dream)
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
        still = content(page, "#dream")
        assert not changes(page, "#dream", still, 1)
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
        real = content(page, "#real")
        button = page.locator("#touch button[aria-label=forward]")
        button.dispatch_event("pointerdown", {"pointerId": 1})
        held = changes(page, "#real", real)
        page.locator("#touch button[aria-label=forward][aria-pressed=true]")
        assert held


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out(browser, served, scheme):
    with opened(browser, served.url, scheme=scheme) as page:
        playing(page)
        page.click("#error")
        page.evaluate("document.getElementById('left').hidden = false")
        assert page.evaluate(CONTRAST) == []
