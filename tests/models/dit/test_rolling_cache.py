"""A rollout over the rolling cache is the rollout without any cache, before its window slides and after."""

import dataclasses
import functools
import itertools

import jax
import numpy as np
import pytest

from prowl_jax.diffusion.flow import sigma_schedule
from prowl_jax.models.dit.dit import DiT
from prowl_jax.models.world_model import WorldModel

SIZES, STEPS, SHIFT, KEY = (3, 5), 2, 2.0, jax.random.key(7)
CHUNKS = 5  # dreamt; the context is one chunk and the cache holds two, so the window slides at the third
rng = np.random.default_rng(0)


@functools.cache
def model_of(chunk):
    dit = DiT(channels=3, width=24, depth=2, heads=2, ffn=32, action_sizes=SIZES, chunk=chunk, frequency_width=16)
    return WorldModel(dit, None, STEPS, SHIFT, "rolling", cache_latents=2 * chunk)


@functools.cache
def inputs_of(chunk):
    """Context, actions of everything, and the noise that ``rollout`` draws under KEY."""
    context = rng.normal(size=(2, chunk, 4, 4, 3)).astype(np.float32)
    actions = np.stack([rng.integers(0, size, (2, chunk * (1 + CHUNKS))) for size in SIZES], -1).astype(np.int32)
    noise = np.asarray(jax.random.normal(KEY, (2, chunk * CHUNKS, 4, 4, 3)))
    return context, actions, noise


@pytest.fixture(scope="module", params=[1, 3])
def chunk(request):
    return request.param


@pytest.fixture(scope="module")
def params(random_params, chunk):
    z, sigma = np.zeros((1, 2 * chunk, 4, 4, 3)), np.zeros((1, 2))
    return random_params(model_of(chunk).dit.init, z, sigma, np.zeros((1, 2 * chunk, 1, 2), np.int32))


dream = jax.jit(WorldModel.rollout, static_argnums=(0, 5))


def rolled(chunk, params, actions=None):
    context, own, _ = inputs_of(chunk)
    out = dream(model_of(chunk), {"dit": params["params"]}, KEY, context, own if actions is None else actions, CHUNKS)
    return np.asarray(out)


def brute_force(chunk, params):
    """Euler in numpy; at every step one dense pass over all latents of the film, those to come being zero."""
    context, actions, noise = inputs_of(chunk)
    total, window = chunk * (1 + CHUNKS), 2 * chunk
    mask = np.zeros((total, total), bool)
    for query, key in itertools.product(range(total), repeat=2):
        first = query // chunk * chunk
        mask[query, key] = first - window <= key < first + chunk
    led_to = np.concatenate([np.full((2, 1, 2), -1), actions[:, :-1]], axis=1)[:, :, None]
    apply = jax.jit(lambda *inputs: model_of(chunk).dit.apply(*inputs, None, mask)[0])
    film = np.zeros((2, total, 4, 4, 3), np.float32)
    film[:, :chunk] = context
    for i in range(1, 1 + CHUNKS):
        now = slice(i * chunk, (i + 1) * chunk)
        film[:, now] = noise[:, now.start - chunk : now.stop - chunk]
        for level, after in itertools.pairwise(np.asarray(sigma_schedule(STEPS, SHIFT))):
            sigma = np.zeros((2, 1 + CHUNKS), np.float32)
            sigma[:, i] = level
            film[:, now] += (after - level) * np.asarray(apply(params, film, sigma, led_to))[:, now]
    return film[:, chunk:]


def test_it_equals_a_dense_pass_over_everything(chunk, params):
    expected = brute_force(chunk, params)
    assert np.abs(expected).max() > 0.5
    np.testing.assert_allclose(rolled(chunk, params), expected, atol=1e-4)


