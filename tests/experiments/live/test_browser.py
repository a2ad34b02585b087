"""The pages in a real browser: pictures that move, keys that do something, no error on the console."""

import pathlib

import pytest
from browsing import CONTRAST, SHOWN, SIZES, changes, content, opened, playing
from toy_contest import BLURRED, CLIPS, FRAMES, RIGHT, SEEN

from experiments.evaluation import votes

WHO = f"{RIGHT} against {BLURRED}", f"{BLURRED} against {RIGHT}"


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


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_many_actions_with_long_names_find_room(browser, served, size):
    """As Craftax has them: on a finger's buttons and in the list of keys, at both widths."""
    names = ["noop", "left", *(f"MAKE_{what}_PICKAXE_AND_SWORD" for what in ("WOOD", "STONE", "IRON", "DIAMOND"))]
    factors = [{"name": "action", "labels": names, "null": 0, "degrees": None}]
    with opened(browser, served.url, size) as page:
        playing(page)
        page.evaluate("f => makeHands(f, () => {}, element('stage'), element('touch'), element('keys'))", factors)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        boxes = "[...document.querySelectorAll('#keys dd, #touch button')]"
        assert page.evaluate(f"{boxes}.filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.textContent)") == []


@pytest.mark.parametrize("size, scheme", zip(SIZES, ("light", "dark"), strict=True), ids=str)
def test_keys_vote_and_the_result_is_shown(browser, voting, size, scheme):
    with opened(browser, voting.url, size, scheme) as page:
        page.fill("#voter", "Anna 1")  # keys in a name are no votes
        assert page.evaluate(CONTRAST) == []
        page.keyboard.press("Enter")
        for number, key in enumerate("120", 1):
            page.locator("#status").filter(has_text=f"pair {number} of {CLIPS}").wait_for(timeout=SHOWN)
            if number == 1:
                assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
                page.fill("#frame", "0")  # before dreams begin to differ; there it stays
                first = content(page, "#dream-left")
                assert content(page, "#dream-right") == first == content(page, "#real")  # what all have seen
                page.fill("#frame", str(SEEN + FRAMES - 1))
                last = content(page, "#dream-left")
                assert last != content(page, "#dream-right") and not changes(page, "#dream-left", last, 1)
                page.keyboard.press("r")
                assert changes(page, "#dream-left", content(page, "#dream-left"))
                assert page.evaluate(CONTRAST) == []
                page.click("#ask")
                page.locator("#result").filter(has_text="No votes yet").wait_for(timeout=SHOWN)
            page.keyboard.press(key)
        page.locator("#status").filter(has_text=f"pair {CLIPS} of {CLIPS}").wait_for(timeout=SHOWN)
        page.click("[data-vote=right]")
        page.locator("#status").filter(has_text="all").wait_for(timeout=SHOWN)
        page.locator("#result").filter(has_text=f"People, {CLIPS} votes of 1 voter").wait_for(timeout=SHOWN)
        assert page.locator("#result td").first.inner_text() in WHO
        assert page.evaluate(CONTRAST) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    said = votes.read(voting.table.poll.path)
    assert [vote["vote"] for vote in said] == ["left", "right", "none", "right"]
    assert {(vote["voter"], vote["real"]) for vote in said} == {("Anna 1", True)}


def test_a_vote_needs_no_mouse(browser, voting):
    with opened(browser, voting.url) as page:
        page.locator("#start").wait_for(timeout=SHOWN)
        page.keyboard.press("Enter")  # the name has the focus, and may stay empty
        page.locator("#pair").wait_for(timeout=SHOWN)
        reached = set()
        for _ in range(12):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("document.activeElement.id || document.activeElement.dataset.vote"))
        assert {"left", "none", "right", "frame", "run", "again", "ask"} <= reached
        page.locator("[data-vote=none]").focus()
        page.keyboard.press("Space")
        page.locator("#status").filter(has_text=f"pair 2 of {CLIPS}").wait_for(timeout=SHOWN)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out(browser, served, scheme):
    with opened(browser, served.url, scheme=scheme) as page:
        playing(page)
        page.click("#error")
        page.evaluate("document.getElementById('left').hidden = false")
        assert page.evaluate(CONTRAST) == []
