"""The gallery: sorted and filtered cards, histories, curves of a file being written, and what a page may ask."""

import json
import types

import numpy as np
import pytest

from experiments.configs import base_voxel
from experiments.live import pages_of_explore
from experiments.live.gallery import MOST_POINTS, Gallery, Shelf

REGRET = np.array([0.2, 0.9, 0.5], np.float32)


@pytest.fixture
def gallery(tmp_path):
    """Of a run whose arm prowl has kept three clips after its second cycle, which are read already."""
    config = base_voxel.get_config("tiny")
    config.arms = ("frozen_reference", "prowl")
    run = types.SimpleNamespace(
        workdir=tmp_path, config=config, checkpoints=lambda stage: tmp_path / "checkpoints" / stage
    )
    (run.checkpoints("phase2/prowl") / "2").mkdir(parents=True)
    made = Gallery(run)
    columns = {"score": -REGRET, "regret": REGRET, "found in cycle": np.array([0, 1, 1])}
    made._shelves["prowl"] = Shelf("prowl", 2, {}, None, columns, ["a", "b", "c"], ["rest", "jump", "rest"])
    made._read["prowl"] = {2}
    made._history["prowl", "a"] = {2: [0.1, 0.2], 1: [0.3, 0.4]}
    return made


def names(gallery, **query):
    return [card["name"] for card in pages_of_explore.cards(gallery, {"arm": "prowl", **query})["cards"]]


def test_cards_are_sorted_filtered_and_cut_into_pages(gallery):
    assert names(gallery) == ["a", "c", "b"]
    assert names(gallery, sort="regret") == ["b", "c", "a"]
    assert names(gallery, sort="regret", order="rising") == ["a", "c", "b"]
    assert names(gallery, sort="no such column") == ["a", "c", "b"]
    assert names(gallery, mode="rest") == ["a", "c"] and names(gallery, cycle="1") == ["c", "b"]
    assert names(gallery, offset="1", limit="1") == ["c"]
    assert gallery.cards("prowl", mode="rest")[0] == 2
    assert gallery.history("prowl", "a") == [[1, 0.3, 0.4], [2, 0.1, 0.2]]


@pytest.mark.parametrize(
    "query",
    [{"arm": ".."}, {}, {"arm": "frozen_reference"}, {"arm": "prowl", "offset": "-1"}, {"arm": "prowl", "limit": "²"}],
)
def test_what_cannot_be_asked_is_one_line(gallery, query):
    with pytest.raises(ValueError, match="^.{5,80}$"):
        pages_of_explore.cards(gallery, query)


def test_what_is_gone_is_no_mistake(gallery):
    assert pages_of_explore.clip(gallery, {"arm": "prowl", "name": "../../etc/passwd"}) is None


def test_what_a_person_brought_is_of_no_cycle(gallery):
    gallery.finders = {"a": "a person", "gone since": "a person"}
    (card,) = pages_of_explore.cards(gallery, {"arm": "prowl", "cycle": "brought"})["cards"]
    assert card["name"] == "a" and card["by"] == "a person" and "found in cycle" not in card["columns"]
    assert names(gallery, cycle="0") == [] and names(gallery, cycle="1") == ["c", "b"]
    assert pages_of_explore.about(gallery)["arms"][0]["cycles"] == [1, "brought"]
    assert [card["by"] for card in gallery.cards("prowl")[1]] == ["a person", None, None]


def test_what_there_is(gallery):
    about = pages_of_explore.about(gallery)
    assert about["playable"] and about["arms"] == [
        {"name": "prowl", "cycle": 2, "columns": ["score", "regret", "found in cycle"], "modes": ["jump", "rest"],
         "cycles": [0, 1], "clips": 3}
    ]  # fmt: skip


def test_curves_of_a_run_that_is_writing_are_thinned(gallery):
    same = {"stage": "phase2", "arm": "prowl", "wall_time": 1.0, "x": None}
    rows = [{**same, "step": i, "regret": i / 7} for i in range(999)]
    text = "".join(json.dumps(row) + "\n" for row in rows) + '{"stage": "pha'
    (gallery.run.workdir / "metrics.jsonl").write_text(text)
    lines = gallery.curves()["phase2/prowl"]
    assert list(lines) == ["regret"] and len(lines["regret"]) <= MOST_POINTS
    assert lines["regret"][0] == [0, 0.0] and lines["regret"][1][0] == 4 and lines["regret"][-1][0] == 998
    for count in (1, 2, MOST_POINTS - 1, MOST_POINTS, MOST_POINTS + 1):
        (gallery.run.workdir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:count]))
        steps = [step for step, _ in gallery.curves()["phase2/prowl"]["regret"]]
        assert len(steps) <= MOST_POINTS and steps[0] == 0 and steps[-1] == count - 1 and len(set(steps)) == len(steps)


def test_a_checkpoint_that_cannot_be_read_is_left_for_later(gallery, monkeypatch):
    (gallery.run.checkpoints("phase2/prowl") / "3").mkdir()
    seen = []
    monkeypatch.setattr(gallery, "_take", lambda arm, step: seen.append(step))
    assert gallery.shelf("prowl").cycle == 2 and gallery.shelf("prowl").cycle == 2
    assert seen == [3, 3]
