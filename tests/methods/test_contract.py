"""What every method promises (``methods.base``), held by one test for all of them."""

import dataclasses

import device_toy
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny_world import BUDGET, Recorded, shared_by, start_of

from prowl_jax.envs.device import keys
from prowl_jax.methods import METHODS, acting
from prowl_jax.methods.base import Found, Needs
from prowl_jax.methods.grpo import GRPO
from prowl_jax.methods.one_program import Demonstrations, Plan, make_program
from prowl_jax.models.policies.small import Policy, PolicyNetwork
from prowl_jax.train.mesh import make_mesh
from prowl_jax.train.sharding import LOOP_RULES, shard_state

ENV = device_toy.Ring(jnp.int32(200), jnp.int32(50))

ROWS, WARM_UP = 4, 1
POLICY = Policy(PolicyNetwork(ENV.spec.sizes, features=8, memory=2, hidden=8))
SPENT = dataclasses.replace(BUDGET, trajectories=ROWS, warm_up=WARM_UP, ema_decay=0.5)


@dataclasses.dataclass
class Bench:
    """A method with where it begins, its data, and ``plan(cycle)``."""

    method: object
    start: object
    data: Demonstrations

    def begin(self):
        return self.method.init(self.start, jax.random.key(1))

    def plan(self, cycle):
        rng, needs = np.random.default_rng(cycle), self.method.needs()
        starts = rng.integers(0, 30 - needs.length, (1, SPENT.updates, needs.rows))
        seeds = np.random.SeedSequence(cycle).generate_state(ROWS)
        return Plan(keys(seeds, ROWS)[None], jnp.asarray(starts, jnp.int32), jnp.array([cycle], jnp.int32))


@pytest.fixture(scope="module", params=METHODS)
def bench(request, tiny, random_params):
    cls, rng = METHODS[request.param], np.random.default_rng(0)
    method = cls(cls.Config(), shared_by(tiny, optax.adam(1e-2), POLICY, SPENT))
    actions = np.stack([rng.integers(0, n, 30) for n in ENV.spec.sizes], -1)
    latents = rng.normal(size=(30, 2, 2, 3))
    data = Demonstrations(jnp.asarray(latents, jnp.float32), jnp.asarray(actions, jnp.int32))
    return Bench(method, start_of(tiny, random_params(POLICY.init, (16, 16, 3))), data)


@pytest.fixture(scope="module")
def from_python(bench):
    """(state before, after, metrics) of one cycle called from Python."""
    state, plan, needs = bench.begin(), bench.plan(0), bench.method.needs()
    collect_key, cycle_key = jax.random.split(jax.random.fold_in(jax.random.key(9), 0))
    collect = jax.jit(acting.make_collect(POLICY, length=SPENT.clip, warm_up=WARM_UP))
    trajectory = None
    if needs.acts:
        phi = POLICY.with_fresh_value(bench.start.reference)
        trajectory = collect(ENV, phi, bench.start.reference, plan.env_keys[0], collect_key)
    before = jax.tree.map(np.array, state)
    source = Recorded(trajectory, bench.data.clips(plan.passive_starts[0], needs.length))
    state, metrics = bench.method.cycle(state, bench.start, source, cycle_key)
    assert bool(source.asked) == bool(source.final) == needs.acts
    return before, state, metrics


def test_a_cycle_trains_the_world_model_and_nothing_that_is_fixed(bench, from_python):
    before, state, metrics = from_python
    assert isinstance(bench.method.needs(), Needs)
    assert jax.tree.structure(before) == jax.tree.structure(state)
    assert all(value.shape == () and np.isfinite(value) for value in metrics.values())
    # GRPO's is an expected advantage, of either sign; all others are errors.
    assert metrics["world_model_loss"] > 0 or isinstance(bench.method, GRPO)
    assert int(state.theta.step) == SPENT.updates
    params, whole = bench.method.world_model_params(state, bench.start), bench.start.fixed
    moved = {
        path: not np.array_equal(leaf, kept)
        for (path, leaf), kept in zip(
            jax.tree_util.tree_leaves_with_path(params["dit"]), jax.tree.leaves(_merged(bench.start)), strict=True
        )
    }
    trained = len(jax.tree.leaves(bench.start.trained))
    assert 0 < sum(moved.values()) <= trained < len(moved)
    assert params["autoencoder"] is whole["autoencoder"]


def _merged(start):
    from prowl_jax.train.state import merge

    return merge(start.trained, start.fixed["dit"])


def test_one_program_gives_what_it_gives_from_python(bench, from_python):
    program = make_program(bench.method)
    state, done = program(ENV, bench.data, bench.begin(), bench.start, bench.plan(0), jax.random.key(9))
    assert done.finite.tolist() == [True] and done.metrics.keys() == from_python[2].keys()
    assert (done.actions is None) == (not bench.method.needs().acts)
    for name, value in from_python[2].items():
        np.testing.assert_allclose(done.metrics[name][0], value, rtol=2e-4, atol=2e-5, err_msg=name)
    for a, b in zip(jax.tree.leaves(state.theta.params), jax.tree.leaves(from_python[1].theta.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_on_a_mesh_it_gives_the_same(bench, from_python):
    mesh = make_mesh(devices=jax.devices()[:1])
    state = shard_state(mesh, bench.begin(), LOOP_RULES)
    method, plan, needs = bench.method.on_mesh(mesh, state), bench.plan(0), bench.method.needs()
    collect_key, cycle_key = jax.random.split(jax.random.fold_in(jax.random.key(9), 0))
    trajectory = None
    if needs.acts:
        collect = jax.jit(acting.make_collect(POLICY, length=SPENT.clip, warm_up=WARM_UP))
        phi = POLICY.with_fresh_value(bench.start.reference)
        trajectory = collect(ENV, phi, bench.start.reference, plan.env_keys[0], collect_key)
    source = Recorded(trajectory, bench.data.clips(plan.passive_starts[0], needs.length))
    _, metrics = method.cycle(state, bench.start, source, cycle_key)
    for name, value in from_python[2].items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-5, err_msg=name)


def test_what_is_asked_of_a_method_is_answered(bench, from_python):
    _, state, _ = from_python
    method = bench.method
    spent = method.spent()
    assert spent.keys() == {"environment_steps", "world_model_updates", "world_model_tokens", "dreamt_latents"}
    assert (spent["environment_steps"] > 0) == method.needs().acts and spent["world_model_updates"] == SPENT.updates
    found = method.found(state)
    if found is not None:
        assert isinstance(found, Found) and "score" in found.columns
        assert {len(column) for column in found.columns.values()} == {len(found.clips.actions)}
    policy = method.policy(state)
    assert policy is None or jax.tree.structure(policy) == jax.tree.structure(bench.start.reference)
    assert dataclasses.is_dataclass(method.Config) and method.Config() == method.config
