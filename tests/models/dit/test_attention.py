"""Attention against a plain softmax, and rotary positions by their defining property."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prowl_jax.diffusion.forcing import block_causal_mask
from prowl_jax.models.dit.attention import (
    QKVAttention,
    apply_rope,
    attend,
    attend_causal,
    rope_angles,
    rope_split,
)

rng = np.random.default_rng(0)


def normal(*shape):
    return rng.normal(size=shape).astype(np.float32)


def plain_softmax(query, key, value, mask):
    """One query, one head at a time, in float64."""
    out = np.zeros(query.shape)
    for b, q, h in np.ndindex(query.shape[:3]):
        seen = np.flatnonzero(mask[q])
        logits = key[b, seen, h].astype(float) @ query[b, q, h] / np.sqrt(query.shape[-1])
        weights = np.exp(logits - logits.max())
        out[b, q, h] = weights @ value[b, seen, h] / weights.sum()
    return out


MASKS = {
    "all": np.ones((4, 6), bool),
    "causal over chunks of 2, queries last": np.asarray(block_causal_mask(4, 6, 2)),
    "causal over chunks of 3, queries last": np.asarray(block_causal_mask(4, 6, 3)),
}


@pytest.mark.parametrize("kind", ["einsum", "xla", "blocked"])
@pytest.mark.parametrize("name", MASKS)
def test_attention_is_the_plain_softmax(kind, name):
    query, key, value = normal(2, 4, 2, 6), normal(2, 6, 2, 6), normal(2, 6, 2, 6)
    expected = plain_softmax(query, key, value, MASKS[name])
    # jax.nn.dot_product_attention takes no numpy arrays.
    arrays = map(jnp.asarray, (query, key, value))
    np.testing.assert_allclose(attend(*arrays, MASKS[name][None, None], kind), expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["einsum", "xla", "blocked"])
@pytest.mark.parametrize(("chunk", "chunks", "past"), [(3, 44, 0), (3, 22, 22), (40, 3, 1), (80, 2, 0), (4, 2, 0)])
def test_causal_attention_computes_what_the_mask_lets_through(kind, chunk, chunks, past):
    """Spans of several chunks, spans that do not come out even, chunks wider than a span, a past; and the gradients."""
    length, keys = chunk * chunks, chunk * (chunks + past)
    query, key, value = (jnp.asarray(normal(2, n, 2, 6)) for n in (length, keys, keys))
    weight = jnp.asarray(normal(2, length, 2, 6))
    mask = np.arange(keys)[None] // chunk <= (keys - length + np.arange(length))[:, None] // chunk

    def both(function):
        out, pull = jax.vjp(function, query, key, value)
        return out, *pull(weight)

    expected = both(lambda *arrays: attend(*arrays, jnp.asarray(mask)))
    for ours, theirs in zip(both(lambda *arrays: attend_causal(*arrays, chunk, kind)), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5)


@pytest.mark.parametrize("name", [None, *MASKS])
def test_the_written_gradient_is_the_derived_one(name):
    """Against what JAX derives of a softmax written plainly."""
    query, key, value = (jnp.asarray(normal(2, n, 2, 6)) for n in (4, 6, 6))
    weight = jnp.asarray(normal(2, 4, 2, 6))
    mask = None if name is None else MASKS[name][None, None]

    def plain(query, key, value):
        logits = jnp.einsum("bqhd,bshd->bhqs", query, key) / np.sqrt(6)
        logits = logits if mask is None else jnp.where(mask, logits, -1e30)
        return jnp.einsum("bhqs,bshd->bqhd", jnp.exp(logits) / jnp.exp(logits).sum(-1, keepdims=True), value)

    def gradients(function):
        return jax.grad(lambda *arrays: jnp.sum(weight * function(*arrays)), (0, 1, 2))(query, key, value)

    ours = gradients(lambda *arrays: attend(*arrays, mask))
    for mine, theirs in zip(ours, gradients(plain), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)


def test_a_row_that_sees_nothing_is_the_mean_and_has_a_finite_gradient():
    query, key, value = (jnp.asarray(normal(1, n, 1, 6)) for n in (2, 3, 3))
    mask = jnp.asarray([[False] * 3, [True] * 3])[None, None]
    np.testing.assert_allclose(attend(query, key, value, mask)[0, 0, 0], value.mean(1)[0, 0], atol=1e-6)
    gradient = jax.grad(lambda q: attend(q, key, value, mask).sum())(query)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("kind", ["einsum", "xla", "blocked"])
def test_without_a_mask_everything_is_seen(kind):
    query, key, value = map(jnp.asarray, (normal(1, 3, 2, 6), normal(1, 5, 2, 6), normal(1, 5, 2, 6)))
    expected = plain_softmax(*map(np.asarray, (query, key, value)), np.ones((3, 5), bool))
    np.testing.assert_allclose(attend(query, key, value, None, kind), expected, atol=1e-5)


def test_large_logits_do_not_overflow():
    query = 1e4 * jnp.ones((1, 2, 1, 6))
    out = attend(query, query, jnp.asarray(normal(1, 2, 1, 6)))
    assert np.isfinite(out).all()


def test_128_channels_split_as_in_wan():
    assert rope_split(128) == (44, 42, 42)


@pytest.mark.parametrize("head_dim", [6, 8, 12, 48, 64, 96])
def test_a_split_is_even_and_complete(head_dim):
    split = rope_split(head_dim)
    assert sum(split) == head_dim and all(part > 0 and part % 2 == 0 for part in split)


@pytest.mark.parametrize("head_dim", [2, 4, 7, 13])
def test_a_width_that_does_not_split_is_refused(head_dim):
    with pytest.raises(ValueError, match=f"head width {head_dim} does not split"):
        rope_split(head_dim)


GRID, HEAD = (3, 2, 4), 16  # splits into 8 + 4 + 4


def rotated(x, grid=GRID, start=0):
    """``x`` ``[tokens, d]`` at the positions of the grid."""
    return np.asarray(apply_rope(jnp.asarray(x)[None, :, None], *rope_angles(*grid, HEAD, start)))[0, :, 0]


def test_angles_against_the_definition():
    cos, sin = rope_angles(*GRID, HEAD, start=5)
    tokens = [(t, h, w) for t in range(3) for h in range(2) for w in range(4)]
    for row, (t, h, w) in enumerate(tokens):
        angles = []
        for position, part in ((t + 5, 8), (h, 4), (w, 4)):
            angles += [position / 10000 ** (2 * i / part) for i in range(part // 2)]
        np.testing.assert_allclose(cos[row], np.cos(angles), atol=1e-5)
        np.testing.assert_allclose(sin[row], np.sin(angles), atol=1e-5)


def test_products_depend_on_differences_of_position_only():
    """The same query and key at every token: their product is a function of (dt, dh, dw)."""
    query, key = normal(HEAD), normal(HEAD)
    tokens = np.array([(t, h, w) for t in range(3) for h in range(2) for w in range(4)])
    products = rotated(np.tile(query, (24, 1))) @ rotated(np.tile(key, (24, 1))).T
    by_difference = {}
    for i, j in np.ndindex(24, 24):
        by_difference.setdefault(tuple(tokens[i] - tokens[j]), []).append(products[i, j])
    assert len(by_difference) == 5 * 3 * 7
    for values in by_difference.values():
        np.testing.assert_allclose(values, values[0], atol=1e-4)
    means = np.array([values[0] for values in by_difference.values()])
    assert len(np.unique(means.round(4))) > 90, "positions are not told apart"


@pytest.mark.parametrize("start", [1, 9, 30])
def test_products_do_not_depend_on_where_the_window_starts(start):
    query, key = normal(24, HEAD), normal(24, HEAD)
    here, there = (rotated(query, start=s) @ rotated(key, start=s).T for s in (0, start))
    np.testing.assert_allclose(here, there, atol=1e-4)


def test_the_start_goes_on_where_the_past_ended():
    whole = rope_angles(3, 2, 4, HEAD)
    tail = rope_angles(1, 2, 4, HEAD, start=2)
    for part, rest in zip(whole, tail, strict=True):
        np.testing.assert_allclose(part[16:], rest, atol=1e-6)


def test_rotation_keeps_lengths():
    x = normal(24, HEAD)
    np.testing.assert_allclose(np.linalg.norm(rotated(x), axis=1), np.linalg.norm(x, axis=1), rtol=1e-5)


def test_halves_are_interleaved_pairs_after_a_permutation():
    """Wan's checkpoints rotate channels (2i, 2i+1): evens first, then odds, makes them ours."""
    x = normal(24, HEAD)
    cos, sin = map(np.asarray, rope_angles(*GRID, HEAD))
    turned = (x[:, 0::2] + 1j * x[:, 1::2]) * (cos + 1j * sin)
    interleaved = np.stack([turned.real, turned.imag], axis=-1).reshape(x.shape)
    permutation = np.r_[0:HEAD:2, 1:HEAD:2]
    np.testing.assert_allclose(rotated(x[:, permutation]), interleaved[:, permutation], atol=1e-5)


def test_queries_and_keys_are_normed_over_all_heads_together(random_params):
    module = QKVAttention(width=12, heads=2)
    x = jnp.asarray(normal(2, 3, 12))

    def init(key, x):
        return module.init(key, x, method=lambda m, x: m.combine(m.project_query(x), *m.project_key_value(x)))

    params = random_params(init, x)
    params["params"]["norm_q"]["scale"][:] = params["params"]["norm_k"]["scale"][:] = 1.0
    query = np.asarray(module.apply(params, x, method="project_query"))
    key, value = module.apply(params, x, method="project_key_value")
    assert query.shape == key.shape == value.shape == (2, 3, 2, 6)
    for normed in (query, np.asarray(key)):
        np.testing.assert_allclose(np.square(normed).mean((2, 3)), 1.0, rtol=1e-3)
        assert np.abs(np.square(normed).mean(3) - 1.0).max() > 0.05  # and not head by head
