"""Dreams as an environment: begun in real contexts, the model's own, ended by heads or a limit, wilder if hotter."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_dream import FRAME, MODEL, SPEC, Heads, make_dreams

from prowl_jax.envs.base import DeviceEnv
from prowl_jax.envs.device import _reset, _step, keys

STEPS = 4


@pytest.fixture(scope="module")
def dreams():
    return make_dreams(STEPS, heads=Heads(0.2))


def roll(env, rows, steps, seed=0):
    rng = np.random.default_rng(seed)
    state, step = _reset(env, keys(np.arange(rows), rows))
    seen, actions = [step], rng.integers(0, np.array(SPEC.sizes), (steps, rows, 2)).astype(np.int32)
    for a in actions:
        state, step = _step(env, state, a)
        seen.append(step)
    return jax.tree.map(lambda *x: np.stack(x), *seen), actions


def test_dreams_begin_with_the_last_frame_of_a_real_context(dreams):
    env, frames = dreams
    assert isinstance(env, DeviceEnv)
    seen, _ = roll(env, 6, 0)
    for frame in seen.frame[0]:
        assert (frame == frames[:, -1]).all((1, 2, 3)).sum() == 1
    assert not seen.info["over"].any() and not seen.info["reward"].any()


def test_a_dream_is_what_the_world_model_dreams(dreams):
    """The same noise and actions given to ``rollout``'s step by hand, as long as none ends."""
    env = dataclasses.replace(dreams[0], heads=None, episode_steps=0)
    seen, actions = roll(env, 2, 3)
    state = jax.vmap(env.reset)(keys(np.arange(2), 2))[0]
    cache = jax.tree.map(lambda x: x[:, 0], state.cache)
    for t in range(3):
        draws = [jax.random.split(jax.random.fold_in(jax.random.fold_in(k, 0), t + 1))[0] for k in state.key]
        noise = jnp.stack([jax.random.normal(k, (1, *MODEL.latent_shape(FRAME))) for k in draws])
        latents, cache = MODEL.next_chunk(env.params, noise, cache, actions[t][:, None])
        expected = np.round(255.0 * MODEL.decode(env.params, latents)[:, 0])
        assert np.abs(seen.frame[t + 1] - expected).max() <= 1  # another batch is rounded otherwise
    assert not seen.done.any() and (seen.frame[3] != seen.frame[0]).mean() > 0.5


def test_rewards_are_the_heads_and_ends_as_frequent_as_they_say(dreams):
    seen, _ = roll(dreams[0], 64, 12)
    over, done = seen.info["over"][1:], seen.done[1:]
    assert (done >= over).all() and 0.13 < over.mean() < 0.27
    within = ~done
    means = seen.frame.astype(np.float32).mean((2, 3, 4))
    np.testing.assert_allclose(
        seen.info["reward"][1:][within], 2.0 * (means[1:] - means[:-1])[within], rtol=1e-3, atol=1e-3
    )
    ages = np.zeros(64, int)
    for t in range(12):
        ages += 1
        assert (done[t] == (over[t] | (ages == STEPS))).all()
        ages[done[t]] = 0


def test_temperature_scales_the_noise_and_nothing_else(dreams):
    env = dataclasses.replace(dreams[0], heads=None, episode_steps=0)
    contexts = jnp.broadcast_to(env.contexts[:1], env.contexts.shape)  # all begin alike

    def spread(temperature):
        hot = dataclasses.replace(
            env, contexts=contexts, actions=jnp.zeros_like(env.actions), temperature=jnp.float32(temperature)
        )
        state, _ = _reset(hot, keys(np.arange(8), 8))
        _, step = _step(hot, state, np.zeros((8, 2), np.int32))
        return np.asarray(step.frame, float).std(axis=0).mean()

    assert spread(0.0) == 0.0
    assert 0.0 < spread(0.5) < spread(1.0)


def test_actions_tell(dreams):
    env = dataclasses.replace(dreams[0], heads=None, episode_steps=0)
    state, _ = _reset(env, keys([3, 3], 2))
    _, step = _step(env, state, np.array([[0, 0], [2, 1]], np.int32))
    assert (step.frame[0] != step.frame[1]).any()


def test_a_model_of_longer_chunks_is_refused(dreams):
    class Chunky:
        chunk, stride = 3, 1

    with pytest.raises(ValueError, match="3 latents of 1 frames"):
        dataclasses.replace(dreams[0], world_model=Chunky())


def test_masks_are_drawn_for_a_step_or_a_dream_and_of_the_rate_that_is_asked_for():
    masked = dataclasses.replace(MODEL, dit=MODEL.dit.clone(dropout=0.05))
    env = dataclasses.replace(make_dreams(0, heads=None, model=masked)[0], temperature=jnp.float32(0.0))
    plain, _ = roll(env, 3, 2)
    for masks in ("step", "dream"):
        none, _ = roll(dataclasses.replace(env, masks=masks, dropout=jnp.float32(0.0)), 3, 2)
        np.testing.assert_array_equal(none.frame, plain.frame)
        some, _ = roll(dataclasses.replace(env, masks=masks, dropout=jnp.float32(0.5)), 3, 2)
        assert (some.frame[1:] != plain.frame[1:]).any()
    state, _ = env.reset(jax.random.key(0))
    keys_of = [jax.random.key(1), jax.random.key(2)]
    for masks, alike in (("dream", True), ("step", False)):
        one = dataclasses.replace(env, masks=masks, dropout=jnp.float32(0.5))
        a, b = (np.asarray(one._mask(state, key)) for key in keys_of)
        assert (a == b).all() == alike and set(np.unique(a)) == {0.0, 2.0}
    with pytest.raises(ValueError, match="world_model.unet.dropout"):
        MODEL.dream_mask(keys_of[0], 0.5)
