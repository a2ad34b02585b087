"""Parameters split by path, their average, and the optimiser's schedule as its updates show it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prowl_jax.train.state import (
    apply_gradients,
    count,
    init_state,
    make_optimizer,
    merge,
    split_by_path,
)

names = st.sampled_from(["cross_attention", "cross_norm", "self_attention", "kernel", "block_0"])
trees = st.recursive(
    st.integers(0, 99).map(lambda n: np.full(2, n)),
    lambda t: st.dictionaries(names, t, min_size=1),
    max_leaves=8,
)


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(names, trees, min_size=1))
def test_what_is_split_by_path_merges_again(params):
    chosen_names = ("cross_attention", "cross_norm")
    paths = ["/".join(k.key for k in path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    expected = [p for p in paths if set(p.split("/")) & set(chosen_names)]
    if not expected:
        with pytest.raises(
            ValueError, match="no parameter has any of cross_attention, cross_norm on its path"
        ):
            split_by_path(params, chosen_names)
        return
    chosen, rest = split_by_path(params, chosen_names)
    found = ["/".join(k.key for k in path) for path, _ in jax.tree_util.tree_leaves_with_path(chosen)]
    assert sorted(found) == sorted(expected)
    assert len(jax.tree.leaves(rest)) == len(paths) - len(expected)
    jax.tree.map(np.testing.assert_array_equal, merge(chosen, rest), params)


def test_part_of_a_name_is_not_the_name():
    chosen, rest = split_by_path({"head": np.zeros(1), "head_modulation": np.zeros(2)}, ["head"])
    assert list(chosen) == ["head"] and list(rest) == ["head_modulation"]


def test_nothing_frozen_merges_too():
    params = {"a": {"b": np.arange(3)}}
    jax.tree.map(np.testing.assert_array_equal, merge(params, {}), params)


def test_the_average_warms_up_and_then_follows_its_decay():
    optimizer, decay = optax.sgd(1.0), 0.5
    state = init_state({"w": jnp.zeros(2)}, optimizer)
    params, ema = np.zeros(2), np.zeros(2)
    for n in range(14):
        gradient = np.array([np.sin(n), 1.0])
        state = apply_gradients(state, {"w": jnp.asarray(gradient)}, optimizer, decay)
        params = params - gradient
        now = min(decay, (1 + n) / (10 + n))
        ema = now * ema + (1 - now) * params
        np.testing.assert_allclose(state.ema["w"], ema, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(state.params["w"], params, rtol=1e-5, atol=1e-6)
        assert int(state.step) == n + 1
    assert now == decay  # both sides of the minimum were seen


def test_without_a_decay_the_average_is_the_parameters():
    state = init_state({"w": jnp.ones(2)}, optax.sgd(0.1))
    for _ in range(3):
        state = apply_gradients(state, {"w": jnp.ones(2)}, optax.sgd(0.1))
    np.testing.assert_allclose(state.ema["w"], state.params["w"], rtol=1e-6)


def test_a_new_state_owns_its_arrays():
    """A donated state must not take the caller's parameters with it."""
    params = {"w": jnp.arange(3.0)}
    state = init_state(params, optax.sgd(0.1))
    jax.jit(lambda s: jax.tree.map(lambda x: x + 1, s), donate_argnums=0)(state)
    np.testing.assert_array_equal(params["w"], [0, 1, 2])


def rates(steps, optimizer):
    """Under a constant gradient Adam's normalised step is exactly 1, so updates show the rate."""
    params = {"w": jnp.zeros(3)}
    opt_state, seen = optimizer.init(params), []
    update = jax.jit(optimizer.update)
    for _ in range(steps):
        updates, opt_state = update({"w": jnp.full(3, 0.2)}, opt_state, params)
        seen.append(-float(updates["w"][0]))
    return seen


@pytest.mark.parametrize("warm_up, final", [(0, 0.0), (4, 0.1), (2, 1.0)])
def test_the_schedule_rises_linearly_and_falls_as_a_cosine(warm_up, final):
    steps, peak = 12, 0.3
    seen = rates(14, make_optimizer(peak, steps, warm_up=warm_up, final=final))
    for n, rate in enumerate(seen):
        if n < warm_up:
            expected = peak * n / warm_up
        else:
            done = min((n - warm_up) / (steps - warm_up), 1.0)
            expected = peak * (final + (1 - final) * 0.5 * (1 + np.cos(np.pi * done)))
        np.testing.assert_allclose(rate, expected, rtol=1e-3, atol=1e-5)


def test_a_warm_up_longer_than_the_run_is_cut():
    assert rates(3, make_optimizer(0.1, 3, warm_up=50)) == pytest.approx([0.0, 0.05, 0.1], rel=1e-3, abs=1e-6)
    assert rates(1, make_optimizer(0.1, 1, warm_up=50)) == pytest.approx([0.1], rel=1e-3)


def test_weight_decay_is_on_matrices_only():
    params = {"matrix": jnp.ones((2, 2)), "vector": jnp.ones(2)}
    optimizer = make_optimizer(0.1, 10, final=1.0, weight_decay=0.5)
    updates, _ = optimizer.update(jax.tree.map(jnp.zeros_like, params), optimizer.init(params), params)
    np.testing.assert_allclose(updates["matrix"], -0.1 * 0.5, rtol=1e-5)
    np.testing.assert_allclose(updates["vector"], 0.0)


def test_gradients_are_clipped_by_their_global_norm():
    """A long gradient counts as one of length 1, in the moments of later steps as well."""
    params = {"a": jnp.zeros(2), "b": jnp.zeros(1)}
    optimizer = make_optimizer(0.1, 10, final=1.0)
    long, short = jnp.array([300.0, 400.0]), jnp.array([0.1, -0.2])

    def second_update(first):
        _, state = optimizer.update({"a": first, "b": jnp.zeros(1)}, optimizer.init(params), params)
        return optimizer.update({"a": short, "b": jnp.zeros(1)}, state, params)[0]["a"]

    np.testing.assert_allclose(second_update(long), second_update(long / 500.0), rtol=1e-5)


def test_count():
    params = {"a": jnp.zeros((2, 3)), "b": [jax.ShapeDtypeStruct((4,), jnp.float32), np.zeros(())]}
    assert count(params) == 11
