"""Batches depend on (seed, step) alone; the background thread never hangs or reorders."""

import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prowl_jax.data.feeder import Feeder, batch_starts, process_share

STARTS = np.arange(100, 200) * 3


@given(seed=st.integers(0, 2**63), step=st.integers(0, 2**40), batch=st.integers(1, 64))
def test_batch_starts_is_pure_and_draws_from_starts(seed, step, batch):
    drawn = batch_starts(seed, step, STARTS, batch)
    assert drawn.shape == (batch,) and drawn.dtype == np.int64
    assert np.isin(drawn, STARTS).all()
    np.testing.assert_array_equal(drawn, batch_starts(seed, step, STARTS, batch))


def test_batches_are_uniform_and_independent_over_steps_and_seeds():
    drawn = np.stack([batch_starts(1, step, np.arange(100), 50) for step in range(2000)])
    counts = np.bincount(drawn.ravel(), minlength=100)
    chi2 = ((counts - 1000) ** 2 / 1000).sum()
    assert 55 < chi2 < 150  # 99 degrees of freedom: 55 and 150 are beyond 0.1 %
    assert len(np.unique(drawn, axis=0)) == 2000
    assert abs(np.corrcoef(drawn[1:].ravel(), drawn[:-1].ravel())[0, 1]) < 0.02
    other = np.stack([batch_starts(2, step, np.arange(100), 50) for step in range(2000)])
    assert abs(np.corrcoef(drawn.ravel(), other.ravel())[0, 1]) < 0.02


def test_large_batches_of_neighbouring_steps_do_not_overlap_as_streams():
    """A counter that the step merely offsets would make step k+1 repeat most of step k."""
    a, b = (batch_starts(0, step, np.arange(10**6), 4096) for step in (5, 6))
    assert np.isin(a, b).mean() < 0.02  # by chance 0.004


@pytest.mark.parametrize("starts, batch", [(np.zeros(0, int), 1), (np.zeros((2, 2), int), 1), (STARTS, 0)])
def test_bad_arguments_are_refused(starts, batch):
    with pytest.raises(ValueError):
        batch_starts(0, 0, starts, batch)


@given(share=st.integers(1, 20), count=st.integers(1, 16))
def test_shares_of_the_processes_make_up_the_batch(share, count):
    batch = batch_starts(3, 4, STARTS, share * count)
    parts = [batch[process_share(share * count, i, count)] for i in range(count)]
    assert {len(p) for p in parts} == {share}
    np.testing.assert_array_equal(np.concatenate(parts), batch)


@pytest.mark.parametrize("arguments", [(5, 0, 2), (4, 2, 2), (4, -1, 2), (4, 0, 0)])
def test_bad_shares_are_refused(arguments):
    with pytest.raises(ValueError):
        process_share(*arguments)


def test_a_resumed_feeder_gives_the_tail_of_the_unbroken_one():
    def fetch(step):
        return {"starts": batch_starts(7, step, STARTS, 8)}

    with Feeder(fetch, 0) as unbroken, Feeder(fetch, 13, prefetch=5) as resumed:
        whole = [next(unbroken)["starts"] for _ in range(30)]
        tail = [next(resumed)["starts"] for _ in range(17)]
    np.testing.assert_array_equal(whole[13:], tail)


def test_order_holds_when_fetching_takes_uneven_time():
    def fetch(step):
        time.sleep(0.002 * (step % 3))
        return step

    with Feeder(fetch, 100, prefetch=3) as feeder:
        assert [item for _, item in zip(range(30), feeder, strict=False)] == list(range(100, 130))


@pytest.mark.parametrize("prefetch", [1, 2, 4])
def test_it_fetches_ahead_by_as_many_as_allowed_and_no_more(prefetch):
    fetched = []
    with Feeder(lambda step: fetched.append(step), 0, prefetch=prefetch) as feeder:
        for taken in range(5):
            deadline = time.monotonic() + 5
            while len(fetched) < taken + prefetch and time.monotonic() < deadline:
                time.sleep(0.001)
            time.sleep(0.01)
            assert len(fetched) == taken + prefetch
            next(feeder)


def test_an_exception_comes_after_the_batches_before_it():
    def fetch(step):
        if step == 3:
            raise OSError("disk gone")
        return step

    got = []
    with pytest.raises(OSError, match="disk gone"), Feeder(fetch, 0) as feeder:
        got.extend(feeder)
    assert got == [0, 1, 2]
    with pytest.raises(OSError, match="disk gone"):
        next(feeder)  # it stays broken and does not hang


@pytest.mark.parametrize("take", [0, 1, 3])
def test_leaving_early_ends_the_thread(take):
    with Feeder(lambda step: step, 0, prefetch=2) as feeder:
        for _ in range(take):
            next(feeder)
        thread = feeder._thread
    assert not thread.is_alive()
    feeder.close()
    with pytest.raises(StopIteration):
        next(feeder)


def test_leaving_by_an_exception_in_the_loop_ends_the_thread():
    before = threading.active_count()
    with pytest.raises(KeyError), Feeder(lambda step: step, 0) as feeder:
        next(feeder)
        raise KeyError("in the consumer")
    assert threading.active_count() == before


def test_prefetch_is_checked():
    with pytest.raises(ValueError, match="prefetch"):
        Feeder(lambda step: step, 0, prefetch=0)
