"""Learning from rewards in a toy world where what is best is known: PPO, CMA-ES, returns, the end of an episode."""

import dataclasses
import types

import device_toy
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from table_policy import TablePolicy

from prowl_jax.envs.device import DeviceVectorEnv, keys
from prowl_jax.envs.workers import EnvironmentFailure
from prowl_jax.methods.acting_on_host import seeds_of
from prowl_jax.methods.dream_policy import (
    Evolution,
    Imagination,
    advantages,
    make_evolution,
    make_ppo_step,
    make_returns,
)
from prowl_jax.models.policies.linear import LinearController
from prowl_jax.rl.pmpo import PMPOConfig
from prowl_jax.rl.ppo import PPOConfig
from prowl_jax.train.state import init_state
from prowl_jax.types import pytree

Ring, LENGTH = device_toy.Ring, 6


@pytree
class Rewarded:
    """The toy ring; every step forward is worth 1, and nothing but the limit ends an episode."""

    ring: Ring
    spec, frame_shape = Ring.spec, Ring.frame_shape

    def reset(self, key):
        state, step = self.ring.reset(key)
        return state, step._replace(info={"reward": jnp.float32(0), "over": jnp.bool_(False)})

    def step(self, state, action):
        after, step = self.ring.step(state, action)
        info = {"reward": (action[0] == 1).astype(jnp.float32), "over": jnp.bool_(False)}
        return after, step._replace(info=info)


@pytest.fixture(scope="module")
def env():
    return Rewarded(Ring(jnp.int32(250), jnp.int32(LENGTH)))


@pytest.fixture(scope="module")
def policy():
    return TablePolicy(Ring.spec.sizes)


def mean_return(policy, env, params):
    returns = jax.jit(make_returns(policy, LENGTH))
    return returns(env, params, jax.random.split(jax.random.key(1), 16), jax.random.key(2))


def test_returns_are_those_of_the_first_episode(env, policy):
    """Seven steps of episodes of six: the seventh is of another one."""
    params = policy.init(jax.random.key(0), Ring.frame_shape)
    params = {**params, "logits": params["logits"].at[1].set(50.0)}  # always forward
    found = jax.jit(make_returns(policy, LENGTH + 1))(
        env, params, jax.random.split(jax.random.key(1), 3), jax.random.key(2)
    )
    np.testing.assert_array_equal(found["return"], LENGTH)
    np.testing.assert_array_equal(found["steps"], LENGTH)
    assert not found["over"].any()


def naive(reward, value, over, done, discount, lambda_):
    """GAE of one row by its sum of deltas."""
    steps = len(reward)
    deltas = []
    for t in range(steps):
        after = 0.0 if over[t] else value[t] if done[t] else value[t + 1]
        deltas.append(reward[t] + discount * after - value[t])
    out = []
    for t in range(steps):
        total, factor = 0.0, 1.0
        for u in range(t, steps):
            total += factor * deltas[u]
            if done[u]:
                break
            factor *= discount * lambda_
        out.append(total)
    return out


def test_an_end_is_worth_nothing_and_a_limit_what_was_seen_last():
    rng = np.random.default_rng(0)
    reward, value = rng.normal(size=(7, 5)), rng.normal(size=(8, 5))
    done = rng.random((7, 5)) < 0.4
    over = done & (rng.random((7, 5)) < 0.5)
    assert (done & ~over).any() and over.any()
    found = advantages(*map(jnp.asarray, (reward, value, over, done)), 0.9, 0.8)
    expected = [naive(reward[:, b], value[:, b], over[:, b], done[:, b], 0.9, 0.8) for b in range(5)]
    np.testing.assert_allclose(found.T, expected, rtol=1e-5, atol=1e-6)


