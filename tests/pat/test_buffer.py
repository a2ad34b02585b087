"""The buffer against a brute-force twin in numpy, and the promises of its docstrings."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from prowl_jax.pat import buffer as pat
from prowl_jax.pat.priority import Priority
from prowl_jax.pat.score import latent_regret

AFS_WEIGHT = 0.25
SCORING = pat.Scoring({"regret": 1.0, "afs": AFS_WEIGHT}, warm_up=3)
PRIORITY = Priority(temperature=0.5, staleness=0.3)
ITEM = {"id": jax.ShapeDtypeStruct((), jnp.int32), "clip": jax.ShapeDtypeStruct((2, 3), jnp.bfloat16)}

insert = jax.jit(pat.insert, donate_argnames="buffer", static_argnames="scoring")
sample = jax.jit(pat.sample, donate_argnames="buffer", static_argnames=("n", "scoring", "priority"))
rescore = jax.jit(pat.rescore, donate_argnames="buffer")
scores = jax.jit(pat.scores, static_argnames="scoring")
statistics = jax.jit(pat.statistics, static_argnames="scoring")
distribution = jax.jit(pat.distribution, static_argnames=("scoring", "priority"))


def items(ids):
    ids = np.asarray(ids, np.int32)
    return {"id": ids, "clip": np.broadcast_to(ids[:, None, None], (len(ids), 2, 3)).astype(jnp.bfloat16)}


def raw_of(regret, afs):
    """The raw scores of n trajectories; a number stands for n of it."""
    regret = np.float32(regret)
    return {"regret": regret, "afs": np.broadcast_to(np.float32(afs), regret.shape)}


def filled_buffer(regret, afs=None, capacity=None, scoring=SCORING, cycle=0):
    """A buffer whose entries are numbered 0, 1, 2, ... in the order given."""
    n = len(regret)
    afs = np.ones(n) if afs is None else afs
    buffer = pat.init(ITEM, capacity or n)
    return insert(buffer, items(range(n)), raw_of(regret, afs), np.ones(n, bool), cycle, scoring)


class Twin:
    """The same buffer as a list of dicts, one None for each empty slot."""

    def __init__(self, capacity):
        self.slots = [None] * capacity
        self.offered = []

    def entries(self):
        return [e for e in self.slots if e is not None]

    def score(self, entry):
        own = [(e["regret"], e["afs"]) for e in self.entries()]
        seen = np.array(own if len(own) >= SCORING.warm_up else self.offered, np.float64)
        mean, std = seen.mean(axis=0), seen.std(axis=0)
        std[std < SCORING.epsilon] = 1.0
        z_regret, z_afs = (np.array([entry["regret"], entry["afs"]]) - mean) / std
        return z_regret + AFS_WEIGHT * z_afs + entry["regret"] - entry["previous"]

    def insert(self, ids, regret, afs, valid, cycle):
        new = [
            {
                "id": i,
                "regret": float(r),
                "previous": float(r),
                "afs": float(a),
                "last": cycle,
                "inserted": cycle,
                "scored": cycle,
            }
            for i, r, a, v in zip(ids, regret, afs, valid, strict=True)
            if v and np.isfinite(r) and np.isfinite(a)
        ]
        self.offered += [(e["regret"], e["afs"]) for e in new]
        candidates = self.entries() + new
        # sorted() is stable: among equals old before new, low slot before high.
        stay = sorted(candidates, key=lambda e: -self.score(e))[: len(self.slots)]
        stay = [e["id"] for e in stay]
        self.slots = [e if e and e["id"] in stay else None for e in self.slots]
        for entry in new:
            if entry["id"] in stay:
                self.slots[self.slots.index(None)] = entry

    def rescore(self, regret, afs, cycle):
        for entry, r, a in zip(self.slots, regret, afs, strict=True):
            if entry and np.isfinite(r) and np.isfinite(a):
                entry.update(previous=entry["regret"], regret=float(r), afs=float(a), scored=cycle + 1)

    def distribution(self, cycle):
        where = [i for i, e in enumerate(self.slots) if e]
        scores = {i: self.score(self.slots[i]) for i in where}
        by_score, by_age = np.zeros((2, len(self.slots)))
        for i in where:
            rank = 1 + sum(other > scores[i] for other in scores.values())
            by_score[i] = (1 / rank) ** (1 / PRIORITY.temperature)
            by_age[i] = cycle - self.slots[i]["last"]
        if not by_age.any():
            by_age[where] = 1.0
        rho = PRIORITY.staleness
        return (1 - rho) * by_score / by_score.sum() + rho * by_age / by_age.sum()


# Few and irregular values: equal pairs give exact ties in both implementations, different
# pairs never come near one.
_rng = np.random.default_rng(7)
REGRETS = _rng.uniform(0.2, 1.5, 6).astype(np.float32)
AFS = _rng.uniform(0.0, 4.0, 6).astype(np.float32)
BAD = {6: np.float32(np.nan), 7: np.float32(np.inf)}


def pair(i):
    return (BAD[i], AFS[0]) if i == 6 else (REGRETS[0], BAD[i]) if i == 7 else (REGRETS[i], AFS[i])


def operations(capacity, batch):
    def pairs(n):
        return st.lists(st.integers(0, 7), min_size=n, max_size=n)

    inserting = st.tuples(
        st.just("insert"), pairs(batch), st.lists(st.booleans(), min_size=batch, max_size=batch)
    )
    sampling = st.tuples(st.just("sample"), st.integers(0, 99))
    rescoring = st.tuples(st.just("rescore"), pairs(capacity))
    return st.lists(st.tuples(st.one_of(inserting, sampling, rescoring), st.integers(0, 2)), max_size=12)


def play(program, capacity, batch):
    buffer, twin, cycle, next_id = pat.init(ITEM, capacity), Twin(capacity), 0, 1
    for (name, *arguments), ticks in program:
        cycle += ticks
        if name == "insert":
            regret, afs = np.array([pair(i) for i in arguments[0]]).T
            ids, valid = np.arange(next_id, next_id + batch), np.array(arguments[1])
            next_id += batch
            buffer = insert(buffer, items(ids), raw_of(regret, afs), valid, cycle, SCORING)
            twin.insert(ids, regret, afs, valid, cycle)
        elif name == "rescore":
            regret, afs = np.array([pair(i) for i in arguments[0]]).T
            buffer = rescore(buffer, raw_of(regret, afs), cycle)
            twin.rescore(regret, afs, cycle)
        elif twin.entries():
            buffer, drawn = sample(buffer, jax.random.key(arguments[0]), 3, cycle, SCORING, PRIORITY)
            for i in np.asarray(drawn):
                twin.slots[i]["last"] = cycle
        agree(buffer, twin, cycle)


def agree(buffer, twin, cycle):
    host = jax.device_get(buffer)
    np.testing.assert_array_equal(host.filled, [e is not None for e in twin.slots])
    assert host.running.count == len(twin.offered)
    for i, entry in enumerate(twin.slots):
        if entry:
            assert host.items["id"][i] == entry["id"]
            assert (host.items["clip"][i] == entry["id"]).all()
            assert host.raw["regret"][i] == entry["regret"] and host.previous["regret"][i] == entry["previous"]
            assert host.raw["afs"][i] == entry["afs"] and host.inserted[i] == entry["inserted"]
            assert host.last_sampled[i] == entry["last"] and host.scored[i] == entry["scored"]
    if twin.entries():
        expected = [twin.score(e) if e else -np.inf for e in twin.slots]
        np.testing.assert_allclose(scores(buffer, SCORING), expected, rtol=1e-3, atol=1e-4)
        p = distribution(buffer, cycle, SCORING, PRIORITY)
        np.testing.assert_allclose(p, twin.distribution(cycle), rtol=1e-4, atol=1e-6)


@settings(deadline=None, max_examples=60)
@given(program=operations(5, 3))
def test_any_sequence_of_operations_agrees_with_the_twin(program):
    play(program, 5, 3)


@settings(deadline=None, max_examples=15)
@given(program=operations(1, 3))
def test_a_capacity_of_one_and_batches_larger_than_the_buffer_agree_too(program):
    play(program, 1, 3)


def test_the_highest_scores_stay_in_their_slots_and_newcomers_take_the_freed_ones():
    buffer = filled_buffer([0.5, 0.9, 0.1, 0.7])
    buffer = insert(buffer, items([10, 11, 12, 13]), raw_of([0.6, 0.2, 0.8, 0.3], 1), np.ones(4, bool), 5, SCORING)
    np.testing.assert_array_equal(buffer.items["id"], [10, 1, 12, 3])
    np.testing.assert_array_equal(buffer.inserted, [5, 0, 5, 0])
    np.testing.assert_array_equal(pat.changes(buffer)["regret"], 0.0)


def test_invalid_trajectories_leave_no_trace():
    buffer = filled_buffer([0.5, 0.6], capacity=4)
    before = jax.device_get(buffer)
    regret, afs = np.float32([np.nan, 0.4, 0.9, np.inf]), np.float32([1.0, np.nan, 1.0, 1.0])
    buffer = insert(buffer, items([5, 6, 7, 8]), raw_of(regret, afs), np.array([1, 1, 0, 1], bool), 1, SCORING)
    jax.tree.map(np.testing.assert_array_equal, before, jax.device_get(buffer))


def test_statistics_are_the_running_ones_until_warm():
    scoring = pat.Scoring(warm_up=3)
    buffer = pat.init(ITEM, 3)
    mean, std = statistics(buffer, scoring)
    np.testing.assert_array_equal(mean, 0.0)
    np.testing.assert_array_equal(std, 1.0)

    buffer = filled_buffer([0.2, 0.6], [1.0, 1.0], capacity=3, scoring=scoring)
    buffer = rescore(buffer, raw_of([5, 5, 5], 5), 0)
    mean, std = statistics(buffer, scoring)  # as offered, not as rescored
    np.testing.assert_allclose(mean, [0.4, 1.0], rtol=1e-6)
    np.testing.assert_allclose(std, [0.2, 1.0], rtol=1e-6)  # AFS has not varied

    buffer = insert(buffer, items([9]), raw_of([2], 3), np.ones(1, bool), 0, scoring)
    mean, std = statistics(buffer, scoring)
    np.testing.assert_allclose(mean, [4.0, 13 / 3], rtol=1e-6)
    np.testing.assert_allclose(std, [np.std([5, 5, 2]), np.std([5, 5, 3])], rtol=1e-5)


def test_a_solved_trajectory_loses_priority_and_its_place():
    buffer = filled_buffer([0.80, 0.81, 0.79, 0.805])
    before = distribution(buffer, 0, SCORING, Priority(staleness=0.0))
    assert before.argmax() == 1
    buffer = rescore(buffer, raw_of([0.80, 0.2, 0.79, 0.805], 1), 0)
    assert pat.changes(buffer)["regret"][1] < 0
    after = distribution(buffer, 0, SCORING, Priority(staleness=0.0))
    assert after.argmin() == 1 and after.argmax() == 3
    buffer = insert(buffer, items([9]), raw_of([0.7], 1), np.ones(1, bool), 1, SCORING)
    np.testing.assert_array_equal(buffer.items["id"], [0, 9, 2, 3])


def test_of_equal_regrets_the_one_that_got_worse_comes_first():
    buffer = filled_buffer([0.9, 0.3, 0.6])  # improved, regressed, stagnated
    buffer = rescore(buffer, raw_of([0.6, 0.6, 0.6], 1), 0)
    np.testing.assert_array_equal(jnp.argsort(-scores(buffer, SCORING)), [1, 2, 0])


def test_draws_follow_the_distribution():
    buffer = filled_buffer([0.5, 0.9, 0.1, 0.7, 0.3], capacity=7)
    buffer = dataclasses.replace(buffer, last_sampled=jnp.array([0, 2, 1, 3, 0, 0, 0], jnp.int32))
    expected = np.asarray(distribution(buffer, 4, SCORING, PRIORITY), np.float64)
    buffer, drawn = sample(buffer, jax.random.key(3), 20_000, 4, SCORING, PRIORITY)
    assert drawn.dtype == jnp.int32
    counts = np.bincount(drawn, minlength=7)
    assert counts[5:].sum() == 0 and (expected[:5] > 0).all()
    assert scipy.stats.chisquare(counts[:5], expected[:5] / expected.sum() * 20_000).pvalue > 1e-3
    np.testing.assert_array_equal(buffer.last_sampled, [4, 4, 4, 4, 4, 0, 0])


def test_gather_gives_the_items_with_repeats():
    buffer = filled_buffer([0.5, 0.9, 0.1])
    batch = pat.gather(buffer, jnp.array([2, 0, 2]))
    np.testing.assert_array_equal(batch["id"], [2, 0, 2])
    assert batch["clip"].shape == (3, 2, 3) and batch["clip"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(batch["clip"][:, 0, 0].astype(int), [2, 0, 2])


def test_donated_insert_writes_in_place():
    item = {"clip": jax.ShapeDtypeStruct((64, 64), jnp.float32)}
    new = {"clip": jnp.ones((2, 64, 64))}
    arguments = (pat.init(item, 32), new, {"regret": jnp.ones(2), "afs": jnp.ones(2)}, jnp.ones(2, bool), jnp.int32(0))
    compiled = insert.lower(*arguments, SCORING).compile()
    address = arguments[0].items["clip"].unsafe_buffer_pointer()
    buffer = compiled(*arguments)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(arguments[0]))
    assert buffer.items["clip"].unsafe_buffer_pointer() == address
    np.testing.assert_array_equal(buffer.items["clip"][:3].sum(axis=(1, 2)), [4096, 4096, 0])


# A trajectory of the quick start.
REAL_ITEM = {
    "latents": jax.ShapeDtypeStruct((10, 6, 8, 8), jnp.float32),
    "actions": jax.ShapeDtypeStruct((10, 6), jnp.int32),
    "frames": jax.ShapeDtypeStruct((10, 48, 64, 3), jnp.uint8),
    "flow": jax.ShapeDtypeStruct((8, 48, 64, 2), jnp.float16),
}


@pytest.mark.parametrize("capacity", [256, 1024, 4096, 16384])
def test_the_memory_is_as_computed_and_no_function_copies_the_items(capacity):
    """By the compiler's own account: all of the buffer is aliased, and little is needed beside it."""
    shape = jax.ShapeDtypeStruct
    buffer = jax.eval_shape(lambda: pat.init(REAL_ITEM, capacity))
    items = jax.tree.map(lambda x: shape((32, *x.shape), x.dtype), REAL_ITEM)
    rows, cycle, key = shape((32,), jnp.float32), shape((), jnp.int32), jax.eval_shape(lambda: jax.random.key(0))
    all_rows = shape((capacity,), jnp.float32)
    programs = (
        insert.lower(buffer, items, {"regret": rows, "afs": rows}, shape((32,), bool), cycle, SCORING),
        sample.lower(buffer, key, 16, cycle, SCORING, PRIORITY),
        rescore.lower(buffer, {"regret": all_rows, "afs": all_rows}, cycle),
    )
    expected = pat.nbytes(REAL_ITEM, capacity)
    for program in programs:
        memory = program.compile().memory_analysis()
        assert memory.alias_size_in_bytes == expected
        assert memory.temp_size_in_bytes < 64 * capacity + 4096


