"""Figures of dreams of toy models whose quality is known: perfect, ignorant, blurred, noisy; a picture that turns."""

import dataclasses
import types

import jax
import numpy as np
import pytest
from toy_world_model import Turning, turned

from experiments.evaluation import dream_quality
from experiments.evaluation.contact_sheet import Sheet, write_sheet
from experiments.evaluation.dream_quality import Sizes, measure_dreams, within
from experiments.evaluation.dreamer import spread_clips
from experiments.evaluation.quality_table import table
from experiments.run.config_file import UsageError
from prowl_jax.actions import ActionSpec, choice
from prowl_jax.data.store import ClipStore, StoreWriter
from prowl_jax.types import Clip

SPEC = ActionSpec((choice("turn", "left", "right"), choice("call", "on"), choice("never", "on")))
CONTEXT, CLIPS, SIDE = 2, 20, 16
SIZES = Sizes(clips=CLIPS, frames=4, long_clips=0, dreams=8, dream_clips=6, dream_frames=4, factor_clips=10,
              factor_frames=4, resamples=200)  # fmt: skip


@pytest.fixture(scope="module")
def clips():
    """Textures that turn as the actions say, 7 frames; every second action of a clip is the same."""
    rng = np.random.default_rng(0)
    actions = rng.integers(0, (3, 2, 1), (CLIPS, CONTEXT + 5, 3)).astype(np.int32)
    frames = [rng.integers(60, 200, (CLIPS, SIDE, SIDE, 3)).astype(np.uint8)]
    for t in range(CONTEXT + 4):
        frames.append(np.asarray(jax.vmap(turned)(frames[-1], actions[:, t])))
    return Clip(np.stack(frames, 1), actions)


def measured(model, clips, recover=None, long=None, **changes):
    sizes = dataclasses.replace(SIZES, **changes)
    return measure_dreams(model, {}, CONTEXT, SPEC, clips, long, sizes, jax.random.key(0), recover)


def rms(a, b):
    return np.sqrt(np.square((a.astype(float) - b) / 255.0).mean((1, 2, 3)))


def test_a_perfect_model_reaches_the_floor_and_an_ignorant_one_repeats(clips):
    (perfect, _), (ignorant, _) = (measured(Turning(follows=f), clips) for f in (True, False))
    assert perfect["frames"].keys() == {"1", "2", "4"}  # 8 is beyond the clips
    for frame, row in perfect["frames"].items():
        h = CONTEXT - 1 + int(frame)
        repeated = rms(clips.frames[:, CONTEXT - 1], clips.frames[:, h]).mean()
        assert row["regret_of_repeat"] == pytest.approx(repeated, rel=1e-5)
        assert row["regret"] == row["floor_relative_error"] == row["floor_relative_error_high"] == 0.0
        assert row["sharpness_over_real"] == row["sharpness_over_decoded"] == 1.0
        assert row["psnr_db"] == pytest.approx(100.0)
        assert row["exchanged_over_true"] is None  # of no error
        same = ignorant["frames"][frame]
        assert same["floor_relative_error"] == same["exchanged_over_true"] == pytest.approx(1.0)
        assert same["regret"] == pytest.approx(repeated, rel=1e-5)
        assert same["energy_score_over_repeat"] == pytest.approx(1.0, rel=1e-5)  # eight times the same


def test_blur_loses_sharpness_and_a_lossy_autoencoder_is_the_floor(clips):
    row = measured(Turning(blur=True), clips, factor_clips=0, dream_clips=0)[0]["frames"]["1"]
    assert row["sharpness_over_real_high"] < 0.6 and row["decoded_sharpness_over_real"] == 1.0
    assert "energy_score" not in row and "exchanged_by_factor" not in row
    row = measured(Turning(lossy=True), clips, factor_clips=0, dream_clips=0)[0]["frames"]["2"]
    assert row["regret"] == row["regret_of_decoded"] > 0 and row["floor_relative_error"] == 0.0
    assert row["sharpness_over_decoded"] == 1.0 < row["sharpness_over_real"]


def test_exchanged_actions_hurt_by_those_that_matter(clips):
    figures, _ = measured(Turning(noise=0.03), clips)
    row = figures["frames"]["4"]
    assert row["exchanged_over_true_low"] > 2.0
    assert row["exchanged_by_factor"].keys() == {"turn", "call"}  # never is never another
    assert row["exchanged_by_factor"]["call"]["exchanged_over_true"] == 1.0
    assert row["exchanged_by_factor"]["turn"]["exchanged_over_true_low"] > 2.0
    led = clips.actions[:10, CONTEXT - 1 : CONTEXT + 1, 1]
    changed = (led != np.roll(led, 1, 0)).any(axis=1).sum()
    assert figures["frames"]["2"]["exchanged_by_factor"]["call"]["clips"] == changed < 10


def test_eight_dreams_of_a_noisy_model(clips):
    """Its mean is right, its noise too much: the corrected regret is minus its variance, where the world has none."""
    row = measured(Turning(noise=0.1), clips, factor_clips=0)[0]["frames"]["1"]
    assert row["spread_corrected_regret"] == pytest.approx(-0.01, rel=0.1)
    assert row["energy_score"] == pytest.approx(0.1 * (1 - np.sqrt(2) / 2), rel=0.1)
    noisy = np.clip(clips.frames + 25.5 * np.random.default_rng(1).normal(size=clips.frames.shape), 0, 255)
    noisy = np.concatenate([clips.frames[:, :CONTEXT], noisy[:, CONTEXT:]], 1).astype(np.uint8)
    row = measured(Turning(noise=0.1), Clip(noisy, clips.actions), factor_clips=0)[0]["frames"]["1"]
    assert abs(row["spread_corrected_over_repeat"]) < 0.02  # now it is calibrated
    assert row["regret"] == pytest.approx(0.1 * np.sqrt(2), rel=0.1)