def test_it_learns_to_walk_on_and_an_anchor_holds_it(env, policy):
    params = policy.init(jax.random.key(0), Ring.frame_shape)
    before = mean_return(policy, env, params)["return"].mean()
    gained, sizes = {}, {"rows": 16, "steps": LENGTH, "learning_rate": 1e-1, "epochs": 2, "minibatches": 2}
    for name, objective in {
        "free": {"ppo": PPOConfig(kl_cost=0.0)},
        "anchored": {"ppo": PPOConfig(kl_cost=30.0)},
        "signs": {"objective": "pmpo", "pmpo": PMPOConfig(prior_cost=0.01)},
    }.items():
        settings = Imagination(**sizes, **objective)
        step, state = make_ppo_step(policy, settings), init_state(params, settings.optimizer)
        for i in range(12):
            state, metrics = step(state, env, params, jax.random.key(i))
        assert np.isfinite(float(metrics["loss"]))
        gained[name] = mean_return(policy, env, state.params)["return"].mean()
    assert min(gained["free"], gained["signs"]) > before + 1.5
    assert abs(gained["anchored"] - before) < 1.0


def test_in_games_on_the_host_it_does_what_it_does_in_one_program(env, policy):
    """The same environment stepped from Python: returns of five episodes in groups of four, and a round of PPO."""
    params, seeds = policy.init(jax.random.key(0), Ring.frame_shape), np.arange(5)
    games, act_key = DeviceVectorEnv(env, 4), jax.random.key(2)
    host = make_returns(policy, LENGTH + 1, host=True)(games, params, keys(seeds, 5), act_key)
    device = jax.jit(make_returns(policy, LENGTH + 1))
    first = device(env, params, keys(seeds[:4], 4), jax.random.fold_in(act_key, 0))
    for name in ("return", "steps", "over"):
        assert host[name].shape == (5,)
        np.testing.assert_array_equal(host[name][:4], first[name])
    settings = Imagination(rows=4, steps=LENGTH + 2, epochs=1, minibatches=1, learning_rate=1e-1)
    step, state = make_ppo_step(policy, settings, host=True), init_state(params, settings.optimizer)
    state, metrics = step(state, games, params, jax.random.key(3))
    one_program = make_ppo_step(policy, settings)
    _, theirs = one_program(init_state(params, settings.optimizer), env, params, jax.random.key(3))
    assert metrics.keys() == theirs.keys()
    assert np.isfinite(list(map(float, metrics.values()))).all() and int(state.step) == 1
    np.testing.assert_array_equal(seeds_of(keys(seeds, 5)), seeds)


def test_a_game_that_breaks_is_no_short_life(env, policy):
    class Breaking(DeviceVectorEnv):
        def step(self, actions):
            step = super().step(actions)
            return dataclasses.replace(step, info={**step.info, "broken": np.array([False, True])})

    params = policy.init(jax.random.key(0), Ring.frame_shape)
    with pytest.raises(EnvironmentFailure, match="a game broke"):
        make_returns(policy, 2, host=True)(Breaking(env, 2), params, keys(np.arange(2), 2), jax.random.key(0))


def test_the_search_finds_the_way(env):
    pytest.importorskip("evosax")
    space = types.SimpleNamespace(encode=lambda params, frames: frames.astype(jnp.float32)[..., ::4, ::2, :1] / 127.5)
    controller = LinearController(Ring.spec.sizes, 2, space)
    frames = np.random.default_rng(0).integers(0, 256, (8, *Ring.frame_shape)).astype(np.uint8)
    blank = controller.init(dict.fromkeys(("autoencoder", "latent_mean", "latent_std"), jnp.zeros(1)), frames)
    settings = Evolution(population=8, rollouts=2, sigma=0.5)
    init, step, params_of = make_evolution(controller, settings, LENGTH)
    state = init(blank, jax.random.key(0))
    for i in range(6):
        state, metrics = step(state, blank, env, jax.random.key(i))
    found = params_of(state, blank)
    assert step._cache_size() == 1, "the second generation was compiled again"
    assert float(metrics["best"]) == LENGTH
    assert mean_return(controller, env, found)["return"].mean() > mean_return(controller, env, blank)["return"].mean()
    np.testing.assert_array_equal(found["basis"], blank["basis"])


def test_rows_that_are_no_whole_minibatches_are_told():
    with pytest.raises(ValueError, match="rows=5"):
        Imagination(rows=5, minibatches=2)
