"""GRPO is on policy: what learns is what dreamt, until the first update."""

import dataclasses

import jax
import numpy as np
import optax
import pytest
from tiny_world import BUDGET, Recorded, shared_by, start_of

from prowl_jax.methods.grpo import GRPO, Config
from prowl_jax.types import Batch

CYCLES = 2


@pytest.fixture(scope="module")
def cycles(tiny):
    """Metrics of two cycles of one update each: what an update says is of the parameters before it."""
    budget = dataclasses.replace(BUDGET, updates=1, batch=4, ema_decay=0.5)
    method = GRPO(Config(branches=2, prefix=0, reward="regret"), shared_by(tiny, optax.adam(1e-2), budget=budget))
    rng, start, found = np.random.default_rng(0), start_of(tiny), []
    needs = method.needs()
    actions = np.stack([rng.integers(0, n, (1, needs.rows, needs.length)) for n in (3, 5)], -1).astype(np.int32)
    clips = Batch(rng.normal(size=(1, needs.rows, needs.length, 2, 2, 3)).astype(np.float32), actions)
    state = method.init(start, jax.random.key(0))
    for cycle in range(CYCLES):
        state, metrics = method.cycle(state, start, Recorded(None, clips), jax.random.key(cycle))
        found.append(jax.tree.map(float, metrics))
    return found


def test_before_the_first_update_the_ratio_is_1_and_there_is_no_kl(cycles):
    first = cycles[0]
    assert first["kl_to_reference"] <= 1e-12  # two programs: equal to rounding
    assert first["ratio_from_1"] < 1e-5 and first["clip_fraction"] == 0.0
    # The mean advantage of whole groups, each centred, with a ratio of 1.
    assert first["world_model_loss"] == pytest.approx(0.0, abs=1e-4)
    assert first["idle_groups"] == 0.0 and first["reward_spread"] > 0


def test_a_cycle_later_it_dreams_with_what_it_learned_and_the_reference_stays(cycles):
    """The dreams are those of the parameters in training, not of their average, which lags."""
    second = cycles[1]
    assert second["kl_to_reference"] > 1e-6
    assert second["ratio_from_1"] < 1e-5


def test_dreamt_anew_before_every_update_all_updates_are_on_policy(tiny):
    """Two updates a cycle: of the second, the branches are those of what the first learned."""
    rng, start = np.random.default_rng(0), start_of(tiny)
    found = {}
    for every in (0, 1):
        config = Config(branches=2, prefix=0, reward="regret", fresh_every=every)
        budget = dataclasses.replace(BUDGET, updates=2, batch=4, ema_decay=0.5)
        method = GRPO(config, shared_by(tiny, optax.adam(1e-2), budget=budget))
        needs = method.needs()
        actions = np.stack([rng.integers(0, n, (2, needs.rows, needs.length)) for n in (3, 5)], -1).astype(np.int32)
        clips = Batch(rng.normal(size=(2, needs.rows, needs.length, 2, 2, 3)).astype(np.float32), actions)
        state = method.init(start, jax.random.key(0))
        state, found[every] = method.cycle(state, start, Recorded(None, clips), jax.random.key(1))
        assert int(state.theta.step) == 2 and int(state.cycle) == 1
    assert found[1]["ratio_from_1"] < 1e-5 < found[0]["ratio_from_1"]
    assert found[1]["kl_to_reference"] > 1e-6, "the second update knows what the first did"


def test_rounds_divide_a_cycle(tiny):
    with pytest.raises(ValueError, match=r"grpo\.fresh_every=3 does not divide .* phase2\.updates=2"):
        GRPO(Config(branches=2, prefix=0, reward="regret", fresh_every=3), shared_by(tiny, optax.adam(1e-2)))