def test_nbytes_is_what_the_arrays_take():
    for capacity in (1, 7):
        leaves = jax.tree.leaves(pat.init(ITEM, capacity))
        assert pat.nbytes(ITEM, capacity) == sum(leaf.nbytes for leaf in leaves)


def test_a_known_distribution_by_score_draws_the_same():
    buffer = filled_buffer([0.5, 0.9, 0.1, 0.7, 0.3], capacity=7)
    by_score = pat.score_distribution(buffer, SCORING, PRIORITY)
    expected = pat.sample(buffer, jax.random.key(0), 50, 3, SCORING, PRIORITY)[1]
    known = pat.sample(buffer, jax.random.key(0), 50, 3, SCORING, PRIORITY, by_score)[1]
    np.testing.assert_array_equal(known, expected)


def test_a_cycle_moves_nothing_to_or_from_the_host():
    def cycle_of(buffer, clips, key, cycle):
        regret = latent_regret(clips, jnp.zeros_like(clips))
        buffer = pat.insert(buffer, clips, {"regret": regret, "afs": regret}, regret > 0, cycle, SCORING)
        buffer, drawn = pat.sample(buffer, key, 2, cycle, SCORING, PRIORITY)
        batch = pat.gather(buffer, drawn)
        return pat.rescore(buffer, {**buffer.raw, "regret": buffer.raw["regret"] * 0.5}, cycle), batch

    buffer = pat.init(jax.ShapeDtypeStruct((1, 1, 1, 1), jnp.float32), 2)
    arguments = jax.device_put((jnp.arange(1.0, 4.0).reshape(3, 1, 1, 1, 1), jax.random.key(0), jnp.int32(1)))
    step = jax.jit(cycle_of, donate_argnums=0).lower(buffer, *arguments).compile()
    with jax.transfer_guard("disallow"):
        buffer, batch = step(buffer, *arguments)
    np.testing.assert_array_equal(np.sort(buffer.items.ravel()), [2.0, 3.0])
    np.testing.assert_array_equal(pat.changes(buffer)["regret"], -buffer.raw["regret"])
    assert set(np.asarray(batch).ravel()) <= {2.0, 3.0}


