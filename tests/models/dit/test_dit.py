"""The diffusion transformer: no leak from the future, an exact cache, actions that reach their latents."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prowl_jax.models.dit.action_adapter import actions_of_latents
from prowl_jax.models.dit.dit import ACTION_CONDITIONING, DiT, sinusoid
from prowl_jax.models.dit.sizes import DIT_SIZES, dit_size
from prowl_jax.train.state import count, split_by_path

SIZES, CHUNK, LATENTS = (3, 5), 2, 6
TINY = DiT(
    channels=3, width=24, depth=2, heads=2, ffn=32, action_sizes=SIZES, chunk=CHUNK, frequency_width=16
)
rng = np.random.default_rng(0)
Z = rng.normal(size=(2, LATENTS, 4, 4, 3)).astype(np.float32)
SIGMA = rng.uniform(0.1, 0.9, (2, LATENTS // CHUNK)).astype(np.float32)
ACTIONS = np.stack([rng.integers(0, size, (2, LATENTS)) for size in SIZES], axis=-1)
LED_TO = np.asarray(actions_of_latents(jnp.asarray(ACTIONS)))


@functools.partial(jax.jit, static_argnums=0)
def apply(dit, params, z, sigma, led_to, memory=None):
    return dit.apply({"params": params}, z, sigma, led_to, memory)


def velocity(dit, params, z=Z, sigma=SIGMA, led_to=LED_TO):
    return np.asarray(apply(dit, params, z, sigma, led_to)[0])


@pytest.fixture(scope="module")
def params(random_params):
    return random_params(TINY.init, Z, SIGMA, LED_TO)["params"]


def perturbed(what, chunk):
    """The inputs with one chunk of one of them changed."""
    latents = slice(chunk * CHUNK, (chunk + 1) * CHUNK)
    z, sigma, led_to = Z.copy(), SIGMA.copy(), LED_TO.copy()
    if what == "latents":
        z[:, latents] += 1.0
    elif what == "noise levels":
        sigma[:, chunk] = 1.0 - sigma[:, chunk]
    else:
        led_to[:, latents] = (led_to[:, latents] + 1) % 3
    return z, sigma, led_to


@pytest.mark.parametrize("what", ["latents", "noise levels", "actions"])
@pytest.mark.parametrize("chunk", [0, 1, 2])
def test_nothing_leaks_from_a_later_chunk(params, chunk, what):
    change = np.abs(velocity(TINY, params, *perturbed(what, chunk)) - velocity(TINY, params))
    by_chunk = change.reshape(2, 3, -1).max(-1)
    assert (by_chunk[:, :chunk] <= 1e-6).all(), "an earlier chunk noticed"
    assert (by_chunk[:, chunk] > 1e-3).all(), "the chunk itself did not notice"
    assert (by_chunk[:, chunk + 1 :] > 1e-4).all(), "a later chunk did not notice"


def test_within_a_chunk_every_latent_sees_every_other(params):
    z = Z.copy()
    z[:, 3] += 1.0  # the second latent of the chunk 2, 3
    change = np.abs(velocity(TINY, params, z) - velocity(TINY, params)).reshape(2, LATENTS, -1).max(-1)
    assert (change[:, :2] <= 1e-6).all() and (change[:, 2:] > 1e-4).all()


def test_rows_of_a_batch_do_not_mix(params):
    z = Z.copy()
    z[1] += 1.0
    np.testing.assert_array_equal(velocity(TINY, params, z)[0], velocity(TINY, params)[0])


@pytest.mark.parametrize("past", [2, 4])
def test_a_chunk_over_the_cache_equals_the_full_pass(params, past):
    """At sampling time the past is clean and only its keys and values are kept."""
    now = slice(past, past + CHUNK)
    clean = np.zeros((2, past // CHUNK), np.float32)
    own = SIGMA[:, past // CHUNK : past // CHUNK + 1]
    _, memory = apply(TINY, params, Z[:, :past], clean, LED_TO[:, :past])
    cached, _ = apply(TINY, params, Z[:, now], own, LED_TO[:, now], memory)
    upto = slice(0, past + CHUNK)
    full = velocity(TINY, params, Z[:, upto], np.concatenate([clean, own], axis=1), LED_TO[:, upto])
    np.testing.assert_allclose(cached, full[:, now], atol=1e-5)


def test_several_chunks_over_a_cache(params):
    """Four latents over a cache of two: causal among themselves, and they see all of the past."""
    sigma = np.concatenate([np.zeros((2, 1), np.float32), SIGMA[:, 1:]], axis=1)
    _, memory = apply(TINY, params, Z[:, :2], sigma[:, :1], LED_TO[:, :2])
    cached, own = apply(TINY, params, Z[:, 2:], sigma[:, 1:], LED_TO[:, 2:], memory)
    full = velocity(TINY, params, sigma=sigma)
    np.testing.assert_allclose(cached, full[:, 2:], atol=1e-5)
    assert own[0][0].shape == (2, 4 * 4, 2, 12)  # of these latents only: 4 of 4 tokens, 2 heads of 12


def test_the_xla_attention_agrees(params):
    xla = dataclasses.replace(TINY, attention="xla")
    np.testing.assert_allclose(velocity(xla, params), velocity(TINY, params), atol=1e-5)


@functools.partial(jax.jit, static_argnums=0)
def loss_and_gradient(dit, params):
    return jax.value_and_grad(lambda p: jnp.mean((dit.apply({"params": p}, Z, SIGMA, LED_TO)[0] - Z) ** 2))(params)


@pytest.fixture(scope="module")
def plain_gradient(params):
    return loss_and_gradient(TINY, params)


def test_remat_changes_neither_loss_nor_gradient(params, plain_gradient):
    again = loss_and_gradient(dataclasses.replace(TINY, remat=True), params)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), again, plain_gradient)


def test_bfloat16_products_are_close_and_leave_parameters_and_velocity_in_float32(params, plain_gradient):
    bfloat16 = dataclasses.replace(TINY, dtype=jnp.bfloat16)
    loss, gradient = loss_and_gradient(bfloat16, params)
    np.testing.assert_allclose(loss, plain_gradient[0], rtol=0.02)
    ours, exact = (jnp.concatenate([x.ravel() for x in jax.tree.leaves(g)]) for g in (gradient, plain_gradient[1]))
    assert jnp.linalg.norm(ours - exact) < 0.03 * jnp.linalg.norm(exact)
    assert jnp.any(ours != exact), "nothing was computed in bfloat16"
    out, memory = apply(bfloat16, params, Z, SIGMA, LED_TO)
    assert out.dtype == jnp.float32 and memory[0][0].dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes(bfloat16))} == {jnp.dtype("float32")}


ONE = dataclasses.replace(TINY, depth=1)


@pytest.fixture(scope="module")
def one_block(random_params):
    return random_params(ONE.init, Z, SIGMA, LED_TO)["params"]


@pytest.mark.parametrize("t", range(LATENTS))
@pytest.mark.parametrize("factor", [0, 1])
def test_an_action_reaches_the_latent_it_leads_to(one_block, t, factor):
    """In one block cross-attention comes last of what mixes tokens, so latent t+1 alone may change."""
    actions = ACTIONS.copy()
    actions[:, t, factor] = (actions[:, t, factor] + 1) % SIZES[factor]
    led_to = np.asarray(actions_of_latents(jnp.asarray(actions)))
    change = np.abs(velocity(ONE, one_block, led_to=led_to) - velocity(ONE, one_block))
    by_latent = change.reshape(2, LATENTS, -1).max(-1) > 1e-5
    np.testing.assert_array_equal(by_latent, np.tile(np.arange(LATENTS) == t + 1, (2, 1)))


def test_through_self_attention_an_action_reaches_its_chunk_and_later_ones(params):
    """Action 2 leads to latent 3, of the chunk 2, 3."""
    actions = ACTIONS.copy()
    actions[:, 2] = (actions[:, 2] + 1) % 3
    led_to = np.asarray(actions_of_latents(jnp.asarray(actions)))
    change = np.abs(velocity(TINY, params, led_to=led_to) - velocity(TINY, params))
    by_latent = change.reshape(2, LATENTS, -1).max(-1)
    assert (by_latent[:, :2] <= 1e-6).all() and (by_latent[:, 2:] > 1e-6).all()


def test_no_parameter_is_idle(params):
    weight = rng.normal(size=Z.shape).astype(np.float32)

    @jax.jit
    @jax.grad
    def gradient(params):
        return jnp.sum(weight * TINY.apply({"params": params}, Z, SIGMA, LED_TO)[0])

    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient(params)):
        assert np.abs(leaf).max() > 1e-6, f"{jax.tree_util.keystr(path)} changes nothing"


def test_a_fresh_model_predicts_zero():
    """Its loss then starts at 1 + E z^2, and no direction is favoured."""
    head = jax.jit(lambda key: TINY.init(key, Z, SIGMA, LED_TO)["params"]["head"])(jax.random.key(0))
    assert not head["kernel"].any() and not head["bias"].any()


def shapes(dit, height=4, width=4):
    z = jax.ShapeDtypeStruct((1, dit.chunk, height, width, dit.channels), jnp.float32)
    led_to = jax.ShapeDtypeStruct((1, dit.chunk, dit.action_frames, len(dit.action_sizes)), jnp.int32)
    sigma = jax.ShapeDtypeStruct((1, 1), jnp.float32)
    return jax.eval_shape(dit.init, jax.random.key(0), z, sigma, led_to)["params"]


def test_the_size_of_wan_1_3b():
    """The published tensors: 1,418,996,800 scalars, 8,653,824 of them the text embedder, which our
    action adapter replaces, and 283,484,160 the cross-attention and its norm."""
    wan = DiT(channels=16, width=1536, depth=1, heads=12, ffn=8960, action_sizes=SIZES)

    def parts(depth):
        params = shapes(dataclasses.replace(wan, depth=depth))
        adapter, backbone = split_by_path(params, ["action_adapter"])
        trained, _ = split_by_path(params, ACTION_CONDITIONING)
        return np.array([count(backbone), count(trained) - count(adapter)])

    one, two = parts(1), parts(2)
    backbone, cross = one + 29 * (two - one)
    assert backbone == 1_418_996_800 - 8_653_824
    assert cross == 283_484_160


def test_the_number_of_parameters_of_a_small_one():
    d, f, c, rows = 24, 32, 3, sum(size + 1 for size in SIZES)
    square = d * d + d
    attention = 4 * square + 2 * d
    block = 6 * d + 2 * attention + 2 * d + (d * f + f) + (f * d + d)
    patch = 4 * c
    embeddings = (patch * d + d) + (16 * d + d) + square + (6 * d * d + 6 * d)
    adapter = rows * d + 2 * square
    head = 2 * d + d * patch + patch
    assert count(shapes(TINY)) == embeddings + adapter + 2 * block + head
    with_frames = shapes(dataclasses.replace(TINY, action_frames=4))
    assert count(with_frames) == count(shapes(TINY)) + 4 * d


def test_sinusoids_have_their_cosines_first():
    embedded = np.asarray(sinusoid(jnp.array([[0.0, 1000.0]]), 6))
    assert embedded.shape == (1, 2, 6)
    np.testing.assert_allclose(embedded[0, 0], [1, 1, 1, 0, 0, 0])
    angles = 1000.0 * 10000.0 ** -np.array([0, 1 / 3, 2 / 3])
    np.testing.assert_allclose(embedded[0, 1], [*np.cos(angles), *np.sin(angles)], atol=1e-3)


@pytest.mark.parametrize(
    "changes, size, message",
    [
        ({}, (5, 4), "latents of 5x4 do not cut into patches of 2"),
        ({"heads": 5}, (4, 4), "width 24 is not a multiple of 5 heads"),
        ({"heads": 6}, (4, 4), "head width 4 does not split"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes, size, message):
    with pytest.raises(ValueError, match=message):
        shapes(dataclasses.replace(TINY, **changes), *size)


def test_one_noise_level_for_each_chunk_is_asked_for(params):
    with pytest.raises(AssertionError):
        velocity(TINY, params, sigma=np.ones((2, LATENTS), np.float32))


def test_named_sizes():
    for name in DIT_SIZES:
        size = dit_size(name)
        assert shapes(DiT(channels=3, action_sizes=SIZES, **(size | {"depth": 1})))
    with pytest.raises(ValueError, match="no world-model size 'XXL'; there are XXS, XXS2, XS, Ti"):
        dit_size("XXL")
