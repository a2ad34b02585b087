"""Rescoring in the loop: a part is scored as the whole is, and a cycle stays on the device."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy_world_model import FrameByFrame

from prowl_jax.metrics import action_follow
from prowl_jax.models.policies.small import Policy, PolicyNetwork
from prowl_jax.pat import buffer as pat
from prowl_jax.pat.rescoring import Rescoring
from prowl_jax.rl.ppo import PPOConfig
from prowl_jax.train import adversary, curriculum
from prowl_jax.train.curriculum import Curriculum, PATItem
from prowl_jax.train.state import init_state
from prowl_jax.train.world_model import split_trainable
from prowl_jax.types import Batch, Trajectory

TIME, CAPACITY, ROWS, SIZES = 6, 7, 3, (3, 5)
LOOP = Curriculum(context=2, horizon=4, window=4, updates=2, batch=4, score_batch=3)
POLICY = Policy(PolicyNetwork(SIZES, features=8, memory=2, hidden=8))


@pytest.fixture(autouse=True, scope="module")
def cheap_flow():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(action_follow, "optical_flow", lambda first, second: (second - first)[..., :2])
        yield


def some_items(rows):
    rng = np.random.default_rng(0)
    return PATItem(
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
        regret=jnp.full(CAPACITY, 2.0), previous_regret=jnp.full(CAPACITY, 3.0), afs=jnp.full(CAPACITY, 4.0),
        scored=jnp.full(CAPACITY, 5, jnp.int32), last_sampled=jnp.asarray([5, 4, 4, 5, 4, 4, 4], jnp.int32),
    )  # fmt: skip


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
    c = dataclasses.replace(LOOP, rescoring=rescoring)
    _, regret, afs = curriculum.make_predict(tiny.model, c)(tiny.params, old_buffer().items)
    buffer = curriculum.make_rescore(tiny.model, c)(tiny.params, old_buffer(), 5)
    new = np.isin(np.arange(CAPACITY), chosen)
    np.testing.assert_allclose(buffer.regret, np.where(new, regret, 2.0), rtol=1e-5)
    np.testing.assert_array_equal(buffer.previous_regret, np.where(new, 2.0, 3.0))
    np.testing.assert_allclose(buffer.afs, np.where(new, afs, 4.0), rtol=1e-4)
    np.testing.assert_array_equal(buffer.scored, np.where(new, 6, 5))


def test_only_as_many_batches_are_scored_as_are_due():
    """Counted by the world model's rollouts; an empty buffer has none."""
    calls = []

    class Counted(FrameByFrame):
        chunk = 2

        def rollout(self, params, key, context, actions, chunks, common_noise):
            jax.debug.callback(lambda: calls.append(1))
            return jnp.zeros((len(context), 4, *context.shape[2:]))

        def decode(self, params, latents):
            return jnp.zeros((*latents.shape[:2], 16, 16, 3))

    for rescoring, filled, batches in (
        (Rescoring(), 7, 3), (Rescoring(), 3, 1), (Rescoring(), 0, 0), (Rescoring("due", age=1), 7, 1),
    ):  # fmt: skip
        calls.clear()
        rescore = curriculum.make_rescore(Counted(), dataclasses.replace(LOOP, rescoring=rescoring))
        jax.block_until_ready(rescore({}, old_buffer(filled), 5))
        jax.effects_barrier()
        assert len(calls) == batches


def test_rescoring_leaves_the_items_where_they_are(tiny):
    buffer = old_buffer()
    addresses = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(buffer.items)]
    buffer = curriculum.make_rescore(tiny.model, LOOP)(tiny.params, buffer, 5)
    assert [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(buffer.items)] == addresses


@pytest.fixture(scope="module")
def cycle(tiny, random_params):
    """``f(state, ...)``, one cycle after collecting, and its arguments, all on the device."""
    optimizer, ppo_optimizer = optax.adam(0.01), optax.adam(0.01)
    ppo = adversary.make_update(POLICY, ppo_optimizer, adversary.Adversary(PPOConfig(), epochs=1, minibatches=1))
    c = dataclasses.replace(LOOP, rescoring=Rescoring("due", age=1))
    programs = curriculum.make_programs(tiny.model, tiny.forcing, optimizer, c, ppo)

    def cycle(state, fixed, reference, trajectory, passive, key):
        state, explored = curriculum.explore(programs, c, state, fixed, reference, trajectory, key)
        state, mended = curriculum.mend(programs, state, fixed, passive, key)
        return state, {**explored, **mended}

    trained, frozen = split_trainable(tiny.params["dit"])
    reference = random_params(POLICY.init, (16, 16, 3))
    example = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), some_items(1))
    state = curriculum.init_loop(
        init_state(trained, optimizer), init_state(reference, ppo_optimizer), example, CAPACITY
    )
    items, zeros = some_items(ROWS), np.zeros((ROWS, TIME), np.float32)
    trajectory = Trajectory(items.frames, items.actions, zeros > 0, zeros - 2.7, zeros, np.ones(ROWS, bool))
    passive = Batch(*(x.reshape(2, 2, *x.shape[1:]) for x in tiny.batch(4)))
    fixed = tiny.params | {"dit": frozen}
    return cycle, *jax.device_put((state, fixed, reference, trajectory, passive, jax.random.key(0)))


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
