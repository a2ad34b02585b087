"""The gallery in a real browser: cards sorted and filtered, a clip frame by frame, and on from where it was found.

What is dreamt and where a clip began are stand-ins; their own tests are those of rewards and of a run in the world of
blocks.
"""

import dataclasses
import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from browsing import CONTRAST, SHOWN, SIZES, changes, content, opened, playing, until

from experiments.configs import base_voxel
from experiments.live import gallery as gallery_module
from experiments.live import pages_of_explore
from experiments.live.gallery import Gallery, Shelf
from experiments.live.session import Place
from experiments.stages import build
from prowl_jax.types import RealClip

CLIPS, FRAMES, DREAMT = 14, 6, 4
REGRET = np.linspace(0.1, 1.4, CLIPS, dtype=np.float32)
SHADES = 30 + 40 * np.arange(FRAMES)
COLUMN = 5


def shelf_of(config):
    """What an arm has kept after its second cycle: even frames, brighter from step to step."""
    spec = build.spec_of(config)
    actions = np.broadcast_to(np.asarray(spec.null, np.int32), (CLIPS, FRAMES, len(spec.sizes))).copy()
    actions[:, 3, spec.index("jump")] = 1
    frames = np.broadcast_to(SHADES.astype(np.uint8)[:, None, None, None], (CLIPS, FRAMES, 16, 16, 3)).copy()
    frames[:, :, 0, 0] = np.arange(CLIPS)[:, None, None]
    clips = RealClip(None, actions, frames, np.full((CLIPS, DREAMT, 16, 16, 2), 3.0, np.float16))
    columns = {"score": -REGRET, "regret": REGRET, "found in cycle": np.arange(CLIPS) % 2}
    return Shelf("prowl", 2, 2, clips, columns, [f"clip{i}" for i in range(CLIPS)], ["rest", "jump+rotate"] * 7)


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    """Of a run with one arm; "parameters" are what a dream is darker by, 4 before and 2 after."""
    config, workdir = base_voxel.get_config("tiny"), tmp_path_factory.mktemp("run")
    config.arms = ("prowl",)
    run = types.SimpleNamespace(workdir=workdir, config=config, checkpoints=lambda stage: workdir / stage)
    (workdir / "phase2/prowl/2").mkdir(parents=True)
    rows = [{"stage": "phase2", "arm": "prowl", "step": c, "regret": 1 / c} for c in (1, 2)]
    (workdir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = Gallery(run)
    made._shelves["prowl"], made._read["prowl"] = shelf_of(config), {2}
    made._history["prowl", "clip13"] = {1: [0.3, 0.4], 2: [0.1, 0.2]}
    made.before = 4
    made._dream = lambda darker, clip: (clip.frames[0, -DREAMT:] // darker, clip.flow[0])
    return made


@pytest.fixture(scope="module")
def explored(gallery, played, toy, serve):
    """A server of it; ``places`` are the clips and cycles that somebody has gone to."""
    places = []

    def place_of(run, clip, cycle):
        places.append((int(clip.frames[0, 0, 0, 0]), cycle))
        state = toy.Walker(jax.random.key(0), jnp.int32(COLUMN), jnp.int32(0), jnp.int32(0))
        forward = np.broadcast_to(np.array([1, played.spec.null[1]], np.int32), (played.programs.seen, 2))
        return Place(state, forward)

    def events_of(run, clips, cycles):
        return [("broke_support",) if clip % 3 == 0 else None for clip in clips.frames[:, 0, 0, 0, 0].tolist()]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages_of_explore, "place_of", place_of)
        patch.setattr(gallery_module, "events_of", events_of)
        patch.setattr(pages_of_explore.played, "of_run", lambda workdir, arms: played)
        app = pages_of_explore.application(gallery)
        with serve(app, None) as running:
            running.places = places
            yield running


def shown(page):
    """The numbers of the clips on the cards, in order."""
    words = page.locator(".cards .words").all_inner_texts()
    return [int(np.argmin(np.abs(REGRET - float(text.split("regret ")[1].split()[0])))) for text in words]


def listed(page, clips):
    """Wait until there are so many cards, each with its pictures; which they are."""
    cards = "[...document.querySelectorAll('.cards li')]"
    until(page, f"{cards}.length === {clips} && {cards}.every((item) => item.clip)")
    return shown(page)


def begins(page, words):
    """Wait until the first card says so."""
    until(page, f"document.querySelector('.cards .words')?.textContent.includes('{words}')")


def shades(page):
    """What the opened clip's canvases show in their middle: real, before, after, error."""
    return [
        page.locator(f"#o-{name}").evaluate("c => c.getContext('2d').getImageData(1, c.height - 2, 1, 1).data[0]")
        for name in ("real", "before", "after", "error")
    ]


def test_cards_are_sorted_and_filtered(browser, explored):
    with opened(browser, explored.url) as page:
        assert listed(page, 12) == list(range(12))
        page.click("#more")
        assert listed(page, CLIPS) == list(range(CLIPS)) and page.locator("#more").is_hidden()
        page.select_option("#sort", "regret")
        begins(page, "regret 1.4 ")
        assert listed(page, 12) == list(range(CLIPS))[:1:-1]
        page.select_option("#order", "rising")
        begins(page, "regret 0.1 ")
        page.select_option("#mode", "jump+rotate")
        assert listed(page, 7) == list(range(1, CLIPS, 2))
        page.select_option("#mode", "")
        page.select_option("#cycle", "0")
        assert listed(page, 7) == list(range(0, CLIPS, 2))


def test_events_are_found_on_demand(browser, explored):
    with opened(browser, explored.url) as page:
        listed(page, 12)
        assert page.locator("#event").is_hidden()
        page.click("#find-events")
        page.select_option("#event", "broke_support", timeout=SHOWN)
        assert listed(page, 5) == [0, 3, 6, 9, 12] and page.locator("#find-events").is_hidden()
        assert page.locator(".cards .words").first.inner_text().endswith("broke support")
        page.locator(".cards button").first.click()
        page.locator("#o-events").filter(has_text="Events: broke support").wait_for(timeout=SHOWN)


def test_a_card_opens_and_goes_frame_by_frame(browser, explored):
    with opened(browser, explored.url) as page:
        page.select_option("#order", "rising")  # by score: the last clip first
        begins(page, "regret 1.4 ")
        page.locator(".cards button").first.click()
        page.locator("#opened[open]").wait_for()
        page.click("#arrows")
        page.locator("#frame").focus()
        page.keyboard.press("End")
        page.keyboard.press("Home")
        for t, shade in enumerate(SHADES):
            given = t < FRAMES - DREAMT
            dreams = [shade, shade, 0] if given else [shade // 4, shade // 2, shade - shade // 2]
            assert shades(page) == [shade, *dreams]
            assert page.locator("#frame-shown").inner_text() == f"{t + 1} of {FRAMES}{', context' if given else ''}"
            assert page.locator("#o-action").inner_text() == f"Action: {'jump' if t == 3 else 'nothing'}"
            page.keyboard.press("ArrowRight")
        rows = page.locator("#o-history tbody tr").all_inner_texts()
        assert [row.split() for row in rows] == [["1", "0.3", "0.4"], ["2", "0.1", "0.2"]]
        plain = page.locator("#o-real").evaluate("c => c.width")
        page.click("#arrows")
        assert page.locator("#o-real").evaluate("c => c.width") > plain
        page.keyboard.press("Escape")
        page.locator("#opened[open]").wait_for(state="hidden")


def test_one_plays_on_from_a_card(browser, explored, played):
    def column(page):
        return page.locator("#real").evaluate(
            "c => { const d = c.getContext('2d').getImageData(0, 8, 16, 1).data;"
            " return [...Array(16).keys()].find(i => d[4 * i] > 100); }"
        )

    with opened(browser, explored.url) as page:
        listed(page, 12)
        page.locator(".cards button").nth(3).click()
        page.click("#from-here")
        playing(page)
        assert explored.places == [(3, 1)]
        came = (COLUMN + played.programs.seen) % 16
        assert column(page) == came
        before = content(page, "#real")
        page.keyboard.down("w")
        assert changes(page, "#real", before)
        page.keyboard.up("w")


def test_who_comes_from_a_clip_that_is_gone_is_told_so(browser, explored):
    with opened(browser, explored.url) as page:
        page.goto(f"{explored.url}play?arm=prowl&name=gone")
        playing(page)
        page.locator("#title").filter(has_text="another place").wait_for(timeout=SHOWN)


def test_what_a_person_brought_says_so_and_leads_nowhere(browser, explored, gallery):
    gallery.finders = {"clip1": "a person"}
    try:
        with opened(browser, explored.url) as page:
            listed(page, 12)
            page.select_option("#cycle", "brought")
            assert listed(page, 1) == [1]
            assert page.locator(".cards .words").inner_text().endswith("found by a person")
            page.locator(".cards button").first.click()
            page.locator("#o-columns").filter(has_text="found by a person").wait_for()
            assert page.locator("#from-here").is_hidden()
    finally:
        gallery.finders = {}


def test_a_cycle_that_is_saved_meanwhile_is_seen(browser, explored, gallery):
    with opened(browser, explored.url) as page:
        listed(page, 12)
        assert page.locator("#status").inner_text() == "prowl: cycle 2"
        shelf = gallery._shelves["prowl"]
        fewer = jax.tree.map(lambda x: x[:5], (shelf.clips, shelf.columns))
        gallery._shelves["prowl"] = dataclasses.replace(
            shelf, cycle=3, clips=fewer[0], columns=fewer[1], names=shelf.names[:5], modes=shelf.modes[:5]
        )
        try:
            page.evaluate("look()")
            page.locator("#status").filter(has_text="prowl: cycle 3").wait_for(timeout=SHOWN)
            assert listed(page, 5) == list(range(5))
        finally:
            gallery._shelves["prowl"] = shelf


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_and_reached(browser, explored, size, scheme):
    with opened(browser, explored.url, size, scheme) as page:
        listed(page, 12)
        page.locator("#figure").filter(has_text="regret").wait_for()
        assert page.locator("#legend").inner_text() == "green: phase2/prowl, 0.500 after 2"
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.evaluate(CONTRAST) == []
        page.locator(".cards button").first.click()
        page.locator("#opened[open]").wait_for()
        assert page.evaluate(CONTRAST) == []
        assert page.evaluate("(d => d.scrollWidth <= d.clientWidth)(document.getElementById('opened'))")
