"""The loop as one program against the same loop step by step around a host environment."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from device_toy import Ring
from tiny_world import BUDGET, Recorded, shared_by, start_of

from prowl_jax.envs.device import DeviceVectorEnv, keys
from prowl_jax.methods import acting
from prowl_jax.methods.one_program import Demonstrations, Plan, make_program
from prowl_jax.methods.prowl import Config, Prowl
from prowl_jax.models.policies.small import Policy, PolicyNetwork
from prowl_jax.rewards.disagreement import Ensemble
from prowl_jax.rl.ppo import PPOConfig
from prowl_jax.train.adversary import Adversary

WARM_UP, ROWS, CYCLES = 3, 4, 2
TIME = BUDGET.clip
POLICY = Policy(PolicyNetwork(Ring.spec.sizes, features=8, memory=2, hidden=8))
SPENT = dataclasses.replace(BUDGET, trajectories=ROWS, warm_up=WARM_UP, ema_decay=0.5)
ADVERSARY = Adversary(learning_rate=1e-2, ppo=PPOConfig(kl_cost=0.1), epochs=1, minibatches=2)
CONFIG = Config(capacity=6, adversary=ADVERSARY)
TUNER = optax.adam(1e-2)
COLLECT = acting.make_collect(POLICY, length=TIME, warm_up=WARM_UP)


def ring(length=7):
    """An episode of 7 steps ends 4 steps into a trajectory that begins after 3."""
    return Ring(jnp.int32(200), jnp.int32(length))


@pytest.fixture(scope="module")
def bench(tiny, random_params):
    """Everything a run needs: a method, ``begin(method, seed)`` -> (state, start), data, ``plan(cycles)``."""
    shared = shared_by(tiny, TUNER, POLICY, SPENT)
    method = Prowl(CONFIG, shared)
    reference = random_params(POLICY.init, (16, 16, 3))
    rng = np.random.default_rng(0)
    data = Demonstrations(
        jnp.asarray(rng.normal(size=(30, 2, 2, 3)), jnp.float32),
        jnp.asarray(np.stack([rng.integers(0, n, 30) for n in Ring.spec.sizes], -1), jnp.int32),
    )

    def begin(method=method, seed=0):
        start = start_of(tiny, jax.tree.map(lambda x: x + 0.01 * seed, reference))
        return method.init(start, jax.random.key(1)), start

    def plan(cycles):
        seeds = np.stack([np.random.SeedSequence([5, c]).generate_state(ROWS) for c in cycles])
        rows = method.needs().rows
        starts = np.stack([np.random.default_rng(c).integers(0, 26, (2, rows)) for c in cycles])
        env_keys = keys(seeds.reshape(-1), seeds.size).reshape(seeds.shape)
        return Plan(env_keys, jnp.asarray(starts, jnp.int32), jnp.asarray(list(cycles), jnp.int32))

    return types.SimpleNamespace(method=method, begin=begin, data=data, plan=plan)


class Playing(Recorded):
    """A ``Source`` whose policy acts in a ``HostEnv``, as ``acting.collect`` lets it."""

    def __init__(self, host, seeds, key, reference, demonstrations):
        super().__init__(None, demonstrations)
        self._arguments = host, seeds, key, reference

    def act(self, params):
        host, seeds, key, reference = self._arguments
        self.trajectory, _ = acting.collect(
            host, acting.make_act(POLICY), POLICY, params, key, seeds=seeds, length=TIME, warm_up=WARM_UP,
            warm_up_params=reference,
        )  # fmt: skip
        return self.trajectory


def host_loop(bench, method, env, cycles):
    """The method called from Python, with a ``HostEnv`` around the same environment."""
    state, start = bench.begin(method)
    host, metrics, trajectories = DeviceVectorEnv(env, ROWS), [], []
    for cycle in cycles:
        collect_key, cycle_key = jax.random.split(jax.random.fold_in(jax.random.key(9), cycle))
        seeds = np.random.SeedSequence([5, cycle]).generate_state(ROWS)
        passive = bench.data.clips(bench.plan([cycle]).passive_starts[0], BUDGET.window)
        source = Playing(host, seeds, collect_key, start.reference, passive)
        state, measured = method.cycle(state, start, source, cycle_key)
        trajectories.append(source.trajectory)
        metrics.append({name: float(value) for name, value in measured.items()})
    return state, metrics, trajectories


def assert_close(one, other, **tolerance):
    for path, a in jax.tree_util.tree_leaves_with_path(one):
        b = other
        for step in path:
            b = getattr(b, step.name) if hasattr(step, "name") else b[getattr(step, "key", getattr(step, "idx", None))]
        np.testing.assert_allclose(np.asarray(b), np.asarray(a), err_msg=jax.tree_util.keystr(path), **tolerance)


@pytest.fixture(scope="module")
def program(bench):
    return make_program(bench.method)


@pytest.fixture(scope="module")
def in_one_call(bench, program):
    """(state, cycles) of two cycles in one call."""
    return program(ring(9), bench.data, *bench.begin(), bench.plan(range(CYCLES)), jax.random.key(9))


def test_one_program_gives_the_numbers_of_the_loop_around_a_host_environment(bench, in_one_call):
    """Rounding may differ from program to program, no decision may: the actions are the same."""
    host_state, host_metrics, trajectories = host_loop(bench, bench.method, ring(9), range(CYCLES))
    state, cycles = in_one_call
    for cycle, metrics in enumerate(host_metrics):
        np.testing.assert_array_equal(cycles.actions[cycle], trajectories[cycle].actions)
        assert metrics.keys() == cycles.metrics.keys()
        for name, value in metrics.items():
            np.testing.assert_allclose(cycles.metrics[name][cycle], value, rtol=2e-4, atol=2e-5, err_msg=name)
    assert_close(host_state.theta.params, state.theta.params, rtol=1e-3, atol=1e-4)
    assert_close(host_state.phi.params, state.phi.params, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(state.buffer.filled, host_state.buffer.filled)
    np.testing.assert_array_equal(state.buffer.items.actions, host_state.buffer.items.actions)
    np.testing.assert_array_equal(state.buffer.last_sampled, host_state.buffer.last_sampled)
    np.testing.assert_allclose(state.buffer.raw["regret"], host_state.buffer.raw["regret"], rtol=1e-4, atol=1e-5)
    assert int(state.cycle) == CYCLES and 0 < metrics["event_home"] < 1000


def test_an_ensemble_pays_the_policy_in_the_scores_place_on_either_path(bench, in_one_call):
    ensemble = Ensemble((2, 2, 3), Ring.spec.sizes, members=3, width=8)
    paid = Prowl(dataclasses.replace(CONFIG, reward="disagreement", ensemble=ensemble), bench.method.shared)
    host_state, host_metrics, _ = host_loop(bench, paid, ring(9), range(CYCLES))
    state, start = bench.begin(paid)
    before = jax.tree.map(np.array, state.ensemble)
    state, cycles = make_program(paid)(ring(9), bench.data, state, start, bench.plan(range(CYCLES)), jax.random.key(9))
    for name in ("disagreement", "ensemble_loss", "kl_to_reference", "regret"):
        np.testing.assert_allclose(cycles.metrics[name], [m[name] for m in host_metrics], rtol=1e-3, atol=1e-5)
    assert_close(host_state.phi.params, state.phi.params, rtol=1e-3, atol=1e-4)
    assert_close(host_state.ensemble.params, state.ensemble.params, rtol=1e-3, atol=1e-4)
    assert int(state.ensemble.step) - int(before.step) == CYCLES * BUDGET.updates
    # In cycle 0 all is as without it but what the policy learned from.
    np.testing.assert_allclose(cycles.metrics["regret"][0], in_one_call[1].metrics["regret"][0], rtol=1e-5)
    other, own = (jax.tree.leaves(s.phi.params) for s in (in_one_call[0], state))
    assert any(np.abs(a - b).max() > 1e-3 for a, b in zip(other, own, strict=True))


def test_cycles_are_the_same_in_one_call_or_in_several(bench, program, in_one_call):
    state, start = bench.begin()
    before = program._cache_size()
    for cycle in range(CYCLES):
        state, done = program(ring(9), bench.data, state, start, bench.plan([cycle]), jax.random.key(9))
        np.testing.assert_allclose(done.metrics["regret"][0], in_one_call[1].metrics["regret"][cycle], rtol=1e-4)
    assert_close(in_one_call[0].theta.params, state.theta.params, rtol=1e-3, atol=1e-4)
    assert program._cache_size() == before + 1, "one for two cycles in a call, one for one"


def test_a_cycle_says_whether_it_left_the_state_finite(bench, program):
    """The last frame is spoilt; only the second cycle learns from it."""
    spoilt = dataclasses.replace(bench.data, latents=bench.data.latents.at[29].set(jnp.nan))
    state, start = bench.begin()
    for cycle, finite in ((0, True), (1, False)):
        plan = bench.plan([cycle])
        if cycle == 1:
            plan = dataclasses.replace(plan, passive_starts=jnp.full_like(plan.passive_starts, 26))
        state, done = program(ring(9), spoilt, state, start, plan, jax.random.key(9))
        assert done.finite.tolist() == [finite]


def test_seeds_run_side_by_side_under_vmap(bench, program):
    seed_keys, plan = jax.random.split(jax.random.key(1), 2), bench.plan([0])
    stack = lambda trees: jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)  # noqa: E731
    states, starts = zip(*[bench.begin(seed=seed) for seed in (0, 1)], strict=True)
    together = jax.vmap(program, in_axes=(None, None, 0, 0, None, 0))
    state, cycles = together(ring(50), bench.data, stack(states), stack(starts), plan, seed_keys)
    for i, key in enumerate(seed_keys):
        alone, done = program(ring(50), bench.data, *bench.begin(seed=i), plan, key)
        np.testing.assert_array_equal(cycles.actions[i], done.actions)
        np.testing.assert_allclose(cycles.metrics["regret"][i], done.metrics["regret"], rtol=1e-4)
        np.testing.assert_allclose(state.buffer.raw["regret"][i], alone.buffer.raw["regret"], rtol=1e-3, atol=1e-5)
    assert (cycles.actions[0] != cycles.actions[1]).any()


def test_nothing_goes_to_the_host_while_it_runs(bench, program):
    arguments = jax.tree.map(jnp.asarray, (ring(9), bench.data, *bench.begin()))
    plan, key = bench.plan([0]), jax.random.key(9)
    with jax.transfer_guard("disallow"):
        state, _ = program(*arguments, plan, key)
        jax.block_until_ready(state)
    assert "callback" not in program.lower(*arguments[:2], *bench.begin(), plan, key).as_text()
