"""AFS-EPE by hand, and on frames that move too little."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from prowl_jax.metrics.action_follow import afs_epe, flow_of_frames
from prowl_jax.metrics.optical_flow import optical_flow


def test_is_the_mean_end_point_error():
    rng = np.random.default_rng(0)
    predicted, real = rng.normal(size=(2, 2, 3, 4, 5, 2))
    expected = [
        sum(np.hypot(*(p[t, y, x] - r[t, y, x])) for t in range(3) for y in range(4) for x in range(5)) / 60
        for p, r in zip(predicted, real, strict=True)
    ]
    np.testing.assert_allclose(afs_epe(predicted, real), expected, rtol=1e-5)
    assert afs_epe(jnp.array([3.0, 4.0]).reshape(1, 1, 1, 2), jnp.zeros((1, 1, 1, 2))) == 5.0


def panning(speeds):
    """Clips ``[n, 3, 48, 64, 3]`` of one texture that pans right by so many pixels a frame."""
    noise = np.random.default_rng(1).normal(size=(48, 100, 3))
    image = ndimage.gaussian_filter(noise, (2, 2, 0))
    image = (image - image.min()) / np.ptp(image)
    frames = [
        [np.clip(ndimage.shift(image, (0, s * t, 0), order=3), 0, 1)[:, 18:-18] for t in range(3)]
        for s in speeds
    ]
    return np.array(frames, np.float32)


def test_a_prediction_that_moves_too_little_is_off_by_what_is_missing():
    real, predicted = panning([4.0, 4.0, 4.0, -3.0]), panning([4.0, 2.5, 0.0, 3.0])
    real_flow = flow_of_frames(real, optical_flow)
    assert real_flow.shape == (4, 2, 48, 64, 2)
    score = afs_epe(flow_of_frames(predicted, optical_flow), real_flow)
    assert score[0] == 0.0
    np.testing.assert_allclose(score, [0.0, 1.5, 4.0, 6.0], atol=0.15)


def test_flows_that_do_not_fit_are_refused():
    with pytest.raises(AssertionError):
        afs_epe(jnp.zeros((8, 48, 64, 2)), jnp.zeros((9, 48, 64, 2)))


def test_no_flow_is_assumed():
    with pytest.raises(TypeError, match="flow"):
        flow_of_frames(jnp.zeros((9, 48, 64, 3)))
