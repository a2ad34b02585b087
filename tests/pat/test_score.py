"""Regret, running statistics and the composite score against numpy."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from prowl_jax.pat.score import (
    composite_score,
    latent_regret,
    welford_init,
    welford_update,
    z_score,
)

update = jax.jit(welford_update)


def test_regret_is_the_root_mean_square_over_frames_grid_and_channels():
    rng = np.random.default_rng(0)
    predicted, real = rng.normal(size=(2, 2, 3, 4, 5, 6))  # [..., H=3, h=4, w=5, C=6] each
    h, n_lat, c = 3, 4 * 5, 6
    expected = [np.sqrt(np.sum((p - r) ** 2) / (h * c * n_lat)) for p, r in zip(predicted, real, strict=True)]
    np.testing.assert_allclose(latent_regret(jnp.array(predicted), jnp.array(real)), expected, rtol=1e-5)


def test_regret_of_half_precision_is_computed_in_single():
    real = jnp.zeros((3, 8, 8, 16), jnp.bfloat16)
    regret = latent_regret(real + jnp.bfloat16(0.5), real)
    assert regret.dtype == jnp.float32 and regret == 0.5


@settings(deadline=None, max_examples=40)
@given(
    values=st.lists(
        st.tuples(st.floats(-100, 100, width=32), st.floats(0, 20, width=32), st.booleans()), max_size=14
    )
)
def test_running_statistics_equal_those_of_the_whole(values):
    stats = welford_init(2)
    for start in range(0, len(values), 4):
        rows = values[start : start + 4]
        rows = rows + [(np.nan, np.inf, False)] * (4 - len(rows))
        valid = np.array([v for *_, v in rows])
        pairs = np.array([[r, a] if v else [np.nan, np.inf] for r, a, v in rows], np.float32)
        stats = update(stats, pairs, valid)
    seen = np.array([[r, a] for r, a, v in values if v], np.float64).reshape(-1, 2)
    assert stats.count == len(seen)
    if len(seen):
        np.testing.assert_allclose(stats.mean, seen.mean(axis=0), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(stats.m2, seen.var(axis=0) * len(seen), rtol=1e-3, atol=1e-2)
    else:
        assert not np.asarray(stats.m2).any()


def test_running_statistics_do_not_cancel_far_from_zero():
    rng = np.random.default_rng(1)
    values = (1000.0 + rng.normal(size=(40, 4, 2)) * 0.1).astype(np.float32)
    stats = welford_init(2)
    for batch in values:
        stats = update(stats, batch, np.ones(4, bool))
    expected = values.astype(np.float64).reshape(-1, 2).std(axis=0)
    np.testing.assert_allclose(np.sqrt(stats.m2 / stats.count), expected, rtol=0.01)


def test_z_score_has_a_floor_under_the_deviation():
    assert z_score(3.0, 1.0, 4.0) == 0.5
    assert z_score(1.0, 1.0, 0.0) == 0.0
    np.testing.assert_allclose(z_score(2.0, 1.0, 0.0, epsilon=0.1), 10.0)


def test_composite_score_by_hand():
    score = composite_score(
        raw={"afs": jnp.array([2.0, 5.0]), "regret": jnp.array([0.9, 0.5])},
        changes={"regret": jnp.array([0.0, -0.3])},
        mean=jnp.array([0.7, 3.0]),
        std=jnp.array([0.1, 2.0]),
        weights=(("regret", 1.0), ("afs", 0.25)),
        change_weights=(("regret", 2.0),),
    )
    np.testing.assert_allclose(score, [2.0 - 0.125, -2.0 + 0.25 - 0.6], rtol=1e-5)