@pytest.mark.parametrize("wrong", [{"warm_up": 0}, {"epsilon": 0.0}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        pat.Scoring(**wrong)
    with pytest.raises(ValueError, match="capacity"):
        pat.init(ITEM, 0)
    with pytest.raises(ValueError, match="changes of speed: there are weights of regret, afs"):
        pat.Scoring(changes={"speed": 1.0})
    with pytest.raises(ValueError, match="at least one"):
        pat.Scoring({}, {})


def test_any_raw_scores_make_a_score_by_their_weights():
    """Three by name, two of which have a memory; by hand in the order of the weights, not of the alphabet."""
    scoring = pat.Scoring({"z": 1.0, "a": -2.0, "m": 0.0}, {"m": 3.0, "z": 0.5}, warm_up=1)
    raw = {"z": np.float32([1, 2, 6]), "a": np.float32([4, 4, 7]), "m": np.float32([0, 5, 1])}
    buffer = insert(pat.init(ITEM, 3, scoring), items(range(3)), raw, np.ones(3, bool), 0, scoring)
    later = {"z": np.float32([2, 2, 3]), "a": np.float32([1, 2, 3]), "m": np.float32([1, 1, 1])}
    buffer = rescore(buffer, later, 0)
    z = {name: (values - values.mean()) / (values.std() or 1.0) for name, values in later.items()}
    expected = z["z"] - 2 * z["a"] + 3 * (later["m"] - raw["m"]) + 0.5 * (later["z"] - raw["z"])
    np.testing.assert_allclose(scores(buffer, scoring), expected, rtol=1e-5)
    assert buffer.previous.keys() == {"m", "z"} and buffer.running.mean.tolist() == [3, 5, 2]
    leaves = jax.tree.leaves(buffer)
    assert pat.nbytes(ITEM, 3, scoring) == sum(leaf.nbytes for leaf in leaves)


def test_one_raw_score_that_is_not_finite_keeps_an_entry_out():
    scoring = pat.Scoring({"a": 1.0, "b": 0.0}, {})
    raw = {"a": np.float32([1, 1, np.nan]), "b": np.float32([1, np.inf, 1])}
    buffer = insert(pat.init(ITEM, 3, scoring), items(range(3)), raw, np.ones(3, bool), 0, scoring)
    assert buffer.filled.tolist() == [True, False, False] and buffer.previous == {}
