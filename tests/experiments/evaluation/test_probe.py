"""What rewards tell apart, of toy models of which it is known, and of rewards that are easily fooled."""

import jax
import numpy as np
import pytest
from toy_world_model import Turning
from turning_bench import CLIPS, CONTEXT, SPEC, bench_of

from experiments.evaluation import probe
from prowl_jax.rewards.inverse_dynamics import NAME


def darkness(params, dream):
    """What a pixel reward is hacked by, as a reward."""
    return -dream.frames.mean((-4, -3, -2, -1))


@pytest.fixture(scope="module")
def perfect():
    return probe.measure(bench_of(Turning(), darkness=darkness), resamples=200)


@pytest.fixture(scope="module")
def ignorant():
    return probe.measure(bench_of(Turning(follows=False)), resamples=200)


def test_a_dream_that_is_right_is_worth_what_is_real_and_one_of_other_actions_is_not(perfect):
    row = perfect["rewards"]["regret"]
    assert row["error"] and row["kinds"]["exact"] == {"mean": 0.0, "deviation": 0.0}
    exact = row["distances"]["exact"]
    assert exact["dreamt"]["value"] == exact["relabelled"]["value"] == exact["relabelled"]["wins"] == 0.0
    assert row["exact_beats_wrong_action"] and exact["wrong_action"]["value"] > 2 and exact["wrong_action"]["wins"] == 1
    assert row["distances"]["dreamt"]["wrong_action"] == pytest.approx(exact["wrong_action"])
    assert row["verdict"][0].endswith("more than two") and "NOT" not in row["verdict"][0]
    assert "relabelled 0.0" in row["verdict"][2] and "dimmed" not in row["verdict"][2]


def test_who_ignores_actions_dreams_the_same_of_wrong_ones(ignorant):
    row = ignorant["rewards"]["regret"]
    assert row["kinds"]["dreamt"] == row["kinds"]["wrong_action"] == row["kinds"]["static"]
    assert row["distances"]["dreamt"]["wrong_action"]["value"] == 0.0
    assert row["verdict"][1] == "dreamt beats wrong_action by 0.0 (0.0, 0.0) deviations: NOT more than two"


def test_a_judge_of_actions_notices_that_a_real_clip_is_told_others(perfect):
    bench = bench_of(Turning())
    led = bench.led()
    other = np.roll(led, 1, axis=0)
    heard = np.stack([led[..., 0], np.zeros_like(led[..., 1])], axis=-1)
    kinds = perfect["rewards"][NAME]["kinds"]
    for kind, told in (("exact", led), ("relabelled", other), ("dreamt", led)):
        right = (heard == told).mean((1, 2))
        assert kinds[kind]["mean"] == pytest.approx(right.mean())
        assert kinds[kind]["deviation"] == pytest.approx(right.std(), abs=1e-6)
    wrong = np.stack([other[..., 0], np.zeros_like(led[..., 1])], axis=-1)
    assert kinds["wrong_action"]["mean"] == pytest.approx((wrong == led).mean())
    still = np.zeros_like(led)
    assert kinds["static"]["mean"] == pytest.approx((still == led).mean())


def test_a_reward_that_darkening_raises_is_named(perfect):
    found = {name: row["verdict"] for name, row in perfect["rewards"].items()}
    assert found["darkness"][-1].startswith("darkening a dream RAISES its worth (dreamt_dimmed -")
    assert "darkened" in found["darkness"][3] and "shuffled" not in found["darkness"][3]
    assert found["regret"][-1].startswith("darkening a dream does not raise its worth")
    assert "shuffled" in found["darkness"][2], "the light says nothing of the order"


def test_the_table_says_it_all(perfect):
    text = probe.table(perfect)
    assert text.startswith(f"toy, step 3: {CLIPS} held-out clips of turn, 4 frames") and "no judge" not in text
    words = " ".join(text.split())
    assert all(sentence in words for row in perfect["rewards"].values() for sentence in row["verdict"])
    assert max(map(len, text.splitlines())) <= 120


def test_how_clips_are_made_worse():
    rng = np.random.default_rng(1)
    real, dreamt, wrong = rng.integers(0, 256, (3, 2, 5, 16, 14, 3)).astype(np.uint8)
    orders = np.array([[1, 0, 2, 3, 4], [4, 3, 2, 0, 1]])
    made = {k: np.asarray(x) for k, x in jax.jit(probe.versions)(real[:, :1], real, dreamt, wrong, orders).items()}
    assert set(made) == set(probe.KINDS) and all(x.dtype == np.uint8 and x.shape == real.shape for x in made.values())
    np.testing.assert_array_equal(made["static"], np.repeat(real[:, :1], 5, 1))
    np.testing.assert_array_equal(made["shuffled"][1], real[1, orders[1]])
    np.testing.assert_array_equal(made["reversed"][:, 0], real[:, -1])
    np.testing.assert_allclose(made["dreamt_darkened"], 0.7 * dreamt.astype(float), atol=0.51)
    np.testing.assert_array_equal(made["wrong_action"], wrong)
    shown = np.full((2, 1, 31, 31, 3), 90, np.uint8)  # nothing, and a spot
    shown[1] = 0
    shown[1, 0, 15, 15] = 255
    flat, spot = np.asarray(jax.jit(probe.blurred)(shown), float)[:, 0, :, :, 0]
    np.testing.assert_array_equal(flat, 90)
    gaussian = np.exp(-0.5 * (np.arange(3) / probe.BLUR) ** 2)
    np.testing.assert_allclose(spot[15, 15:18] / spot[15, 15], gaussian, atol=0.1)
    assert all((probe._order(rng, 3) != np.arange(3)).any() for _ in range(20))


@pytest.mark.parametrize(
    ("more", "value", "wins"), [([1.0, 3.0], 2.0, 1.0), ([2.0, 2.0], 99.0, 1.0), ([-1.0, -1.0], -99.0, 0.0),
                                ([1e-9, -2e-9], 0.0, 0.0), ([4.0, -2.0], 1 / 3, 0.5)]
)  # fmt: skip
def test_distances_in_deviations(more, value, wins):
    found = probe.distance(np.array(more), 1e-6, 50)
    assert found["value"] == pytest.approx(value) and found["wins"] == wins and np.isfinite(found["high"])


def test_the_last_batch_is_filled_up_and_not_counted():
    bench = bench_of(Turning())
    parts = list(bench.batches(4))
    assert [count for *_, count in parts] == [4, 4, 2] and bench.frames == 4 and bench.seen == CONTEXT
    clips = np.concatenate([some.actions[:n] for some, _, n in parts])
    exchanged = np.concatenate([other.actions[:n] for _, other, n in parts])
    np.testing.assert_array_equal(clips, bench.clips.actions)
    np.testing.assert_array_equal(exchanged[:, : CONTEXT - 1], clips[:, : CONTEXT - 1])
    np.testing.assert_array_equal(exchanged[1:, CONTEXT - 1 :], clips[:-1, CONTEXT - 1 :])
    assert clips.shape[-1] == len(SPEC.factors)
