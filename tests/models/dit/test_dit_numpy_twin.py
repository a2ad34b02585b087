"""The whole transformer once more in plain numpy, token by token, from the description of Wan2.1's block."""

import jax
import numpy as np
import pytest

from prowl_jax.models.dit.dit import DiT

SIZES, CHUNK, PATCH, WIDTH, HEADS, HEAD = (3, 5), 2, 2, 24, 2, 12
DIT = DiT(
    channels=3, width=WIDTH, depth=2, heads=HEADS, ffn=32, action_sizes=SIZES, chunk=CHUNK,
    action_frames=2, frequency_width=16,
)  # fmt: skip
rng = np.random.default_rng(3)
Z = rng.normal(size=(4, 2, 4, 3)).astype(np.float32)  # 4 latents of 2x4: a token grid of 1x2
SIGMA = np.array([0.3, 0.8], np.float32)
LED_TO = np.stack([rng.integers(-1, size, (4, 2)) for size in SIZES], axis=-1)


def dense(p, x):
    return x @ p["kernel"] + p["bias"]


def layer_norm(x):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)


def rms_norm(p, x):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * p["scale"]


def silu(x):
    return x / (1 + np.exp(-x))


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def rotate(head, position):
    """Twelve channels split 4 + 4 + 4 over (t, h, w); channel i and i + 6 are one complex number."""
    angles = [p / 10000 ** (i / 4) for p in position for i in (0, 2)]
    turned = (head[:6] + 1j * head[6:]) * np.exp(1j * np.array(angles))
    return np.concatenate([turned.real, turned.imag])


def attention(p, x_query, x_key, seen, positions=None):
    """``seen[q]`` lists the keys of query q; ``positions`` turn queries and keys alike."""
    query, key = (
        rms_norm(p["norm_q"], dense(p["to_q"], x_query)),
        rms_norm(p["norm_k"], dense(p["to_k"], x_key)),
    )
    value, out = dense(p["to_v"], x_key), np.zeros_like(x_query)
    for h in range(HEADS):
        part = slice(h * HEAD, (h + 1) * HEAD)
        q, k = query[:, part], key[:, part]
        if positions is not None:
            q, k = (np.stack([rotate(*pair) for pair in zip(x, positions, strict=True)]) for x in (q, k))
        for i, keys in enumerate(seen):
            out[i, part] = softmax(k[keys] @ q[i] / np.sqrt(HEAD)) @ value[keys, part]
    return dense(p["to_out"], out)


def action_tokens(p):
    """For each latent, the tokens of its frames' factors."""
    tables = np.split(p["embedding"], [SIZES[0] + 1])  # row 0 of each: unknown
    tokens = [
        [
            tables[f][LED_TO[latent, frame, f] + 1] + p["frame"][frame, 0]
            for frame in range(2)
            for f in range(2)
        ]
        for latent in range(4)
    ]
    return dense(p["linear_2"], gelu(dense(p["linear_1"], np.array(tokens))))


def twin(p):
    grid = [(t, h, w) for t in range(4) for h in range(1) for w in range(2)]
    latent = [t for t, _, _ in grid]
    # A token is its patch, rows first, then columns, then channels.
    x = np.array([Z[t, 2 * h : 2 * h + 2, 2 * w : 2 * w + 2].reshape(-1) for t, h, w in grid], np.float64)
    x = dense(p["patch_embedding"], x)

    frequency = 10000.0 ** (-np.arange(8) / 8)
    angle = 1000.0 * SIGMA[:, None].astype(float) * frequency
    embedded = np.concatenate([np.cos(angle), np.sin(angle)], axis=1)
    embedded = dense(p["time_embedding_2"], silu(dense(p["time_embedding_1"], embedded)))
    modulation = dense(p["time_projection"], silu(embedded)).reshape(2, 6, WIDTH)
    chunk = [t // CHUNK for t in latent]
    actions = action_tokens(p["action_adapter"])

    for name in ("block_0", "block_1"):
        b = p[name]
        shift1, scale1, gate1, shift2, scale2, gate2 = (b["modulation"] + modulation)[chunk].transpose(
            1, 0, 2
        )
        normed = layer_norm(x) * (1 + scale1) + shift1
        seen = [[k for k in range(8) if chunk[k] <= chunk[q]] for q in range(8)]
        x = x + gate1 * attention(b["self_attention"], normed, normed, seen, grid)
        normed = layer_norm(x) * b["cross_norm"]["scale"] + b["cross_norm"]["bias"]
        for t in range(4):
            rows = [i for i in range(8) if latent[i] == t]
            x[rows] += attention(b["cross_attention"], normed[rows], actions[t], [[0, 1, 2, 3]] * 2)
        normed = layer_norm(x) * (1 + scale2) + shift2
        x = x + gate2 * dense(b["ffn_out"], gelu(dense(b["ffn_in"], normed)))

    shift, scale = (p["head_modulation"] + embedded[:, None])[chunk].transpose(1, 0, 2)
    out = dense(p["head"], layer_norm(x) * (1 + scale) + shift)
    velocity = np.zeros(Z.shape)
    for token, (t, h, w) in zip(out, grid, strict=True):
        velocity[t, 2 * h : 2 * h + 2, 2 * w : 2 * w + 2] = token.reshape(2, 2, 3)
    return velocity


@pytest.mark.parametrize("seed", [0, 1])
def test_the_transformer_is_its_description(random_params, seed):
    batch = Z[None], SIGMA[None], LED_TO[None]
    params = random_params(DIT.init, *batch, seed=seed)["params"]
    ours = jax.jit(lambda p: DIT.apply({"params": p}, *batch)[0])(params)[0]
    theirs = twin(jax.tree.map(lambda x: x.astype(np.float64), params))
    assert np.abs(theirs).std() > 0.1
    np.testing.assert_allclose(ours, theirs, atol=2e-4)
