"""What a configuration asks for is measured, on the frames and actions that belong together."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.configs.quickstart import get_config
from experiments.evaluation import frame_metrics
from prowl_jax.envs.vizdoom import action_spec
from prowl_jax.metrics import frechet
from prowl_jax.metrics.lpips import ALEXNET, features, lpips
from prowl_jax.models.published import lpips_weights, torch_layout
from prowl_jax.types import RealClip

pytest.importorskip("safetensors")
SPEC, CONTEXT, HORIZON, CLIPS = action_spec(8.0), 2, 3, 4


@pytest.fixture
def run():
    config = get_config("scratch")
    config.env.update(frame_height=32, frame_width=40)
    return types.SimpleNamespace(config=config)


def clips(seed=0):
    rng = np.random.default_rng(seed)
    time = CONTEXT + HORIZON
    frames = rng.integers(0, 256, (CLIPS, time, 32, 40, 3), dtype=np.uint8)
    actions = rng.integers(0, SPEC.sizes, (CLIPS, time, len(SPEC.sizes))).astype(np.int32)
    return RealClip(np.zeros((CLIPS, time)), actions, frames, np.zeros((CLIPS, HORIZON, 1, 1, 2)))


def dreams(seed=1):
    return np.random.default_rng(seed).integers(0, 256, (CLIPS, HORIZON, 32, 40, 3), dtype=np.uint8)


def test_nothing_is_measured_unasked(run):
    metrics = frame_metrics.make_frame_metrics(run)
    assert metrics.per_clip == () and metrics.rows(dreams(), clips()) == {} and metrics.ceilings(clips(), 2) == {}


@pytest.fixture
def weights(run, tmp_path):
    """A narrow AlexNet and heads, which the run names; returns its parameters."""
    rng, arrays, channels = np.random.default_rng(2), {}, 3
    for i, (number, side) in enumerate(((0, 11), (3, 5), (6, 3), (8, 3), (10, 3))):
        arrays[f"features.{number}.weight"] = rng.normal(size=(4, channels, side, side)).astype(np.float32) / side
        arrays[f"features.{number}.bias"] = np.zeros(4, np.float32)
        arrays[f"lin{i}.model.1.weight"] = rng.uniform(size=(1, 4, 1, 1)).astype(np.float32)
        channels = 4
    run.config.metrics.lpips_weights = str(tmp_path / "lpips_alexnet.safetensors")
    torch_layout.save(run.config.metrics.lpips_weights, arrays, {})
    return lpips_weights.from_published(arrays)[1]


def test_lpips_is_a_mean_over_the_predicted_frames(run, weights):
    metrics, items, dreamt = frame_metrics.make_frame_metrics(run), clips(), dreams()
    assert metrics.per_clip == ("lpips_alexnet",)
    real = items.frames[:, CONTEXT:]
    expected = [
        np.mean([lpips(ALEXNET, weights, a / 255.0, b / 255.0) for a, b in zip(*pair, strict=True)])
        for pair in zip(dreamt, real, strict=True)
    ]
    np.testing.assert_allclose(metrics.rows(dreamt, items)["lpips_alexnet"], expected, rtol=1e-4)
    np.testing.assert_allclose(metrics.rows(real, items)["lpips_alexnet"], 0.0, atol=1e-12)


def test_the_frechet_distance_is_named_after_its_network_and_needs_enough_frames(run, weights):
    run.config.metrics.frechet = "lpips_trunk"
    metrics, items, dreamt = frame_metrics.make_frame_metrics(run), clips(), dreams()
    rows = metrics.rows(dreamt, items)

    def moments(frames):
        last = features(ALEXNET, weights, frames.reshape(-1, 32, 40, 3) / 255.0)[-1]
        return frechet.moments_of(np.asarray, [np.asarray(last).mean(axis=(1, 2))])

    expected = frechet.frechet_distance(moments(dreamt), moments(items.frames[:, CONTEXT:]))
    (name, value), = metrics.of_set(rows, items).items()
    assert name == "frechet_alexnet" and value.keys() == {"all"} and expected > 0
    np.testing.assert_allclose(value["all"], expected, rtol=1e-2)
    one = {name: row[:1] for name, row in rows.items()}  # three frames, four features
    assert metrics.of_set(one, jax.tree.map(lambda x: x[:1], items)) == {}


def test_the_action_that_led_to_each_dreamt_frame_is_asked_for():
    """A judge that knows the truth of the real clips, by their pixels: what it says must be perfect."""
    items = clips()
    marked = items.frames.copy()
    for clip, actions in zip(marked, items.actions, strict=True):
        for t in range(1, len(clip)):
            clip[t].reshape(-1)[: actions.shape[1]] = actions[t - 1]  # a frame shows what led to it
    items = RealClip(items.latents, items.actions, marked, items.flow)
    seen = []

    def recover(frames):
        seen.append(np.asarray(frames))
        return jnp.asarray(frames[:, 1:].reshape(*frames.shape[:1], -1, 32 * 40 * 3)[..., : len(SPEC.sizes)], jnp.int32)

    metrics = frame_metrics.FrameMetrics([frame_metrics.action_recovery_part(SPEC, recover)])
    ceilings = metrics.ceilings(items, 3)
    assert ceilings["action_f1"] == 1.0 and ceilings["camera_l1"] == 0.0 and "tasks" not in ceilings
    np.testing.assert_array_equal(np.concatenate(seen), items.frames[:, CONTEXT - 1 :])
    rows = metrics.rows(np.zeros_like(items.frames[:, CONTEXT:]), items)
    scores = metrics.of_set(rows, items)
    assert scores["action_f1"]["all"] < 1.0 and scores["camera_l1"]["all"] > 0
    assert metrics.per_clip == ()  # scores of a set, not of a clip
