"""The rivals of the buffer's benchmark do the same work, and a fitted exponent is the law's."""

import jax
import numpy as np
import pytest

from experiments.benchmarks import buffer, growth

CAPACITY = 64


@pytest.mark.parametrize("power", [-1.0, 0.0, 0.5, 1.0, 2.0])
def test_the_exponent_of_an_exact_power_law(power):
    sizes = np.array([3.0, 6.0, 12.0, 50.0])
    assert growth.exponent(sizes, 0.07 * sizes**power) == pytest.approx(power, abs=1e-9)


def test_device_and_host_keep_the_same_entries_and_draw_by_the_same_scores():
    item = buffer.example_item(8)
    device, host = buffer.DeviceBuffer(item, CAPACITY), buffer.HostBuffer(item, CAPACITY)
    for _ in range(3):  # the third insertion displaces entries of the first
        device.insert()
        host.insert()
        np.testing.assert_allclose(np.sort(device.buffer.raw["regret"]), np.sort(host.regret), rtol=1e-6)
    scores = buffer.pat.scores(device.buffer, buffer.SCORING)
    expected = host._scores(host.regret, host.afs, host.previous)
    np.testing.assert_allclose(np.sort(scores), np.sort(expected), rtol=1e-4, atol=1e-5)
    assert sum(int(leaf[0].any()) for leaf in map(np.asarray, jax.tree.leaves(device.buffer.items))) == 4
    drawn = np.concatenate([host.sample() for _ in range(20)])
    best = np.argsort(-host.regret)[: buffer.OFFERED]
    assert np.isin(drawn, best).mean() > 0.4 and len(set(drawn)) > 10


def test_real_items_are_those_of_the_quick_start_and_small_ones_an_eighth():
    full, small = buffer.example_item(), buffer.example_item(8)
    assert jax.tree.map(lambda x: x.dtype, full) == jax.tree.map(lambda x: x.dtype, small)
    assert full.frames.shape == (10, 48, 64, 3) and small.frames.shape == (10, 6, 8, 3)
