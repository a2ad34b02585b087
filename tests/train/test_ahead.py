"""Collecting ahead: the same bits as in turn, errors as they are, and an end that does not wait."""

import threading

import jax
import numpy as np
import optax
import pytest
from tiny_world import BUDGET, Recorded, shared_by, start_of

from prowl_jax.actions import ActionSpec, choice
from prowl_jax.envs.base import Step
from prowl_jax.methods.acting import collect as act_out
from prowl_jax.methods.acting import make_act
from prowl_jax.methods.prowl import Config, Prowl
from prowl_jax.models.policies.small import Policy, PolicyNetwork
from prowl_jax.pat import buffer as pat
from prowl_jax.rl.ppo import PPOConfig
from prowl_jax.train.adversary import Adversary
from prowl_jax.train.ahead import Abandoned, Ahead
from prowl_jax.types import Batch

SPEC = ActionSpec((choice("move", "forward", "back"), choice("look", "a", "b", "c", "d")))  # 3 and 5 values
ROWS, TIME, CYCLES = 3, 6, 4
POLICY = Policy(PolicyNetwork(SPEC.sizes, features=8, memory=2, hidden=8))
ADVERSARY = Adversary(learning_rate=1e-2, ppo=PPOConfig(kl_cost=0.1), epochs=1, minibatches=1)


class Kaleidoscope:
    """A ``HostEnv`` whose pictures depend on the seed and on every action since."""

    spec, num_envs, frame_shape = SPEC, ROWS, (16, 16, 3)

    def reset(self, seeds):
        self.state = np.array(seeds, np.uint64)
        return self._see()

    def step(self, actions):
        self.state = self.state * np.uint64(31) + (actions @ [1, 3]).astype(np.uint64)
        return self._see()

    def close(self):
        pass

    def _see(self):
        frames = np.stack([np.random.default_rng(s).integers(0, 256, self.frame_shape) for s in self.state])
        return Step(frames.astype(np.uint8), np.zeros(ROWS, bool), {})


class Overlapping(Recorded):
    """A source that takes what was collected ahead, and starts the next as soon as the policy is final."""

    def __init__(self, collection, cycle, demonstrations):
        super().__init__(None, demonstrations)
        self._collection, self._cycle = collection, cycle

    def act(self, params):
        return self._collection.take(self._cycle, params)

    def policy_is_final(self, params):
        self._collection.start(self._cycle + 1, params)


def cycles(tiny, random_params, overlap):
    """States and metrics of a few cycles with a real policy in a toy environment."""
    method = Prowl(Config(capacity=8, adversary=ADVERSARY), shared_by(tiny, optax.adam(1e-2), POLICY, BUDGET))
    start = start_of(tiny, random_params(POLICY.init, (16, 16, 3)))
    state, env, act = method.init(start, jax.random.key(0)), Kaleidoscope(), make_act(POLICY)
    threads, states, metrics = [], [], []

    def collect(cycle, params, check):
        threads.append(threading.current_thread().name)
        return act_out(
            env, act, POLICY, params, jax.random.key(cycle), seeds=[cycle, 7, 40 + cycle], length=TIME,
            warm_up=2, warm_up_params=start.reference, check=check,
        )[0]  # fmt: skip

    with Ahead(collect, CYCLES, overlap) as collection:
        for cycle in range(CYCLES):
            latents, actions = tiny.batch(4, seed=cycle)
            passive = Batch(latents.reshape(2, 2, *latents.shape[1:]), actions.reshape(2, 2, *actions.shape[1:]))
            key = jax.random.fold_in(jax.random.key(0), cycle)
            state, figures = method.cycle(state, start, Overlapping(collection, cycle, passive), key)
            states.append(jax.tree.map(np.array, state))
            metrics.append({name: float(value) for name, value in figures.items()})
    return states, metrics, threads


def test_overlapped_and_in_turn_give_the_same_bits(tiny, random_params):
    ahead, in_turn = (cycles(tiny, random_params, overlap) for overlap in (True, False))
    assert in_turn[2] == ["MainThread"] * CYCLES
    assert ahead[2] == ["MainThread"] + ["prowl-collect"] * (CYCLES - 1)
    jax.tree.map(np.testing.assert_array_equal, ahead[0], in_turn[0])
    assert ahead[1] == in_turn[1]
    moved = jax.tree.map(lambda a, b: (a != b).any(), *(s.phi.params for s in in_turn[0][1:3]))
    assert any(jax.tree.leaves(moved)), "the policy rests, so a stale one would not be seen"
    assert isinstance(in_turn[0][-1].buffer, pat.PATBuffer) and in_turn[0][-1].buffer.filled.all()


def test_the_next_cycle_is_collected_before_it_is_asked_for():
    begun, go_on = threading.Event(), threading.Event()

    def collect(cycle, params, check):
        begun.set()
        assert go_on.wait(10)
        return cycle, params

    with Ahead(collect, cycles=5) as collection:
        collection.start(3, "phi")
        assert begun.wait(10)  # and ``start`` has returned, though nothing is collected yet
        with pytest.raises(RuntimeError, match="another cycle is not taken yet"):
            collection.start(4, "phi")
        with pytest.raises(RuntimeError, match="cycle 2 is asked for, but cycle 3 was started"):
            collection.take(2, "other")
        go_on.set()
        assert collection.take(3, "other") == (3, "phi")
        assert collection.take(4, "other") == (4, "other")  # not started: collected now
        begun.clear()
        collection.start(5, "phi")
        assert not begun.is_set(), "there is no cycle 5"


@pytest.mark.parametrize("overlap", [True, False])
def test_an_error_of_a_collection_is_raised_as_it_is(overlap):
    error = ValueError("the walls are closing in")

    def collect(cycle, params, check):
        if cycle == 1:
            raise error
        return cycle

    with Ahead(collect, 3, overlap) as collection:
        assert collection.take(0, None) == 0
        collection.start(1, None)
        with pytest.raises(ValueError) as raised:
            collection.take(1, None)
        assert raised.value is error


def test_leaving_abandons_what_is_being_collected():
    ended = []

    def collect(cycle, params, check):
        try:
            while True:
                check()
        except Abandoned:
            ended.append(cycle)
            raise

    with pytest.raises(KeyboardInterrupt), Ahead(collect, 9) as collection:
        collection.start(1, None)
        raise KeyboardInterrupt
    assert ended == [1]
    with pytest.raises(RuntimeError, match="closed"):
        collection.start(2, None)


def test_an_abandoned_collection_ends_before_its_next_step(random_params):
    """What ``check`` raises comes out of ``collect``, and the next one, begun anew, is the same as ever."""
    env, act, params = Kaleidoscope(), make_act(POLICY), random_params(POLICY.init, (16, 16, 3))
    calls = []

    def check():
        calls.append(None)
        if len(calls) == 4:
            raise Abandoned

    def collect(check=None):
        return act_out(
            env, act, POLICY, params, jax.random.key(0), seeds=[1, 2, 3], length=TIME, check=check
        )[0]  # fmt: skip

    whole = collect()
    with pytest.raises(Abandoned):
        collect(check)
    assert len(calls) == 4
    again = collect()
    jax.tree.map(np.testing.assert_array_equal, whole, again)
