"""Whole cycles of PROWL on the smallest real models, with recorded trajectories for an environment."""

import dataclasses
import gc

import jax
import jax.numpy as jnp
import numpy as np
import optax
import psutil
import pytest

from prowl_jax.metrics import action_follow
from prowl_jax.models.policies.small import Policy, PolicyNetwork
from prowl_jax.pat import buffer as pat
from prowl_jax.rl.ppo import PPOConfig
from prowl_jax.train import adversary, curriculum
from prowl_jax.train.curriculum import Curriculum, PATItem
from prowl_jax.train.state import init_state, merge
from prowl_jax.train.world_model import split_trainable
from prowl_jax.types import Batch, Trajectory

CONTEXT, HORIZON, SIZES = 2, 4, (3, 5)
TIME = CONTEXT + HORIZON
ROWS, CAPACITY = 3, 5
POLICY = Policy(PolicyNetwork(SIZES, features=8, memory=2, hidden=8))
LOOP = Curriculum(
    context=CONTEXT,
    horizon=HORIZON,
    window=4,
    updates=2,
    batch=4,
    score_batch=4,
    scoring=pat.Scoring(delta_scale=2.0),
)
TUNER, PPO_OPTIMIZER = optax.adam(1e-2), optax.adam(1e-2)


@pytest.fixture(scope="module", autouse=True)
def cheap_flow():
    """Optical flow is tested elsewhere; here the change of two colours stands for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(action_follow, "optical_flow", lambda first, second: (second - first)[..., :2])
        yield


def trajectories(cycle):
    """What was collected in a cycle. In cycle 1 an episode ended inside the last trajectory."""
    rng = np.random.default_rng(cycle)
    actions = np.stack([rng.integers(0, n, (ROWS, TIME)) for n in SIZES], axis=-1).astype(np.int32)
    frames = rng.integers(0, 256, (ROWS, TIME, 16, 16, 3)).astype(np.uint8)
    first = np.zeros((ROWS, TIME), bool)
    first[:, 0] = True
    log_prob, value = np.full((ROWS, TIME), -np.log(15.0), np.float32), np.zeros((ROWS, TIME), np.float32)
    return Trajectory(frames, actions, first, log_prob, value, np.arange(ROWS) < (2 if cycle == 1 else 3))


@pytest.fixture(scope="module")
def programs(tiny):
    ppo = adversary.make_update(
        POLICY, PPO_OPTIMIZER, adversary.Adversary(PPOConfig(kl_cost=0.1), epochs=1, minibatches=1)
    )
    return curriculum.make_programs(tiny.model, tiny.forcing, TUNER, LOOP, ppo)


@dataclasses.dataclass
class Run:
    """Two cycles: the policies that collected, the states around each cycle, the metrics, and how
    many versions of each program had been compiled by then."""

    reference: dict
    asked: list
    states: list
    metrics: list
    compiled: dict


def beginning(tiny, random_params):
    """(state before the first cycle, fixed parameters, the reference's)."""
    trained, frozen = split_trainable(tiny.params["dit"])
    fixed = tiny.params | {"dit": frozen}
    reference = random_params(POLICY.init, (16, 16, 3))
    shape = jax.ShapeDtypeStruct
    example = PATItem(
        shape((TIME, 2, 2, 3), jnp.float32), shape((TIME, 2), jnp.int32),
        shape((TIME, 16, 16, 3), jnp.uint8), shape((HORIZON, 16, 16, 2), jnp.float16),
    )  # fmt: skip
    state = curriculum.init_loop(
        init_state(trained, TUNER), init_state(reference, PPO_OPTIMIZER), example, CAPACITY
    )
    return state, fixed, reference


def passive_batches(tiny, cycle):
    latents, actions = tiny.batch(4, seed=cycle)
    return Batch(latents.reshape(2, 2, *latents.shape[1:]), actions.reshape(2, 2, *actions.shape[1:]))


def two_cycles(tiny, random_params, programs, seed=0):
    state, fixed, reference = beginning(tiny, random_params)
    run = Run(reference, [], [jax.tree.map(np.array, state)], [], {})
    for cycle in range(2):

        def collect(params, cycle=cycle):
            run.asked.append(jax.tree.map(np.array, params))
            return trajectories(cycle)

        passive = passive_batches(tiny, cycle)
        key = jax.random.fold_in(jax.random.key(seed), cycle)
        state, metrics = curriculum.run_cycle(programs, LOOP, state, fixed, reference, collect, passive, key)
        run.states.append(jax.tree.map(np.array, state))
        run.metrics.append({name: float(value) for name, value in metrics.items()})
    present = {name: program for name, program in vars(programs).items() if program is not None}
    run.compiled = {name: program._cache_size() for name, program in present.items()}
    return run


@pytest.fixture(scope="module")
def prowl(tiny, random_params, programs):
    return two_cycles(tiny, random_params, programs)


def scores(tiny, programs, theta, items):
    """Regret and AFS of items under the world model with these trained parameters."""
    _, frozen = split_trainable(tiny.params["dit"])
    params = tiny.params | {"dit": merge(theta.params, frozen)}
    return tuple(map(np.asarray, programs.predict(params, items)[1:]))


def test_the_buffer_fills_and_leaves_out_what_is_invalid(prowl):
    empty, first, second = (state.buffer for state in prowl.states)
    assert not empty.filled.any()
    np.testing.assert_array_equal(first.filled, [True, True, True, False, False])
    np.testing.assert_array_equal(first.items.frames[:3], trajectories(0).frames)
    np.testing.assert_array_equal(second.filled, [True] * 5)
    np.testing.assert_array_equal(second.items.frames, [*trajectories(0).frames, *trajectories(1).frames[:2]])
    np.testing.assert_array_equal(second.inserted, [0, 0, 0, 1, 1])
    assert [m["dropped_trajectories"] for m in prowl.metrics] == [0, 1]
    assert [m["pat_filled"] for m in prowl.metrics] == [3, 5]
    assert [int(s.cycle) for s in prowl.states] == [0, 1, 2]


def test_delta_is_the_regret_now_less_the_regret_before(tiny, programs, prowl):
    """Negative where the world model got better; before is the model before this cycle's updates."""
    for cycle in (0, 1):
        buffer = prowl.states[cycle + 1].buffer
        before, _ = scores(tiny, programs, prowl.states[cycle].theta, buffer.items)
        now, afs = scores(tiny, programs, prowl.states[cycle + 1].theta, buffer.items)
        filled = buffer.filled
        np.testing.assert_allclose(buffer.regret[filled], now[filled], rtol=1e-5)
        np.testing.assert_allclose(buffer.previous_regret[filled], before[filled], rtol=1e-5)
        np.testing.assert_allclose(buffer.afs[filled], afs[filled], rtol=1e-4)
        change = (now - before)[filled]
        assert np.abs(change).min() > 1e-4, "nothing changed"
        np.testing.assert_allclose(pat.progress(buffer)[filled], change, atol=2e-6)
        np.testing.assert_allclose(prowl.metrics[cycle]["pat_mean_progress"], change.mean(), atol=2e-6)
        np.testing.assert_allclose(prowl.metrics[cycle]["pat_mean_regret"], now[filled].mean(), rtol=1e-5)


def test_the_regret_of_a_cycle_is_that_of_its_trajectories_before_the_update(tiny, programs, prowl):
    for cycle in (0, 1):
        items = programs.observe(tiny.params, trajectories(cycle))
        regret, afs = scores(tiny, programs, prowl.states[cycle].theta, items)
        valid = trajectories(cycle).valid
        np.testing.assert_allclose(prowl.metrics[cycle]["regret"], regret[valid].mean(), rtol=1e-5)
        np.testing.assert_allclose(prowl.metrics[cycle]["afs"], afs[valid].mean(), rtol=1e-4)


def test_the_return_is_the_composite_score_with_a_delta_of_zero(tiny, programs, prowl):
    """z-scores over all that was offered (the buffer is below its warm-up of 32)."""
    offered = []
    for cycle in (0, 1):
        valid = trajectories(cycle).valid
        items = programs.observe(tiny.params, trajectories(cycle))
        new = np.stack(scores(tiny, programs, prowl.states[cycle].theta, items), axis=1)[valid]
        offered.extend(new)
        z = (new - np.mean(offered, axis=0)) / np.std(offered, axis=0)
        expected = np.mean(z[:, 0] + 0.10 * z[:, 1])
        np.testing.assert_allclose(prowl.metrics[cycle]["return"], expected, atol=1e-3)


def test_the_policy_that_collects_is_the_latest(prowl):
    jax.tree.map(np.testing.assert_array_equal, prowl.asked[0], prowl.reference)
    jax.tree.map(np.testing.assert_array_equal, prowl.asked[1], prowl.states[1].phi.params)
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), prowl.asked[1], prowl.reference)
    assert any(jax.tree.leaves(moved))
    assert prowl.metrics[1]["kl_to_reference"] > 0.0 and prowl.metrics[1]["restored"] == 0.0


