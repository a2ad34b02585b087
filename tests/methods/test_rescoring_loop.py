"""Rescoring in the loop: a part is scored as the whole is, and a cycle stays on the device."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny_world import BUDGET, Recorded, cheap_flow, shared_by, start_of
from toy_world_model import FrameByFrame

from prowl_jax.methods.prowl import Config, Prowl
from prowl_jax.models.policies.small import Policy, PolicyNetwork
from prowl_jax.pat import buffer as pat
from prowl_jax.pat.rescoring import Rescoring, make_rescore
from prowl_jax.rewards import REWARDS
from prowl_jax.rewards.dream import make_dream, make_score, score_of
from prowl_jax.train.adversary import Adversary
from prowl_jax.types import Batch, RealClip, Trajectory

TIME, CAPACITY, ROWS, SIZES = 6, 7, 3, (3, 5)
POLICY = Policy(PolicyNetwork(SIZES, features=8, memory=2, hidden=8))


def some_items(rows):
    rng = np.random.default_rng(0)
    return RealClip(
        jnp.asarray(rng.normal(size=(rows, TIME, 2, 2, 3)), jnp.float32),
        jnp.asarray(rng.integers(0, 3, (rows, TIME, 2)), jnp.int32),
        jnp.asarray(rng.integers(0, 256, (rows, TIME, 16, 16, 3)), jnp.uint8),
        jnp.asarray(rng.normal(size=(rows, 4, 16, 16, 2)), jnp.float16),
    )


def old_buffer(filled=6):
    """Entries scored in cycle 5; 0 and 3 have been sampled in it."""
    items = some_items(CAPACITY)
    empty = pat.init(jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), items), CAPACITY)
    return dataclasses.replace(
        empty, items=items, filled=jnp.arange(CAPACITY) < filled,
        raw={"regret": jnp.full(CAPACITY, 2.0), "afs": jnp.full(CAPACITY, 4.0)},
        previous={"regret": jnp.full(CAPACITY, 3.0)},
        scored=jnp.full(CAPACITY, 5, jnp.int32), last_sampled=jnp.asarray([5, 4, 4, 5, 4, 4, 4], jnp.int32),
    )  # fmt: skip


def rescore_of(model, rescoring):
    """Three entries at a time."""
    dream = make_dream(model, 2, cheap_flow, common_noise=True)
    return jax.jit(make_rescore(score_of(dream, REWARDS), rescoring, 3), donate_argnums=1)


@pytest.mark.parametrize(
    "rescoring, chosen",
    [
        (Rescoring(), [0, 1, 2, 3, 4, 5]),
        (Rescoring("due", age=1), [0, 1, 3]),  # 1 fills up the batch of three
        (Rescoring("due", age=0), [0, 1, 2, 3, 4, 5]),
        (Rescoring("due", age=0, rows=2), [0, 1, 3]),
    ],
)
def test_what_is_rescored_is_what_full_scoring_gives_and_the_rest_is_left(tiny, rescoring, chosen):
    dream = make_dream(tiny.model, 2, cheap_flow, common_noise=True)
    raw = make_score(dream, REWARDS, 3)(tiny.params, old_buffer().items)
    buffer = rescore_of(tiny.model, rescoring)(tiny.params, old_buffer(), 5)
    new = np.isin(np.arange(CAPACITY), chosen)
    np.testing.assert_allclose(buffer.raw["regret"], np.where(new, raw["regret"], 2.0), rtol=1e-5)
    np.testing.assert_array_equal(buffer.previous["regret"], np.where(new, 2.0, 3.0))
    np.testing.assert_allclose(buffer.raw["afs"], np.where(new, raw["afs"], 4.0), rtol=1e-4)
    np.testing.assert_array_equal(buffer.scored, np.where(new, 6, 5))


def test_only_as_many_batches_are_scored_as_are_due():
    """Counted by the world model's rollouts; an empty buffer has none."""
    calls = []

    class Counted(FrameByFrame):
        chunk = 2

        def rollout(self, params, key, context, actions, chunks, common_noise=False):
            jax.debug.callback(lambda: calls.append(1))
            return jnp.zeros((len(context), 4, *context.shape[2:]))

        def decode(self, params, latents):
            return jnp.zeros((*latents.shape[:2], 16, 16, 3))

    for rescoring, filled, batches in (
        (Rescoring(), 7, 3), (Rescoring(), 3, 1), (Rescoring(), 0, 0), (Rescoring("due", age=1), 7, 1),
    ):  # fmt: skip
        calls.clear()
        rescore = rescore_of(Counted(), rescoring)
        jax.block_until_ready(rescore({}, old_buffer(filled), 5))
        jax.effects_barrier()
        assert len(calls) == batches


def test_rescoring_leaves_the_items_where_they_are(tiny):
    buffer = old_buffer()
    addresses = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(buffer.items)]
    buffer = rescore_of(tiny.model, Rescoring())(tiny.params, buffer, 5)
    assert [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(buffer.items)] == addresses


@pytest.fixture(scope="module")
def cycle(tiny, random_params):
    """``f(state, ...)``, one cycle after collecting, and its arguments, all on the device."""
    budget = dataclasses.replace(BUDGET, score_batch=3)
    adversary = Adversary(learning_rate=0.01, epochs=1, minibatches=1)
    config = Config(capacity=CAPACITY, rescoring=Rescoring("due", age=1), adversary=adversary)
    method = Prowl(config, shared_by(tiny, optax.adam(0.01), POLICY, budget))

    def cycle(state, start, trajectory, passive, key):
        return method.cycle(state, start, Recorded(trajectory, passive), key)

    start = start_of(tiny, random_params(POLICY.init, (16, 16, 3)))
    items, zeros = some_items(ROWS), np.zeros((ROWS, TIME), np.float32)
    trajectory = Trajectory(items.frames, items.actions, zeros > 0, zeros - 2.7, zeros, np.ones(ROWS, bool))
    passive = Batch(*(x.reshape(2, 2, *x.shape[1:]) for x in tiny.batch(4)))
    state = method.init(start, jax.random.key(0))
    return cycle, *jax.device_put((state, start, trajectory, passive, jax.random.key(0)))


def test_a_cycle_sends_nothing_to_the_device(cycle):
    """On a CPU the guard sees what goes to the device, a Python number included."""
    run, state, *arguments = cycle
    state, _ = run(jax.tree.map(jnp.copy, state), *arguments)  # compiles
    with jax.transfer_guard("disallow"):
        state, metrics = run(state, *arguments)
    assert int(state.cycle) == 2 and np.isfinite(metrics["pat_mean_regret"])


def test_a_cycle_asks_the_device_for_nothing(cycle):
    """Traced as a whole, reading any value would raise; and no program calls back to Python."""
    run, *arguments = cycle
    program = str(jax.make_jaxpr(run)(*arguments))
    assert "while" in program and "callback" not in program
    with pytest.raises(jax.errors.ConcretizationTypeError):
        jax.make_jaxpr(lambda *a: float(run(*a)[1]["regret"]))(*arguments)
