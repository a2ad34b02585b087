"""LPIPS: how different two pictures look, by the features of a network for classification.

    d(x, y) = sum_l mean_hw sum_c w_lc (f_lc(x) - f_lc(y))^2

f_l are the features of stage l of AlexNet or VGG-16, divided by their norm over channels, w_l the
heads that were fitted to people's judgements (Zhang et al., CVPR 2018, arXiv 1801.03924; version 0.1 of
their code, richzhang/PerceptualSimilarity, BSD). It is LPIPS with the published weights only, which
``models/published/lpips_weights.py`` reads; other weights give a number of the same form and another meaning. The
published ones were never read: docs/limits.md.
"""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np

# Of pixels in -1..1, as in the original.
_SHIFT = np.array([-0.030, -0.088, -0.188], np.float32)
_SCALE = np.array([0.458, 0.448, 0.450], np.float32)


@dataclasses.dataclass(frozen=True)
class Trunk:
    """A network's convolutions up to its last stage.

    Attributes:
      name: "alexnet" or "vgg16".
      stages: for each, the side of the max-pooling before it (its stride is 2; 0: none), and (window,
        stride, padding) of its convolutions, each followed by ReLU. Features are taken at its end.
    """

    name: str
    stages: tuple

    @property
    def smallest(self):
        """The smallest side of a picture that leaves something at the end."""
        return next(side for side in range(1, 256) if self._left(side))

    def _left(self, side):
        for pool, convs in self.stages:
            side = (side - pool) // 2 + 1 if pool else side
            for window, stride, padding in convs:
                side = (side + 2 * padding - window) // stride + 1 if side > 0 else 0
        return side > 0


_SAME = (3, 1, 1)
ALEXNET = Trunk("alexnet", ((0, ((11, 4, 2),)), (3, ((5, 1, 2),)), (3, (_SAME,)), (0, (_SAME,)), (0, (_SAME,))))
VGG16 = Trunk("vgg16", ((0, (_SAME,) * 2), (2, (_SAME,) * 2), *((2, (_SAME,) * 3),) * 3))
TRUNKS = {trunk.name: trunk for trunk in (ALEXNET, VGG16)}


def check_size(trunk, height, width):
    """ValueError of one line where pictures are too small for the trunk."""
    if min(height, width) < trunk.smallest:
        smallest = trunk.smallest
        raise ValueError(f"{trunk.name} needs pictures of at least {smallest} pixels a side, not {height}x{width}")


def features(trunk, params, images):
    """Features of every stage.

    Args:
      trunk: ``ALEXNET`` or ``VGG16``.
      params: ``{"convs": ({"kernel": [kh, kw, C, D], "bias": [D]}, ...), "heads": ...}``.
      images: float ``[..., H, W, 3]`` in 0..1.

    Returns:
      list of float ``[..., h, w, D]``.

    Raises:
      ValueError: pictures too small for the trunk.
    """
    chex.assert_axis_dimension(images, -1, 3)
    *batch, height, width, _ = images.shape
    check_size(trunk, height, width)
    x = (2.0 * images.reshape(-1, height, width, 3) - 1.0 - _SHIFT) / _SCALE
    convs, found = iter(params["convs"]), []
    for pool, stage in trunk.stages:
        if pool:
            x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, pool, pool, 1), (1, 2, 2, 1), "VALID")
        for _, stride, padding in stage:
            layer = next(convs)
            x = jax.lax.conv_general_dilated(
                x, layer["kernel"], (stride, stride), [(padding, padding)] * 2,
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )  # fmt: skip
            x = jax.nn.relu(x + layer["bias"])
        found.append(x.reshape(*batch, *x.shape[1:]))
    return found


def lpips(trunk, params, a, b):
    """LPIPS of pairs of pictures: two float ``[..., H, W, 3]`` in 0..1 -> ``[...]``, 0 for the same.

    ``trunk`` and ``params`` from ``models.published.lpips_weights.load_lpips``; ``params["heads"]`` are float
    ``[D]``, one a stage. ValueError where pictures are too small for the trunk.
    """
    chex.assert_equal_shape([a, b])
    total = 0.0
    for one, other, head in zip(
        features(trunk, params, a), features(trunk, params, b), params["heads"], strict=True
    ):
        squares = jnp.square(_unit(one) - _unit(other))
        total += jnp.mean(jnp.sum(squares * head, axis=-1), axis=(-2, -1))
    return total


def _unit(x):
    return x / (jnp.linalg.norm(x, axis=-1, keepdims=True) + 1e-10)