def test_the_control_differs_by_its_policy_alone(tiny, random_params, programs, prowl):
    """On the same trajectories the control's world model and buffer are the same bits, and phi rests."""
    control = two_cycles(tiny, random_params, dataclasses.replace(programs, ppo=None))
    for before, after in ((0, 1), (1, 2)):
        one, other = control.states[before], control.states[after]
        jax.tree.map(np.testing.assert_array_equal, one.phi, other.phi)
        jax.tree.map(np.testing.assert_array_equal, one.safe_phi, other.safe_phi)
    jax.tree.map(np.testing.assert_array_equal, control.states[2].theta, prowl.states[2].theta)
    jax.tree.map(np.testing.assert_array_equal, control.states[2].buffer, prowl.states[2].buffer)
    assert "kl_to_reference" not in control.metrics[0]
    shared = control.metrics[1].keys()
    assert control.metrics[1] == {name: prowl.metrics[1][name] for name in shared}


def test_the_same_key_gives_the_same_numbers_and_another_others(tiny, random_params, programs, prowl):
    again, other = (two_cycles(tiny, random_params, programs, seed) for seed in (0, 1))
    assert again.metrics == prowl.metrics
    jax.tree.map(np.testing.assert_array_equal, again.states[2], prowl.states[2])
    assert other.metrics[0]["regret"] == prowl.metrics[0]["regret"]  # scored before any chance is taken
    assert other.metrics[0]["world_model_loss"] != prowl.metrics[0]["world_model_loss"]


