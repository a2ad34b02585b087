"""Whole cycles of PROWL on the smallest real models, with recorded trajectories for an environment."""

import dataclasses
import gc

import jax
import numpy as np
import optax
import psutil
import pytest
from tiny_world import BUDGET, Recorded, shared_by, start_of

from prowl_jax.methods.base import predicting
from prowl_jax.methods.prowl import Composite, Config, Prowl
from prowl_jax.models.policies.small import Policy, PolicyNetwork
from prowl_jax.pat import buffer as pat
from prowl_jax.pat.rescoring import Rescoring
from prowl_jax.rl.ppo import PPOConfig
from prowl_jax.train.adversary import Adversary
from prowl_jax.types import Batch, Trajectory

CONTEXT, HORIZON, SIZES = BUDGET.context, BUDGET.horizon, (3, 5)
TIME = CONTEXT + HORIZON
ROWS, CAPACITY = 3, 5
POLICY = Policy(PolicyNetwork(SIZES, features=8, memory=2, hidden=8))
ADVERSARY = Adversary(learning_rate=1e-2, ppo=PPOConfig(kl_cost=0.1), epochs=1, minibatches=1)
CONFIG = Config(capacity=CAPACITY, scoring=pat.Scoring(changes={"regret": 2.0}), adversary=ADVERSARY)
TUNER = optax.adam(1e-2)


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
def method(tiny):
    return Prowl(CONFIG, shared_by(tiny, TUNER, POLICY))


@dataclasses.dataclass
class Run:
    """Two cycles: the policies that collected, the states around each cycle, the metrics, and how
    many versions of each program had been compiled by then."""

    reference: dict
    asked: list
    states: list
    metrics: list
    compiled: dict


def beginning(tiny, random_params, method):
    """(state before the first cycle, where it begins)."""
    start = start_of(tiny, random_params(POLICY.init, (16, 16, 3)))
    return method.init(start, jax.random.key(0)), start


def passive_batches(tiny, cycle):
    latents, actions = tiny.batch(4, seed=cycle)
    return Batch(latents.reshape(2, 2, *latents.shape[1:]), actions.reshape(2, 2, *actions.shape[1:]))


def two_cycles(tiny, random_params, method, seed=0):
    state, start = beginning(tiny, random_params, method)
    run = Run(start.reference, [], [jax.tree.map(np.array, state)], [], {})
    for cycle in range(2):
        source = Recorded(trajectories(cycle), passive_batches(tiny, cycle))
        key = jax.random.fold_in(jax.random.key(seed), cycle)
        state, metrics = method.cycle(state, start, source, key)
        run.asked.extend(jax.tree.map(np.array, source.asked))
        run.states.append(jax.tree.map(np.array, state))
        run.metrics.append({name: float(value) for name, value in metrics.items()})
    present = {name: program for name, program in vars(method.programs).items() if program is not None}
    run.compiled = {name: program._cache_size() for name, program in present.items()}
    return run


@pytest.fixture(scope="module")
def prowl(tiny, random_params, method):
    return two_cycles(tiny, random_params, method)


def scores(tiny, method, theta, items):
    """Regret and AFS of items under the world model with these averaged parameters."""
    raw = method.programs.score(predicting(theta, start_of(tiny)), items)
    return np.asarray(raw["regret"]), np.asarray(raw["afs"])


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


def test_delta_is_the_regret_now_less_the_regret_before(tiny, method, prowl):
    """Negative where the world model got better; before is the model before this cycle's updates."""
    for cycle in (0, 1):
        buffer = prowl.states[cycle + 1].buffer
        before, _ = scores(tiny, method, prowl.states[cycle].theta, buffer.items)
        now, afs = scores(tiny, method, prowl.states[cycle + 1].theta, buffer.items)
        filled = buffer.filled
        np.testing.assert_allclose(buffer.raw["regret"][filled], now[filled], rtol=1e-5)
        np.testing.assert_allclose(buffer.previous["regret"][filled], before[filled], rtol=1e-5)
        np.testing.assert_allclose(buffer.raw["afs"][filled], afs[filled], rtol=1e-4)
        change = (now - before)[filled]
        assert np.abs(change).min() > 1e-4, "nothing changed"
        np.testing.assert_allclose(pat.changes(buffer)["regret"][filled], change, atol=2e-6)
        np.testing.assert_allclose(prowl.metrics[cycle]["pat_mean_progress"], change.mean(), atol=2e-6)
        np.testing.assert_allclose(prowl.metrics[cycle]["pat_mean_regret"], now[filled].mean(), rtol=1e-5)


