"""Several trajectories from the same state: on the device, around a host, and a cycle that is paid by them."""

import dataclasses

import device_toy
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny_world import BUDGET, shared_by

from prowl_jax.envs.device import DeviceVectorEnv, keys
from prowl_jax.methods.acting import collect, make_act, make_collect
from prowl_jax.methods.base import acting_cost, equal_trajectories
from prowl_jax.methods.branches import weigh_branches
from prowl_jax.models.policies.small import Policy, PolicyNetwork

ENV = device_toy.Ring(jnp.int32(200), jnp.int32(50))

POLICY = Policy(PolicyNetwork(ENV.spec.sizes, features=8, memory=2, hidden=8))
TIME, WARM_UP, STATES, BRANCHES = 5, 4, 3, 2
SEEDS = np.repeat(np.arange(STATES), BRANCHES)
KEY = jax.random.key(4)


@pytest.fixture(scope="module")
def policies(random_params):
    """Parameters of the reference, and of another."""
    first = random_params(POLICY.init, (16, 16, 3))
    return first, jax.tree.map(lambda x: x + 0.05, first)


def on_device(policies, **settings):
    act = make_collect(POLICY, length=TIME, warm_up=WARM_UP, **settings)
    reference, params = policies
    return jax.jit(act)(ENV, params, reference, keys(SEEDS, len(SEEDS)), KEY)


@pytest.fixture(scope="module")
def branched(policies):
    return {led: on_device(policies, branches=BRANCHES, reference_leads=led) for led in (False, True)}


def test_branches_begin_alike_and_then_go_their_ways(branched):
    frames = np.asarray(branched[False].frames).reshape(STATES, BRANCHES, TIME, 16, 16, 3)
    np.testing.assert_array_equal(frames[:, 0, 0], frames[:, 1, 0])
    assert any((frames[g, 0] != frames[g, 1]).any() for g in range(STATES))
    assert len({frame.tobytes() for frame in frames[:, 0, 0]}) > 1, "all groups began in one state"


@pytest.mark.parametrize("led", [False, True])
def test_a_host_that_replays_the_warm_up_gives_the_same(policies, branched, led):
    reference, params = policies
    theirs, warm_up = collect(
        DeviceVectorEnv(ENV, len(SEEDS)), make_act(POLICY), POLICY, params, KEY, seeds=SEEDS, length=TIME,
        warm_up=WARM_UP, warm_up_params=reference, branches=BRANCHES, reference_leads=led,
    )  # fmt: skip
    np.testing.assert_array_equal(warm_up[::2], warm_up[1::2])
    assert len(np.unique(warm_up[::2].reshape(STATES, -1), axis=0)) > 1
    for name in ("frames", "actions", "first", "valid"):
        np.testing.assert_array_equal(getattr(theirs, name), getattr(branched[led], name), err_msg=name)
    for name in ("log_prob", "value"):
        np.testing.assert_allclose(getattr(theirs, name), getattr(branched[led], name), atol=1e-6)


def test_the_reference_acts_the_first_of_each_and_no_other(policies, branched):
    reference, _ = policies
    by_reference = on_device((reference, reference), branches=BRANCHES)
    for name in ("frames", "actions", "log_prob", "value"):
        ours, plain = (np.asarray(getattr(branched[led], name)) for led in (True, False))
        np.testing.assert_allclose(ours[1::2], plain[1::2], rtol=1e-6, err_msg=name)  # two programs: to rounding
        np.testing.assert_allclose(ours[::2], getattr(by_reference, name)[::2], atol=1e-6, err_msg=name)
    assert (np.asarray(branched[True].log_prob)[::2] != np.asarray(branched[False].log_prob)[::2]).any()


def test_one_branch_is_what_there_was_without(policies):
    jax.tree.map(np.testing.assert_array_equal, on_device(policies), on_device(policies, branches=1))


def test_a_budget_has_whole_groups_and_counts_a_warm_up_once(tiny):
    budget = dataclasses.replace(BUDGET, trajectories=8, warm_up=10)
    shared = shared_by(tiny, optax.sgd(1.0), None, budget)
    steps, few = 8 * (shared.trajectory_length - 1), {"warm_up": 1, "steps": 9}
    assert acting_cost(shared) == 80 + steps
    assert acting_cost(dataclasses.replace(shared, budget=dataclasses.replace(budget, branches=4))) == 20 + steps
    assert equal_trajectories(64, 4, warm_up=30, steps=9) == 152  # 152 * 9 + 38 * 30 = 2508, 64 * 39 = 2496
    assert equal_trajectories(64, 4, warm_up=30, steps=9, parts=16) == 144 and equal_trajectories(2, 4, **few) == 4
    assert equal_trajectories(64, 4, warm_up=0, steps=9) == 64 == equal_trajectories(64, 1, warm_up=30, steps=9)
    with pytest.raises(ValueError, match="whole groups"):
        dataclasses.replace(budget, branches=3)
    with pytest.raises(ValueError, match="of 2 or more"):
        dataclasses.replace(budget, branch_baseline="siblings")


def test_what_is_paid_and_what_the_start_decides_of_it():
    rng = np.random.default_rng(0)
    reward = (np.repeat(10 * rng.normal(size=40), 4) + rng.normal(size=160)).astype(np.float32)
    valid = np.ones(160, bool)
    budget = dataclasses.replace(BUDGET, trajectories=160, branches=4, branch_baseline="siblings")
    worth, learned, metrics = weigh_branches(reward, valid, budget)
    assert metrics["reward_of_start"] > 0.97 and learned.all()
    np.testing.assert_allclose(worth.var(), metrics["reward_within_starts"] * 3 / 4, rtol=1e-4)
    led = dataclasses.replace(budget, branch_baseline="reference")
    above = reward + np.tile([0, 5, 5, 5], 40).astype(np.float32)
    _, learned, metrics = weigh_branches(above, valid, led)
    assert float(metrics["reward_over_reference"]) == pytest.approx(5, abs=0.6) and learned.sum() == 120
    assert metrics["reward_of_start"] > 0.97, "the reference's row is no sibling"
