"""The loop as one program against the same loop step by step around a host environment."""

import dataclasses
import importlib.util
import pathlib
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from prowl_jax.envs.device import DeviceVectorEnv, keys
from prowl_jax.metrics import action_follow
from prowl_jax.models.policies.small import Policy, PolicyNetwork
from prowl_jax.rl.ppo import PPOConfig
from prowl_jax.train import adversary, curriculum, disagreement
from prowl_jax.train.curriculum import Curriculum, PATItem
from prowl_jax.train.one_program import Demonstrations, Plan, make_collect, make_program
from prowl_jax.train.state import init_state
from prowl_jax.train.world_model import split_trainable

spec = importlib.util.spec_from_file_location("device_toy", pathlib.Path(__file__).with_name("device_toy.py"))
device_toy = importlib.util.module_from_spec(spec)
spec.loader.exec_module(device_toy)
Ring = device_toy.Ring

CONTEXT, HORIZON, WARM_UP, ROWS, CYCLES = 2, 4, 3, 4, 2
TIME = CONTEXT + HORIZON
POLICY = Policy(PolicyNetwork(Ring.spec.sizes, features=8, memory=2, hidden=8))
LOOP = Curriculum(context=CONTEXT, horizon=HORIZON, window=4, updates=2, batch=4, score_batch=4, ema_decay=0.5)
TUNER = optax.adam(1e-2)
COLLECT = make_collect(POLICY, length=TIME, warm_up=WARM_UP)