def test_the_regret_of_a_cycle_is_that_of_its_trajectories_before_the_update(tiny, method, prowl):
    for cycle in (0, 1):
        items = method.programs.observe(tiny.params, trajectories(cycle))
        regret, afs = scores(tiny, method, prowl.states[cycle].theta, items)
        valid = trajectories(cycle).valid
        np.testing.assert_allclose(prowl.metrics[cycle]["regret"], regret[valid].mean(), rtol=1e-5)
        np.testing.assert_allclose(prowl.metrics[cycle]["afs"], afs[valid].mean(), rtol=1e-4)


def test_the_return_is_the_composite_score_with_a_delta_of_zero(tiny, method, prowl):
    """z-scores over all that was offered (the buffer is below its warm-up of 32)."""
    offered = []
    for cycle in (0, 1):
        valid = trajectories(cycle).valid
        items = method.programs.observe(tiny.params, trajectories(cycle))
        new = np.stack(scores(tiny, method, prowl.states[cycle].theta, items), axis=1)[valid]
        offered.extend(new)
        z = (new - np.mean(offered, axis=0)) / np.std(offered, axis=0)
        expected = np.mean(z[:, 0] + 0.10 * z[:, 1])
        np.testing.assert_allclose(prowl.metrics[cycle]["return"], expected, atol=1e-3)


def test_the_policy_that_collects_is_the_latest(prowl):
    """Cycle 0's is the reference with a value head that knows nothing yet."""
    jax.tree.map(np.testing.assert_array_equal, prowl.asked[0], POLICY.with_fresh_value(prowl.reference))
    jax.tree.map(np.testing.assert_array_equal, prowl.asked[1], prowl.states[1].phi.params)
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), prowl.asked[1], prowl.reference)
    assert any(jax.tree.leaves(moved))
    assert prowl.metrics[1]["kl_to_reference"] > 0.0 and prowl.metrics[1]["restored"] == 0.0


def test_the_control_differs_by_its_policy_alone(tiny, random_params, method, prowl):
    """On the same trajectories the control's world model and buffer are the same bits, and phi rests."""
    resting = Prowl(dataclasses.replace(CONFIG, reward=None), method.shared)
    assert resting.programs.ppo is None
    state, _ = beginning(tiny, random_params, method)
    assert resting.policy(state) is None and method.policy(state) is state.phi.params
    control = two_cycles(tiny, random_params, resting)
    for before, after in ((0, 1), (1, 2)):
        one, other = control.states[before], control.states[after]
        jax.tree.map(np.testing.assert_array_equal, one.phi, other.phi)
        jax.tree.map(np.testing.assert_array_equal, one.safe_phi, other.safe_phi)
    jax.tree.map(np.testing.assert_array_equal, control.states[2].theta, prowl.states[2].theta)
    jax.tree.map(np.testing.assert_array_equal, control.states[2].buffer, prowl.states[2].buffer)
    assert "kl_to_reference" not in control.metrics[0]
    shared = control.metrics[1].keys()
    assert control.metrics[1] == {name: prowl.metrics[1][name] for name in shared}


def test_the_same_key_gives_the_same_numbers_and_another_others(tiny, random_params, method, prowl):
    again, other = (two_cycles(tiny, random_params, method, seed) for seed in (0, 1))
    assert again.metrics == prowl.metrics
    jax.tree.map(np.testing.assert_array_equal, again.states[2], prowl.states[2])
    assert other.metrics[0]["regret"] == prowl.metrics[0]["regret"]  # scored before any chance is taken
    assert other.metrics[0]["world_model_loss"] != prowl.metrics[0]["world_model_loss"]


def test_every_program_is_compiled_once(prowl):
    assert prowl.compiled == {
        "observe": 1, "score": 1, "ppo": 1, "insert": 1, "fine_tune": 1, "rescore": 1
    }  # fmt: skip


def test_many_cycles_compile_nothing_new_and_keep_nothing(tiny, random_params, method):
    """After the first three: no program compiled, no array more on the device, no memory more in the process."""
    state, start = beginning(tiny, random_params, method)
    compiled, process = [], psutil.Process()
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, *_, **__: compiled.append(name) if name.endswith("backend_compile_duration") else None
    )
    arrays, memory, counts = [], [], []
    for cycle in range(25):
        source = Recorded(trajectories(cycle), passive_batches(tiny, cycle))
        key = jax.random.fold_in(jax.random.key(0), cycle)
        state, metrics = method.cycle(state, start, source, key)
        assert np.isfinite([float(value) for value in metrics.values()]).all()
        del metrics, source, key
        gc.collect()
        arrays.append(sum(x.nbytes for x in jax.live_arrays()))
        memory.append(process.memory_info().rss)
        counts.append(len(compiled))
    assert counts[2] == counts[-1], f"compiled in cycles {np.flatnonzero(np.diff(counts)) + 1}"
    assert len(set(arrays[3:])) == 1
    assert memory[-1] - memory[10] < 10e6, f"{(memory[-1] - memory[10]) / 1e6} MB more"


