"""A dream that lives passes; one that stands, fades, turns grey, or changes its colours is told by its own name."""

import numpy as np
import pytest

from prowl_jax.metrics.stability import faults, windows_of

CLIPS, FRAMES = 12, 40


@pytest.fixture(scope="module")
def real():
    """Textures of several brightnesses and contrasts that move by a pixel a frame: uint8 ``[B, T, 16, 16, 3]``."""
    rng = np.random.default_rng(0)
    clips = []
    for i in range(CLIPS):
        picture = 110 + 3 * i + (30 + 2 * i) * rng.normal(size=(16, 16, 3))
        clips.append([np.roll(picture, t, axis=1) for t in range(FRAMES)])
    return np.clip(clips, 0, 255).astype(np.uint8)


def named(dreamt, real):
    found = faults(dreamt, real, window=10)
    assert all(values.shape == (CLIPS,) for values in found.values())
    return {name for name, values in found.items() if values.mean() > 0.5}


def smooth(frames):
    """Neighbours averaged four times, the contrast as it was."""
    x = frames.astype(float)
    for axis in (2, 3) * 4:
        x = (x + np.roll(x, 1, axis)) / 2
    mean = x.mean(axis=(2, 3), keepdims=True)
    gain = frames.std(axis=(2, 3), keepdims=True) / x.std(axis=(2, 3), keepdims=True)
    return np.clip(mean + gain * (x - mean), 0, 255).astype(np.uint8)


def test_each_fault_by_its_name(real):
    elsewhere = np.roll(real, 1, axis=0)  # another real clip is no fault
    assert named(elsewhere, real) == set()
    still = real.copy()
    still[:, 20:] = still[:, 20:21]
    assert named(still, real) == {"frozen"}
    assert named(smooth(real), real) == {"washed_out"}
    green = real.copy()
    green[..., 1] = np.clip(green[..., 1].astype(int) + 70, 0, 255)
    assert named(green, real) == {"drifted"}
    grey = (120 + (real.astype(float) - 120) / 4).astype(np.uint8)
    assert named(grey, real) >= {"drifted"}  # no contrast, and as sharp for it as before
    assert "washed_out" not in named(grey, real)


def test_only_the_end_is_judged(real):
    early = real.copy()
    early[:, :20] = 0
    assert named(early, real) == set()


def test_windows_are_counted_from_the_end(real):
    found = windows_of(real[:, :25], 10)
    frames = real[0, 15:25] / 255.0
    assert found.motion.shape == (CLIPS, 2) and found.colours.shape == (CLIPS, 2, 3)
    np.testing.assert_allclose(found.motion[0, -1], np.abs(np.diff(frames, axis=0)).mean(), rtol=1e-5)
    np.testing.assert_allclose(found.colours[0, -1], frames.mean(axis=(0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(found.contrast[0, -1] ** 2, frames.var(axis=(1, 2)).mean(), rtol=1e-4)
    steps = np.square(np.diff(frames, axis=1)).mean() + np.square(np.diff(frames, axis=2)).mean()
    np.testing.assert_allclose(found.sharpness[0, -1], steps / frames.var(axis=(1, 2)).mean(), rtol=1e-4)


def test_clips_that_are_shorter_than_a_window(real):
    with pytest.raises(ValueError, match="clips of 5 frames have no windows of 10"):
        windows_of(real[:, :5], 10)
    with pytest.raises(ValueError, match="are no pairs"):
        faults(real[:, :20], real, window=10)
