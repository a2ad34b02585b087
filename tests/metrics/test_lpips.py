"""LPIPS on small random weights: a torch mirror, a numpy one with literal windows, and what must hold of any."""

import jax
import numpy as np
import pytest

from prowl_jax.metrics import lpips as library
from prowl_jax.metrics.lpips import ALEXNET, VGG16, lpips

TRUNKS = {"alexnet": ALEXNET, "vgg16": VGG16}
WIDTHS = {"alexnet": (4, 5, 6, 5, 4), "vgg16": (3, 3, 4, 4, 5, 5, 5, 6, 6, 6, 4, 4, 4)}


def random_params(trunk, seed=0):
    """Narrow weights of the right form: random convolutions and heads above 0."""
    rng, convs, heads, channels = np.random.default_rng(seed), [], [], 3
    widths = iter(WIDTHS[trunk.name])
    for _, stage in trunk.stages:
        for window, _, _ in stage:
            width = next(widths)
            kernel = rng.normal(size=(window, window, channels, width)) * (window * window * channels) ** -0.5
            convs.append({"kernel": kernel.astype(np.float32), "bias": rng.normal(size=width).astype(np.float32) / 4})
            channels = width
        heads.append(rng.uniform(size=channels).astype(np.float32))
    return {"convs": tuple(convs), "heads": tuple(heads)}


def pictures(height, width, seed=1, batch=()):
    return np.random.default_rng(seed).uniform(size=(2, *batch, height, width, 3)).astype(np.float32)


def windows_of(x, side, stride):
    """Literal windows of ``[H, W, C]``: ``[h, w, side, side, C]``."""
    rows, columns = ((n - side) // stride + 1 for n in x.shape[:2])
    return np.array(
        [
            [x[i * stride : i * stride + side, j * stride : j * stride + side] for j in range(columns)]
            for i in range(rows)
        ]
    )


# What the papers' networks are, written down a second time: "M" is a pooling, "tap" ends a stage.
LAYERS = {
    "alexnet": [(4, 2), "tap", "M3", (1, 2), "tap", "M3", (1, 1), "tap", (1, 1), "tap", (1, 1), "tap"],
    "vgg16": [
        *[(1, 1), (1, 1), "tap", "M2", (1, 1), (1, 1), "tap", "M2", (1, 1), (1, 1), (1, 1), "tap"],
        *["M2", (1, 1), (1, 1), (1, 1), "tap", "M2", (1, 1), (1, 1), (1, 1), "tap"],
    ],
}


def numpy_features(name, params, picture):
    mean, deviation = np.array([-0.030, -0.088, -0.188]), np.array([0.458, 0.448, 0.450])
    x, found, convs = (picture.astype(np.float64) * 2 - 1 - mean) / deviation, [], iter(params["convs"])
    for layer in LAYERS[name]:
        if layer == "tap":
            found.append(x)
        elif isinstance(layer, str):
            x = windows_of(x, int(layer[1]), 2).max(axis=(2, 3))
        else:
            stride, padding = layer
            weights = next(convs)
            padded = np.pad(x, ((padding, padding), (padding, padding), (0, 0)))
            patches = windows_of(padded, weights["kernel"].shape[0], stride)
            x = np.maximum(np.einsum("hwijc,ijcd->hwd", patches, weights["kernel"]) + weights["bias"], 0)
    return found


def numpy_lpips(name, params, a, b):
    total = 0.0
    for one, other, head in zip(*(numpy_features(name, params, x) for x in (a, b)), params["heads"], strict=True):
        units = [x / (np.sqrt((x**2).sum(-1, keepdims=True)) + 1e-10) for x in (one, other)]
        total += (((units[0] - units[1]) ** 2) * head).sum(-1).mean()
    return total


@pytest.mark.parametrize("name, size", [("alexnet", (48, 37)), ("vgg16", (19, 32))])
def test_a_literal_network_in_numpy_gives_the_same(name, size):
    trunk = TRUNKS[name]
    params, (a, b) = random_params(trunk), pictures(*size)
    for ours, theirs in zip(library.features(trunk, params, a), numpy_features(name, params, a), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(lpips(trunk, params, a, b), numpy_lpips(name, params, a, b), rtol=1e-4)


@pytest.mark.parametrize("name", TRUNKS)
def test_torchs_layers_give_the_same(name, held_to):
    torch = pytest.importorskip("torch", reason="the original is a torch module; torch is not installed")
    trunk = TRUNKS[name]
    params, (a, b) = random_params(trunk), pictures(64, 48, batch=(2,))
    shift, scale = (torch.tensor(v).view(1, 3, 1, 1) for v in ([-0.030, -0.088, -0.188], [0.458, 0.448, 0.450]))

    def features(images):
        x = (torch.from_numpy(images).permute(0, 3, 1, 2) * 2 - 1 - shift) / scale
        convs = iter(params["convs"])
        for layer in LAYERS[name]:
            if layer == "tap":
                yield x
            elif isinstance(layer, str):
                x = torch.nn.functional.max_pool2d(x, int(layer[1]), 2)
            else:
                weights = next(convs)
                kernel = torch.from_numpy(weights["kernel"]).permute(3, 2, 0, 1)
                x = torch.nn.functional.conv2d(x, kernel, torch.from_numpy(weights["bias"]), *layer).relu()

    total = 0.0
    for one, other, head in zip(features(a), features(b), params["heads"], strict=True):
        one, other = (x / (torch.sqrt(torch.sum(x**2, dim=1, keepdim=True)) + 1e-10) for x in (one, other))
        head = torch.from_numpy(head).view(1, -1, 1, 1)
        total += torch.nn.functional.conv2d((one - other) ** 2, head).mean((1, 2, 3))
    ours = jax.jit(lpips, static_argnums=0)(trunk, params, a, b)
    assert total.min() > 0.1
    held_to(f"LPIPS, {name}: torch's layers", ours, total, atol=1e-5)


@pytest.mark.parametrize("trunk", TRUNKS.values(), ids=TRUNKS)
def test_the_same_is_at_no_distance_and_order_does_not_matter(trunk):
    params, (a, b) = random_params(trunk), pictures(33, 40, batch=(2, 3))
    distance = np.asarray(lpips(trunk, params, a, b))
    assert distance.shape == (2, 3) and (distance > 0).all()
    np.testing.assert_allclose(lpips(trunk, params, a, a), 0.0, atol=1e-12)
    np.testing.assert_allclose(lpips(trunk, params, b, a), distance, rtol=1e-6)
    # The further a picture is mixed with another, the further it looks.
    steps = [float(np.mean(lpips(trunk, params, a, a + t * (b - a)))) for t in (0.1, 0.4, 1.0)]
    assert steps == sorted(steps)


@pytest.mark.parametrize("trunk", TRUNKS.values(), ids=TRUNKS)
def test_the_smallest_picture_is_the_smallest(trunk):
    side = trunk.smallest
    params = random_params(trunk)
    shapes = jax.eval_shape(
        lambda x: library.features(trunk, params, x), jax.ShapeDtypeStruct((side, side, 3), np.float32)
    )
    assert min(shapes[-1].shape) > 0
    assert side == {"alexnet": 31, "vgg16": 16}[trunk.name]
    with pytest.raises(
        ValueError, match=f"{trunk.name} needs pictures of at least {side} pixels a side, not 64x{side - 1}"
    ):
        lpips(trunk, params, *pictures(64, side - 1))