def test_actions_are_read_off_the_frames_that_they_led_to(clips):
    """A judge that sees which way the picture went."""

    def recover(frames):
        before, after = frames[:, :-1].astype(int), frames[:, 1:].astype(int)
        apart = [np.abs(np.roll(before, shift, axis=3) - after).mean((2, 3, 4)) for shift in (0, 1, -1)]
        turn = np.argmin(apart, axis=0)
        return np.stack([turn, *np.zeros((2, *turn.shape), int)], axis=-1).astype(np.int32)

    follows, ignores = (measured(Turning(f), clips, recover, factor_clips=0)[0]["frames"] for f in (True, False))
    call = clips.actions[:, CONTEXT - 1 : CONTEXT + 3, 1]
    for row, steps in ((follows["1"], slice(0, 1)), (follows["4"], slice(2, 4))):
        off = 1 - call[:, steps].mean()
        expected = (1.0 + off / (1 + off) + 1.0) / 3  # turn; half of "off", which is all that is said; never
        assert row["action_f1"] == row["action_f1_ceiling"] == pytest.approx(expected)
        assert row["action_f1_low"] <= row["action_f1"] <= row["action_f1_high"]
        assert row["action_f1_floor"] < expected - 0.1
    assert ignores["4"]["action_f1_high"] < follows["4"]["action_f1_low"]
    assert "camera_l1" not in follows["4"]  # there is no camera


def test_retrieval_stability_and_the_sheet_of_longer_clips(clips, tmp_path, monkeypatch):
    rng = np.random.default_rng(3)
    actions = rng.integers(0, (3, 2, 1), (18, CONTEXT + 40, 3)).astype(np.int32)
    frames = [rng.integers(60, 200, (18, SIDE, SIDE, 3)).astype(np.uint8)]
    for t in range(CONTEXT + 39):
        frames.append(np.asarray(jax.vmap(turned)(frames[-1], actions[:, t])))
    long = Clip(np.stack(frames, 1), actions)
    parts = {"factor_clips": 0, "dream_clips": 0, "frames": 20, "long_clips": 18, "long_frames": 40}
    monkeypatch.setattr(dream_quality, "FRAMES", (1, 20, 40))
    figures, sheet = measured(Turning(), long, long=long, **parts)
    assert figures["retrieval_of_16_at_20"] == 1.0 == figures["share_stable_at_40"]
    assert figures["frames"].keys() == {"1", "20", "40"} and "exchanged_over_true" not in figures["frames"]["40"]
    still, _ = measured(Turning(follows=False), long, long=long, **parts)
    assert still["share_stable_at_40"] == 0.0 and still["share_frozen_at_40"] == 1.0
    assert still["share_stable_at_40_of_real"] == 1.0
    assert sheet.frames == (0, 1, 20, 40) and sheet.real.shape == (16, 4, SIDE, SIDE, 3)
    assert write_sheet(tmp_path / "x.json", sheet).read_bytes()[8:12] == b"WEBP"


def test_the_sheet_takes_even_quantiles_from_best_to_worst():
    real = np.full((32, 3, 8, 8, 3), 100, np.uint8)
    off = np.random.default_rng(0).permutation(32)
    dreamt = real + off[:, None, None, None, None].astype(np.uint8)
    sheet = Sheet.of(real[:, :1], real, dreamt, (1, 2, 3, 4), 20)
    assert sheet.by == 3 and sheet.frames == (0, 1, 2, 3)
    np.testing.assert_array_equal(sheet.dreamt[:, 1, 0, 0, 0] - 100, np.arange(1, 33, 2))
    assert sheet.places[0] == 1 / 32 and list(sheet.psnr_db) == sorted(sheet.psnr_db, reverse=True)


def test_the_table_fits_a_terminal_and_takes_what_is_missing(clips):
    figures, _ = measured(Turning(noise=0.03), clips)
    head = {"name": "toy", "task": "turn", "step": 3, "steps": 9, "finished": False}
    text = table({**head, **figures})
    assert "toy: step 3 of 9, still training; 20 held-out clips" in text and max(map(len, text.splitlines())) <= 100
    assert text.count("\n    1  0.") == 1 and "Stable" not in text


def test_clips_lie_apart_and_sizes_are_cut_to_the_episodes(tmp_path):
    with StoreWriter(tmp_path / "store", SPEC, (4, 4, 3)) as writer:
        for _ in range(3):
            writer.add_episode(np.zeros((30, 4, 4, 3), np.uint8), np.zeros((30, 3), np.int32))
    store = ClipStore.open(tmp_path / "store")
    found = []
    spread = types.SimpleNamespace(path="x", starts=store.starts, gather=lambda starts, length: found.append(starts))
    spread_clips(spread, [0, 2], 5, 10, seed=0)
    assert sorted(found[0]) == [0, 10, 20, 69, 80] and list(found[0]) != sorted(found[0])
    spread_clips(spread, [0], 99, 10, seed=0)
    assert len(found[1]) == 21  # no more than there are
    with pytest.raises(UsageError, match="no held-out episode of x has 31 frames"):
        spread_clips(spread, [0], 5, 31, seed=0)
    cut = within(Sizes(), Turning(), CONTEXT, 30)
    assert (cut.frames, cut.dream_frames, cut.long_clips) == (28, 20, 0)
    assert within(Sizes(), Turning(), CONTEXT, 102) == Sizes()
    with pytest.raises(UsageError, match="episodes of at most 2 frames are too short"):
        within(Sizes(), Turning(), CONTEXT, 2)
