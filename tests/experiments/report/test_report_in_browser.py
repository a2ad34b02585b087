"""A report opened from disk in a real browser: its reels, what is folded, and how it looks at both widths."""

import numpy as np
import pytest
from browsing import CONTRAST, SIZES, changes, content, opened

from experiments.report.page import Gallery, Reel, write_report

SHADES = np.array([0, 60, 120, 180, 240], np.uint8)
CONTEXT, ACTIONS = 2, ["", "forward", "", "back", ""]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Of a report with a reel of five even frames, dreamt darker before than after, and a comparison of two arms."""
    real = np.broadcast_to(SHADES[:, None, None, None], (5, 16, 16, 3)).copy()
    reel = Reel(real, {"before": real // 4, "after": real // 2}, CONTEXT, ACTIONS, {"regret": 1})
    entry = {"arm": "prowl", "against": "passive", "set": "in_distribution", "metric": "latent_regret", "subset": "all"}
    evaluation = {
        "checks": {"minutes": 13.0},
        "targets": {"minutes": 15.0},
        "arms": {arm: {"in_distribution": {"clips": 8, "psnr": {"all": 20.0}}} for arm in ("prowl", "passive")},
        "comparisons": [entry | {"relative": -0.03, "low": -0.05, "high": -0.01}],
    }
    path = tmp_path_factory.mktemp("run") / "report" / "index.html"
    write_report(
        path, title="A run", config={"seed": 0}, evaluation=evaluation, metrics=[],
        galleries=[Gallery("Clips", "Two of them.", [reel, reel])], explore="explore --workdir=run",
    )  # fmt: skip
    return path.as_uri()


def shades(reel):
    """The brightness of each canvas of a reel that is shown."""
    return reel.locator("canvas:visible").evaluate_all(
        "canvases => canvases.map(c => c.getContext('2d').getImageData(c.width / 2, c.height / 2, 1, 1).data[0])"
    )


def held(page):
    """The first reel, stopped at its first frame."""
    reel = page.locator(".reel").first
    reel.locator(".player").wait_for()
    reel.locator("input").focus()
    page.keyboard.press("End")  # whichever frame it has come to, one of the two is another
    page.keyboard.press("Home")
    assert reel.locator(".run").get_attribute("aria-pressed") == "false"
    return reel


def test_a_reel_is_stepped_through_by_the_keyboard(browser, address):
    with opened(browser, address) as page:
        reel = held(page)
        for t, shade in enumerate(SHADES.tolist()):
            np.testing.assert_allclose(shades(reel), [shade, shade // 4, shade // 2], atol=8)
            given = "given" in reel.get_attribute("class").split()
            assert given == (t < CONTEXT)
            assert reel.locator("output").inner_text() == f"{t + 1} of 5, {'given' if given else 'dreamt'}"
            assert reel.locator(".now").inner_text() == f"Then: {ACTIONS[t] or 'nothing'}"
            page.keyboard.press("ArrowRight")


def test_before_and_after_change_places(browser, address):
    with opened(browser, address) as page:
        reel = held(page)
        page.keyboard.press("End")
        reel.get_by_role("button", name="before").click()
        np.testing.assert_allclose(shades(reel), [240, 60], atol=8)
        before = reel.locator("canvas:visible").nth(1).bounding_box()
        reel.get_by_role("button", name="after").click()
        np.testing.assert_allclose(shades(reel), [240, 120], atol=8)
        assert reel.locator("canvas:visible").nth(1).bounding_box() == before
        assert reel.locator(".switch [aria-pressed=true]").all_inner_texts() == ["after"]
        assert page.locator(".reel").nth(1).locator("canvas:visible").count() == 3
        reel.get_by_role("button", name="side by side").click()
        assert len(shades(reel)) == 3


def test_reels_run_where_motion_is_welcome(browser, address):
    with opened(browser, address) as page:
        page.locator(".player").first.wait_for()
        page.locator(".reel").first.scroll_into_view_if_needed()
        assert changes(page, ".reel canvas", content(page, ".reel canvas"))
        page.locator(".run").first.click()
        assert not changes(page, ".reel canvas", content(page, ".reel canvas"), 1)
    with opened(browser, address, reduced_motion="reduce") as page:
        page.locator(".player").first.wait_for()
        page.locator(".reel").first.scroll_into_view_if_needed()
        assert not changes(page, ".reel canvas", content(page, ".reel canvas"), 1)


def test_without_a_script_there_are_the_sheets(browser, address):
    with opened(browser, address, java_script_enabled=False) as page:
        assert page.locator(".sheet:visible").count() == 2 and not page.locator(".player:visible").count()


def test_what_matters_is_shown_and_all_else_folded(browser, address):
    with opened(browser, address) as page:
        assert page.locator("table:visible").count() == 1 and page.locator("table.headline .better").first.is_visible()
        assert page.locator("details[open]").count() == 0
        page.get_by_text("All 1 differences").click()
        assert page.locator("table:visible").count() == 2


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read(browser, address, size, scheme):
    with opened(browser, address, size, scheme) as page:
        page.locator(".player").first.wait_for()
        page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.evaluate(CONTRAST) == []