def test_every_program_is_compiled_once(prowl):
    assert prowl.compiled == {
        "observe": 1, "predict": 1, "ppo": 1, "insert": 1, "fine_tune": 1, "rescore": 1
    }  # fmt: skip


def test_many_cycles_compile_nothing_new_and_keep_nothing(tiny, random_params, programs):
    """After the first three: no program compiled, no array more on the device, no memory more in the process."""
    state, fixed, reference = beginning(tiny, random_params)
    compiled, process = [], psutil.Process()
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, *_, **__: compiled.append(name) if name.endswith("backend_compile_duration") else None
    )
    arrays, memory, counts = [], [], []
    for cycle in range(25):
        passive, key = passive_batches(tiny, cycle), jax.random.fold_in(jax.random.key(0), cycle)
        state, metrics = curriculum.run_cycle(
            programs, LOOP, state, fixed, reference, lambda _, cycle=cycle: trajectories(cycle), passive, key
        )
        assert np.isfinite([float(value) for value in metrics.values()]).all()
        del metrics, passive, key
        gc.collect()
        arrays.append(sum(x.nbytes for x in jax.live_arrays()))
        memory.append(process.memory_info().rss)
        counts.append(len(compiled))
    assert counts[2] == counts[-1], f"compiled in cycles {np.flatnonzero(np.diff(counts)) + 1}"
    assert len(set(arrays[3:])) == 1
    assert memory[-1] - memory[10] < 10e6, f"{(memory[-1] - memory[10]) / 1e6} MB more"
