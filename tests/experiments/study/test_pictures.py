"""The moving pictures of a study: which clips they show, and that they show what was measured."""

import json
import types

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from experiments.configs import proof
from experiments.stages import build
from experiments.study import pictures
from prowl_jax.types import RealClip

BATCH, ROWS, SEEN, FRAMES, SIZE = 4, 10, 2, 5, 8


@given(st.lists(st.floats(-1, 1), min_size=3, max_size=40), st.integers(0, 2**32))
def test_rows_are_of_those_asked_for_and_nobody_is_nearer_to_the_quantile(gain, seed):
    gain = np.array(gain)
    asked = np.random.default_rng(seed).random(len(gain)) < 0.5
    asked[0] = True
    rows = pictures.chosen_rows(gain, asked)
    assert set(rows) == {"median", "best decile", "worst decile"}
    for name, quantile in pictures.CHOSEN.items():
        off = np.abs(gain[asked] - np.quantile(gain[asked], quantile))
        assert asked[rows[name]] and abs(gain[rows[name]] - np.quantile(gain[asked], quantile)) == off.min()


@pytest.fixture
def found(tmp_path, monkeypatch):
    config = proof.get_config("tiny")
    monkeypatch.setattr(pictures, "batch_of", lambda config: BATCH)
    model = types.SimpleNamespace(frames_of=lambda context: SEEN)
    monkeypatch.setattr(build, "make_world_model", lambda config: model)
    arms = {arm: types.SimpleNamespace(params=i) for i, arm in enumerate(("phase1", "frozen_reference", "prowl"))}
    run = types.SimpleNamespace(workdir=tmp_path, config=config)
    return types.SimpleNamespace(run=run, arms=arms, reference=None, policies={})


def critical():
    frames = np.broadcast_to(np.arange(ROWS, dtype=np.uint8)[:, None, None, None, None], (ROWS, FRAMES, SIZE, SIZE, 3))
    actions = np.zeros((ROWS, FRAMES, len(build.spec_of(proof.get_config("tiny")).factors)), np.int32)
    return RealClip(frames=np.array(frames), actions=actions, latents=None, flow=None)


def test_what_is_shown_is_what_was_measured(found, monkeypatch):
    key, asked, shown = jax.random.key(3), [], []

    def measure(params, items, noise):
        rows = items.frames[:, 0, 0, 0, 0]
        asked.append((params, rows.tolist(), jax.random.key_data(noise).tolist()))
        dreamt = np.broadcast_to(rows[:, None, None, None, None], (BATCH, FRAMES - SEEN, SIZE, SIZE, 3))
        return {}, (100 + 20 * params + dreamt).astype(np.uint8)

    regrets = {"phase1": np.ones(ROWS), "frozen_reference": np.ones(ROWS), "prowl": 1.0 - 0.1 * np.arange(ROWS)}
    unseen = np.arange(ROWS) >= 5  # of these the gains are .5 to .9
    monkeypatch.setattr(pictures, "save_stacked", lambda path, reels, **more: shown.extend(reels) or path.touch())
    (found.run.workdir / "pictures").mkdir()
    pictures.dreams(found, critical(), {"unseen": unseen}, measure, key, regrets.get)
    told = json.loads((found.run.workdir / "pictures/critical.json").read_text())
    assert [(clip["clip"], clip["row"]) for clip in told["clips"]] == [
        ("median", 7), ("best decile", 9), ("worst decile", 5),
    ]  # fmt: skip
    assert told["clips"][0]["regret"] == {"phase1": 1.0, "frozen_reference": 1.0, "prowl": pytest.approx(0.3)}
    batches = {0: [4, 5, 6, 7], 4: [4, 5, 6, 7], 8: [8, 9, 0, 1]}
    for _, rows, noise in asked:
        start = rows[0]
        assert rows == batches[start] and noise == jax.random.key_data(jax.random.fold_in(key, start)).tolist()
    for clip, reel in zip(told["clips"], shown, strict=True):
        assert list(reel.predicted) == ["before", "control", "PROWL"] and reel.context == SEEN
        for i, panel in enumerate(reel.predicted.values()):
            assert panel[:SEEN].max() == panel[:SEEN].min() == clip["row"]
            assert panel[SEEN:].max() == panel[SEEN:].min() == 100 + 20 * i + clip["row"]
    asked.clear()
    pictures.dreams(found, critical(), {"unseen": unseen}, measure, key, regrets.get)
    assert not asked, "what is there is not drawn again"
    found.arms["oracle"] = types.SimpleNamespace(params=3)
    pictures.dreams(found, critical(), {"unseen": unseen}, measure, key, {**regrets, "oracle": np.ones(ROWS)}.get)
    assert len(asked) == 12 and list(shown[-1].predicted)[-1] == "oracle", "with another arm it is"


def test_without_a_control_there_is_nothing_to_show(found):
    del found.arms["frozen_reference"]
    pictures.dreams(found, critical(), {}, None, None, None)
    pictures.acting(found)
    assert not (found.run.workdir / "pictures").exists()


def test_panels_have_names_and_a_reel_of_reality_no_context(tmp_path):
    from experiments.report.page import Reel
    from experiments.report.reels import save_stacked

    frames = np.full((3, 16, 16, 3), 200, np.uint8)
    sizes = []
    for named, context in ((None, 1), ("real", 1), ("pi_ref", None)):
        reel = Reel(frames, {"PROWL": frames // 2}, context, [""] * 3, {})
        save_stacked(tmp_path / "a.webp", [reel], named=named)
        with Image.open(tmp_path / "a.webp") as picture:
            assert picture.n_frames > 1
            sizes.append(picture.size)
            picture.seek(0)
            top = np.asarray(picture.convert("RGB"))
            border = top[20 if named else 1, 1].astype(int)
            assert (border[0] - border[2] > 100) == (context == 1), "only what was given has a border"
    assert sizes[0][1] + 18 == sizes[1][1] == sizes[2][1]
