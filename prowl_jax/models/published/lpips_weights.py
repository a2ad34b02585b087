"""Published LPIPS weights: torchvision's AlexNet or VGG-16 and the heads of version 0.1, by name.

``python -m experiments.convert lpips`` writes the safetensors file that ``load_lpips`` reads. In it stand, under
their published names and in torch's layout, ``features.<N>.weight`` ``[out, in, kh, kw]`` and
``features.<N>.bias`` ``[out]`` of the trunk's convolutions, and ``lin<K>.model.1.weight`` ``[1, C, 1, 1]``
of the five heads. The metadata's ``trunk`` is ``alexnet`` or ``vgg16``.
"""

import pathlib
import re

from prowl_jax.metrics.lpips import TRUNKS
from prowl_jax.models.published import torch_layout

CONVOLUTIONS = {"alexnet": (0, 3, 6, 8, 10), "vgg16": (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)}
"""Trunk -> the numbers of torchvision's convolutions, ``features.<N>``."""
SOURCES = {
    "alexnet": ("https://download.pytorch.org/models/alexnet-owt-7be5be79.pth", "alex.pth"),
    "vgg16": ("https://download.pytorch.org/models/vgg16-397923af.pth", "vgg.pth"),
}
"""Trunk -> where torchvision publishes it, and its heads' file in lpips/weights/v0.1 of the authors' repository."""


def clean(arrays):
    """The arrays of trunk and heads alone, under the names of torchvision and of the heads' files.

    ``arrays`` may be both files together, or what ``lpips.LPIPS`` saves: there the trunk is
    ``net.slice<K>.<N>``, and each head is there a second time. Classifiers and constants are dropped.
    """
    renamed = {re.sub(r"^net\.slice\d+\.", "features.", name): array for name, array in arrays.items()}
    wanted = re.compile(r"features\.\d+\.(weight|bias)|lin\d\.model\.1\.weight")
    return {name: array for name, array in renamed.items() if wanted.fullmatch(name)}


def trunk_of(arrays):
    """Name of the trunk that has these cleaned arrays; ValueError where there is none."""
    first = arrays.get("features.0.weight")
    for name, trunk in TRUNKS.items():
        window = trunk.stages[0][1][0][0]  # 11 or 3
        if first is not None and first.shape[-1:] == (window,):
            return name
    raise ValueError(f"these are not the weights of LPIPS: no features.0.weight of {' or '.join(TRUNKS)}")


def from_published(arrays):
    """``(Trunk, params)`` for ``metrics.lpips`` from cleaned arrays.

    Raises:
      ValueError: something is missing, has another shape or has no place, or a head has weights below
        0, which the published ones never have.
    """
    name = trunk_of(arrays)
    trunk, kernels = TRUNKS[name], [f"features.{n}.weight" for n in CONVOLUTIONS[name]]
    torch_layout.check_shapes(_shapes(arrays, trunk, kernels), {key: array.shape for key, array in arrays.items()})
    torch_layout.check_real({key: array.dtype for key, array in arrays.items()})
    heads = tuple(arrays[f"lin{i}.model.1.weight"].reshape(-1) for i in range(len(trunk.stages)))
    for i, head in enumerate(heads):
        if not head.min() >= 0:
            raise ValueError(f"lin{i}.model.1.weight is below 0 or no number somewhere: no head of LPIPS")
    convs = tuple(
        {
            "kernel": torch_layout.from_layout(("kernel",), arrays[key]),
            "bias": arrays[key.removesuffix("weight") + "bias"],
        }
        for key in kernels
    )
    return trunk, {"convs": convs, "heads": heads}


def _shapes(arrays, trunk, kernels):
    """``{name: shape}`` that these weights must have, the widths of the convolutions being what they are."""
    expected, channels, layers = {}, 3, iter(kernels)
    for stage, (_, convs) in enumerate(trunk.stages):
        for window, _, _ in convs:
            key = next(layers)
            width = (arrays[key].shape or (-1,))[0] if key in arrays else -1
            expected[key] = (width, channels, window, window)
            expected[key.removesuffix("weight") + "bias"] = (width,)
            channels = width
        expected[f"lin{stage}.model.1.weight"] = (1, channels, 1, 1)
    return expected


def save(path, arrays):
    """Write cleaned arrays as the safetensors file ``path``; ValueError where they do not fit."""
    trunk, _ = from_published(arrays)
    torch_layout.save(path, arrays, {"trunk": trunk.name})


def load_lpips(path):
    """Published weights: ``(Trunk, params)`` for ``metrics.lpips``, params as numpy arrays.

    Raises:
      ValueError: there is no such file (the message says where to get it), or it holds something else.
      ImportError: safetensors is not installed.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise ValueError(how_to_get(path))
    try:
        return from_published(torch_layout.load_arrays(path)[0])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def how_to_get(path):
    """One line for a user without weights."""
    trunk, heads = SOURCES["alexnet"]
    return (
        f"no LPIPS weights at {path}: download {trunk} and lpips/weights/v0.1/{heads} of "
        "richzhang/PerceptualSimilarity, then run python -m experiments.convert lpips "
        f"--trunk={pathlib.PurePath(trunk).name} --heads={heads} --output={pathlib.Path(path).parent}"
    )