@pytest.fixture(scope="module", autouse=True)
def cheap_flow():
    """Optical flow is tested elsewhere; here the change of two colours stands for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(action_follow, "optical_flow", lambda first, second: (second - first)[..., :2])
        yield


def ring(length=7):
    """An episode of 7 steps ends 4 steps into a trajectory that begins after 3."""
    return Ring(jnp.int32(200), jnp.int32(length))


@pytest.fixture(scope="module")
def bench(tiny, random_params):
    """Everything a run needs: ``start(seed)`` -> (state, fixed, reference), programs, data, plan."""
    ppo = adversary.make_update(
        POLICY, TUNER, adversary.Adversary(PPOConfig(kl_cost=0.1), epochs=1, minibatches=2)
    )
    programs = curriculum.make_programs(tiny.model, tiny.forcing, TUNER, LOOP, ppo)
    trained, frozen = split_trainable(tiny.params["dit"])
    shape = jax.ShapeDtypeStruct
    example = PATItem(
        shape((TIME, 2, 2, 3), jnp.float32), shape((TIME, 2), jnp.int32),
        shape((TIME, 16, 16, 3), jnp.uint8), shape((HORIZON, 16, 16, 2), jnp.float16),
    )  # fmt: skip
    reference = random_params(POLICY.init, (16, 16, 3))
    rng = np.random.default_rng(0)
    data = Demonstrations(
        jnp.asarray(rng.normal(size=(30, 2, 2, 3)), jnp.float32),
        jnp.asarray(np.stack([rng.integers(0, n, 30) for n in Ring.spec.sizes], -1), jnp.int32),
    )

    def start(seed=0):
        policy = jax.tree.map(lambda x: x + 0.01 * seed, reference)
        trained_copy = jax.tree.map(jnp.copy, trained)
        state = curriculum.init_loop(init_state(trained_copy, TUNER), init_state(policy, TUNER), example, 6)
        return state, tiny.params | {"dit": frozen}, jax.tree.map(jnp.copy, reference)

    def plan(cycles):
        seeds = np.stack([np.random.SeedSequence([5, c]).generate_state(ROWS) for c in cycles])
        starts = np.stack([np.random.default_rng(c).integers(0, 26, (2, LOOP.passive_rows)) for c in cycles])
        return Plan(keys(seeds.reshape(-1), seeds.size).reshape(seeds.shape), jnp.asarray(starts, jnp.int32), jnp.asarray(list(cycles), jnp.int32))

    return types.SimpleNamespace(programs=programs, start=start, data=data, plan=plan)


def host_loop(bench, env, cycles):
    """``run_cycle`` with ``adversary.collect`` on a ``HostEnv`` around the same environment."""
    state, fixed, reference = bench.start()
    act, host, metrics, trajectories = adversary.make_act(POLICY), DeviceVectorEnv(env, ROWS), [], []
    for cycle in cycles:
        collect_key, cycle_key = jax.random.split(jax.random.fold_in(jax.random.key(9), cycle))
        plan = bench.plan([cycle])
        seeds = np.random.SeedSequence([5, cycle]).generate_state(ROWS)

        def collect(params, seeds=seeds, key=collect_key):
            trajectory, _ = adversary.collect(
                host, act, POLICY, params, key, seeds=seeds, length=TIME, warm_up=WARM_UP, warm_up_params=reference
            )
            trajectories.append(trajectory)
            return trajectory

        passive = bench.data.clips(plan.passive_starts[0], LOOP.window)
        state, measured = curriculum.run_cycle(
            bench.programs, LOOP, state, fixed, reference, collect, passive, cycle_key
        )
        metrics.append({name: float(value) for name, value in measured.items()})
    return state, metrics, trajectories


def assert_close(one, other, **tolerance):
    for path, a in jax.tree_util.tree_leaves_with_path(one):
        b = other
        for step in path:
            b = getattr(b, step.name) if hasattr(step, "name") else b[getattr(step, "key", getattr(step, "idx", None))]
        np.testing.assert_allclose(np.asarray(b), np.asarray(a), err_msg=jax.tree_util.keystr(path), **tolerance)


@pytest.mark.parametrize("length", [7, 50])
def test_collecting_inside_a_program_gives_the_same_trajectories(bench, length):
    env = ring(length)
    seeds = np.arange(ROWS, dtype=np.uint32) + 3
    _, _, params = bench.start(seed=2)
    warm_up_params = bench.start()[2]
    ours = jax.jit(COLLECT)(env, params, warm_up_params, keys(seeds, ROWS), jax.random.key(4))
    theirs, _ = adversary.collect(
        DeviceVectorEnv(env, ROWS), adversary.make_act(POLICY), POLICY, params, jax.random.key(4), seeds=seeds,
        length=TIME, warm_up=WARM_UP, warm_up_params=warm_up_params,
    )  # fmt: skip
    for name in ("frames", "actions", "first", "valid", "broken"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name), err_msg=name)
    for name in ("log_prob", "value"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), atol=1e-6)
    np.testing.assert_array_equal(ours.events["event_home"], theirs.events["event_home"])
    assert ours.valid.all() == (length == 50)


def test_events_are_those_of_the_step_after_their_frame(bench):
    env, (_, _, params) = ring(50), bench.start()
    seen = jax.jit(COLLECT)(env, params, params, keys(np.arange(ROWS), ROWS), jax.random.key(4))
    columns = np.asarray(seen.frames[:, :, 0, :, 0]).argmax(-1)
    np.testing.assert_array_equal(seen.events["event_home"][:, :-1], columns[:, 1:] == 0)
    assert not seen.events["event_home"][:, -1].any()
    rates = curriculum.event_rates(seen)
    np.testing.assert_allclose(rates["event_home"], 1000 * (columns[:, 1:] == 0).mean(), rtol=1e-5)


@pytest.fixture(scope="module")
def program(bench):
    return make_program(bench.programs, LOOP, COLLECT)


@pytest.fixture(scope="module")
def in_one_call(bench):
    """(state, cycles) of two cycles in one call, and what streamed out meanwhile."""
    heard = []
    streaming = make_program(
        bench.programs, LOOP, COLLECT, on_cycle=lambda cycle, metrics: heard.append((int(cycle), metrics))
    )
    state, fixed, reference = bench.start()
    state, cycles = streaming(ring(9), bench.data, state, fixed, reference, bench.plan(range(CYCLES)), jax.random.key(9))
    jax.effects_barrier()
    return state, cycles, heard


def test_one_program_gives_the_numbers_of_the_loop_around_a_host_environment(bench, in_one_call):
    """Rounding may differ from program to program, no decision may: the actions are the same."""
    host_state, host_metrics, trajectories = host_loop(bench, ring(9), range(CYCLES))
    state, cycles, _ = in_one_call
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
    np.testing.assert_allclose(state.buffer.regret, host_state.buffer.regret, rtol=1e-4, atol=1e-5)
    assert int(state.cycle) == CYCLES and 0 < metrics["event_home"] < 1000


def test_an_ensemble_pays_the_policy_in_the_scores_place_on_either_path(bench, in_one_call):
    ensemble = disagreement.Ensemble((2, 2, 3), Ring.spec.sizes, members=3, width=8)

    def start(seed=0):
        state, *rest = bench.start(seed)
        return dataclasses.replace(state, ensemble=ensemble.init(jax.random.key(1))), *rest

    programs = dataclasses.replace(
        bench.programs,
        disagreement=disagreement.make_reward(ensemble, LOOP),
        fit_ensemble=disagreement.make_fit_cycle(ensemble),
    )
    paid = types.SimpleNamespace(programs=programs, start=start, data=bench.data, plan=bench.plan)
    host_state, host_metrics, _ = host_loop(paid, ring(9), range(CYCLES))
    state, fixed, reference = start()
    before = jax.tree.map(np.array, state.ensemble)
    program = make_program(programs, LOOP, COLLECT)
    state, cycles = program(ring(9), bench.data, state, fixed, reference, bench.plan(range(CYCLES)), jax.random.key(9))
    for name in ("disagreement", "ensemble_loss", "kl_to_reference", "regret"):
        np.testing.assert_allclose(cycles.metrics[name], [m[name] for m in host_metrics], rtol=1e-3, atol=1e-5)
    assert_close(host_state.phi.params, state.phi.params, rtol=1e-3, atol=1e-4)
    assert_close(host_state.ensemble.params, state.ensemble.params, rtol=1e-3, atol=1e-4)
    assert int(state.ensemble.step) - int(before.step) == CYCLES * LOOP.updates
    # In cycle 0 all is as without it but what the policy learned from.
    np.testing.assert_allclose(cycles.metrics["regret"][0], in_one_call[1].metrics["regret"][0], rtol=1e-5)
    other, own = (jax.tree.leaves(s.phi.params) for s in (in_one_call[0], state))
    assert any(np.abs(a - b).max() > 1e-3 for a, b in zip(other, own, strict=True))


def test_cycles_are_the_same_in_one_call_or_in_several(bench, program, in_one_call):
    state, fixed, reference = bench.start()
    for cycle in range(CYCLES):
        state, done = program(
            ring(9), bench.data, state, fixed, reference, bench.plan([cycle]), jax.random.key(9)
        )
        np.testing.assert_allclose(done.metrics["regret"][0], in_one_call[1].metrics["regret"][cycle], rtol=1e-4)
    assert_close(in_one_call[0].theta.params, state.theta.params, rtol=1e-3, atol=1e-4)
    assert program._cache_size() == 1


def test_a_cycle_says_whether_it_left_the_state_finite(bench, program):
    """The last frame is spoilt; only the second cycle learns from it."""
    spoilt = dataclasses.replace(bench.data, latents=bench.data.latents.at[29].set(jnp.nan))
    state, fixed, reference = bench.start()
    for cycle, finite in ((0, True), (1, False)):
        plan = bench.plan([cycle])
        if cycle == 1:
            plan = dataclasses.replace(plan, passive_starts=jnp.full_like(plan.passive_starts, 26))
        state, done = program(ring(9), spoilt, state, fixed, reference, plan, jax.random.key(9))
        assert done.finite.tolist() == [finite]


def test_seeds_run_side_by_side_under_vmap(bench, program):
    seed_keys, plan = jax.random.split(jax.random.key(1), 2), bench.plan([0])
    stack = lambda trees: jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)  # noqa: E731
    states, (fixed, _), references = zip(*[bench.start(seed) for seed in (0, 1)], strict=True)
    arguments = stack(states), fixed, stack(references)
    together = jax.vmap(program, in_axes=(None, None, 0, None, 0, None, 0))
    state, cycles = together(ring(50), bench.data, *arguments, plan, seed_keys)
    for i, key in enumerate(seed_keys):
        alone, fixed, reference = bench.start(seed=i)
        alone, done = program(ring(50), bench.data, alone, fixed, reference, plan, key)
        np.testing.assert_array_equal(cycles.actions[i], done.actions)
        np.testing.assert_allclose(cycles.metrics["regret"][i], done.metrics["regret"], rtol=1e-4)
        np.testing.assert_allclose(state.buffer.regret[i], alone.buffer.regret, rtol=1e-3, atol=1e-5)
    assert (cycles.actions[0] != cycles.actions[1]).any()


def test_metrics_stream_out_in_order(in_one_call):
    _, cycles, heard = in_one_call
    assert [cycle for cycle, _ in heard] == [1, 2]
    np.testing.assert_allclose([m["regret"] for _, m in heard], cycles.metrics["regret"], rtol=1e-6)


def test_nothing_goes_to_the_host_while_it_runs(bench, program):
    state, fixed, reference = bench.start()
    arguments = jax.tree.map(jnp.asarray, (ring(9), bench.data, state, fixed, reference))
    plan, key = bench.plan([0]), jax.random.key(9)
    with jax.transfer_guard("disallow"):
        state, _ = program(*arguments, plan, key)
        jax.block_until_ready(state)
    assert "callback" not in program.lower(*arguments[:2], *bench.start(), plan, key).as_text()