def test_what_it_found_is_what_the_buffer_keeps(tiny, random_params, method):
    state, start = beginning(tiny, random_params, method)
    assert len(method.found(state).clips.actions) == 0
    source = Recorded(trajectories(1), passive_batches(tiny, 0))
    state, _ = method.cycle(state, start, source, jax.random.key(0))
    found = method.found(state)
    np.testing.assert_array_equal(found.clips.frames, trajectories(1).frames[:2])
    np.testing.assert_allclose(found.columns["regret"], state.buffer.raw["regret"][:2])
    assert set(found.columns) == {"score", "regret", "afs", "found in cycle", "last change of regret"}
    alone = Prowl(dataclasses.replace(CONFIG, pat_share=0.0), method.shared)
    assert alone.found(state) is None and alone.needs().rows == BUDGET.batch
    assert len(source.final) == 1 and source.final[0] is state.phi.params


def test_what_a_cycle_costs(method):
    # A token a latent of two by two; an environment gives a frame a step after the first.
    assert method.spent() == {
        "world_model_updates": 2, "world_model_tokens": 2 * 4 * 4,
        "environment_steps": 3 * 5, "dreamt_latents": (3 + 5) * 4,
    }  # fmt: skip
    fewer = dataclasses.replace(CONFIG, rescoring=Rescoring("due", rows=2))
    budget = dataclasses.replace(method.shared.budget, score_batch=2)
    cheap = Prowl(fewer, dataclasses.replace(method.shared, budget=budget))
    assert cheap.spent()["dreamt_latents"] == (3 + 2) * 4, "what waits is not dreamt"


def test_mistaken_settings_are_named(method):
    with pytest.raises(ValueError, match="prowl.pat_share=1.5 is not a share within 0..1"):
        Config(pat_share=1.5)
    with pytest.raises(ValueError, match="prowl.capacity=0 is not within 1.."):
        Config(capacity=0)
    with pytest.raises(ValueError, match="prowl asks for the rewards beauty; there are regret, afs"):
        Prowl(Config(reward="beauty"), method.shared)


def test_what_others_found_is_in_the_buffer_before_the_first_cycle(tiny, random_params, method):
    state, start = beginning(tiny, random_params, method)
    found = trajectories(1)
    taken = method.take_in(state, start, found)
    assert int(taken.buffer.filled.sum()) == 2 == int(found.valid.sum())  # an invalid row leaves no trace
    assert int(taken.cycle) == 0
    shown = {np.asarray(frames).tobytes() for frames in np.asarray(taken.buffer.items.frames)[:2]}
    assert shown == {frames.tobytes() for frames in found.frames[:2]}
    assert np.isfinite(np.asarray(taken.buffer.raw["regret"])[:2]).all()


def test_other_scores_ask_other_networks_and_tell_what_is_beyond_learning(tiny, random_params):
    """Energy pays and orders; the oracle is theta_0 itself, so that before the first update nothing is reducible."""
    watched = "reducible", "learning_progress"
    weights, changes = Composite(score="energy", watched=watched, lambda_afs=0.0, delta_scale=0.0).weights
    config = dataclasses.replace(CONFIG, scoring=pat.Scoring(weights, changes), score_dreams=2)
    method = Prowl(config, shared_by(tiny, TUNER, POLICY))
    assert method.spent()["dreamt_latents"] == 4 * Prowl(CONFIG, method.shared).spent()["dreamt_latents"]
    state, start = beginning(tiny, random_params, method)
    start = dataclasses.replace(start, fixed={**start.fixed, "oracle": tiny.params["dit"]})
    source = Recorded(trajectories(0), passive_batches(tiny, 0))
    state, metrics = method.cycle(state, start, source, jax.random.key(0))
    assert abs(metrics["reducible"]) < 1e-6 and abs(metrics["learning_progress"]) < 1e-6
    raw = {name: np.asarray(value)[:ROWS] for name, value in state.buffer.raw.items()}
    np.testing.assert_allclose(raw["reducible"], -raw["learning_progress"], atol=1e-6)  # a cycle ago it was the oracle
    assert np.abs(raw["learning_progress"]).min() > 1e-5 and (raw["energy"] > 0).all()
    assert {"pat_unlearnable", "pat_hard", "pat_reducible_share", "pat_mean_energy"} <= metrics.keys()
    own = pat.scores(state.buffer, config.scoring)[:ROWS]
    assert (np.argsort(own) == np.argsort(raw["energy"])).all(), "something but the energy orders the buffer"


def test_what_comes_first_weighs_1_and_may_be_afs():
    weights, changes = Composite(score="afs", lambda_afs=0.25, delta_scale=0.5).weights
    assert weights == {"regret": 0.0, "afs": 1.0} and changes == {"afs": 0.5}
    assert Composite(watched=("afs",), lambda_afs=0.25).weights[0] == {"regret": 1.0, "afs": 0.25}