def test_the_uncached_rollout_is_the_same_and_the_window_another(params, chunk):
    """Three chunks: to where the window slides. "window" has a window of one chunk, the context."""
    context, actions, _ = inputs_of(chunk)
    uncached, window = (
        dream(dataclasses.replace(model_of(chunk), cache=cache), {"dit": params["params"]}, KEY, context, actions, 3)
        for cache in ("none", "window")
    )
    cached = dream(model_of(chunk), {"dit": params["params"]}, KEY, context, actions, 3)
    np.testing.assert_allclose(cached, uncached, atol=1e-4)
    assert np.abs(np.asarray(cached - window))[:, chunk:].max() > 1e-2


def test_an_action_moves_its_own_chunk_and_later_ones(chunk, params):
    """Action t leads to latent t+1; the chunk that holds it is the first that may change."""
    _, actions, _ = inputs_of(chunk)
    ours = rolled(chunk, params)
    for t in range(0, chunk * (1 + CHUNKS), max(1, chunk - 1)):
        other = actions.copy()
        other[:, t] = (other[:, t] + 1) % 3
        change = np.abs(rolled(chunk, params, other) - ours).reshape(2, CHUNKS, -1).max(-1)
        first = (t + 1) // chunk - 1  # chunk 0 is the first that is dreamt
        np.testing.assert_array_equal(change > 1e-6, np.tile(np.arange(CHUNKS) >= first, (2, 1)))


def test_chunk_by_chunk_is_the_rollout_and_one_program(chunk, params):
    context, actions, noise = inputs_of(chunk)
    params, model = {"dit": params["params"]}, model_of(chunk)
    cache = jax.jit(model.prefill)(params, context, actions[:, :chunk])
    next_chunk, out = jax.jit(model.next_chunk), []
    for i in range(CHUNKS):
        now = slice(i * chunk, (i + 1) * chunk)
        done = actions[:, now.start + chunk - 1 : now.stop + chunk - 1]
        new, cache = next_chunk(params, noise[:, now], cache, done)
        out.append(new)
    assert next_chunk._cache_size() == 1
    np.testing.assert_allclose(np.concatenate(out, axis=1), rolled(chunk, {"params": params["dit"]}), atol=1e-5)


def flops(model, params, chunk, chunks):
    """Of the lowered rollout; the body of a loop is counted once, however often it runs."""
    context, _, _ = inputs_of(chunk)
    actions = np.zeros((2, chunk * (1 + chunks), 2), np.int32)
    return dream.lower(model, {"dit": params["params"]}, KEY, context, actions, chunks).cost_analysis()["flops"]


def test_a_chunk_costs_the_same_however_far_the_rollout_goes(chunk, params):
    """One loop whose body does not grow; without the cache every chunk adds a pass, longer than the last."""
    near, far = (flops(model_of(chunk), params, chunk, n) for n in (2, 4))
    assert far < 1.05 * near  # what is left is the noise that is drawn
    plain = dataclasses.replace(model_of(chunk), cache="none")
    near, far = (flops(plain, params, chunk, n) for n in (2, 4))
    assert far > 2.2 * near  # 2 + 3 chunks are run in all, then 2 + 3 + 4 + 5


def test_what_is_not_whole_is_refused(chunk, params):
    context, actions, _ = inputs_of(chunk)
    params = {"dit": params["params"]}
    short = dataclasses.replace(model_of(chunk), cache_latents=chunk)
    with pytest.raises(ValueError, match=f"a ring of {chunk} latents cannot start with {2 * chunk}"):
        short.prefill(params, np.concatenate([context, context], axis=1), actions[:, : 2 * chunk])
    with pytest.raises(ValueError, match="actions are not one for each"):
        model_of(chunk).rollout(params, KEY, context, actions, CHUNKS + 1)
    if chunk > 1:
        with pytest.raises(ValueError, match=f"1 context latents and a cache of {2 * chunk} are not whole chunks"):
            model_of(chunk).prefill(params, context[:, :1], actions[:, :1])
    with pytest.raises(ValueError, match="no cache 'rollling'; there are window, rolling, none"):
        WorldModel(None, None, cache="rollling")
