"""Published VPT weights to our trees and back, by name.

``experiments/convert_vpt.py`` turns OpenAI's ``.weights`` (a pickle of torch tensors) into a safetensors
file, once. That file keeps the published names and layouts, so neither torch nor pickle is needed to
run, and it outlives changes of our trees. The architecture is read off the shapes of its arrays; its
metadata say what the shapes cannot, the temperature.
"""

import functools
import os
import pathlib
import re

import jax
import numpy as np
from flax import traverse_util

from prowl_jax.models.vpt_idm import CAMERA_AXES, IDMNetwork, VPTInverseDynamics
from prowl_jax.models.vpt_policy import VPTNetwork, VPTPolicy
from prowl_jax.models.vpt_trunk import BASIS

SOURCE = "https://openaipublic.blob.core.windows.net/minecraft-rl"
"""Where the files lie that the README of openai/Video-Pre-Training lists."""

# From a path of our tree, joined by dots, to the published name; in this order.
_RENAMES = (
    (r"_(\d+)\.", r".\1."),
    (r"^net\.(cnn|linear)\.", r"net.img_process.\1."),
    (r"^net\.blocks\.", "net.recurrent_layer.blocks."),
    (r"\.attention\.", ".r.orc_block."),
    (r"\.mlp1\.", ".mlp1.layer."),
    (r"^conv3d_layer\.", "net.conv3d_layer.layer."),
    (r"^pi_head\.(\w+)\.", r"pi_head.\1.linear_layer."),
    (r"\.(kernel|scale)$", ".weight"),
)


def published_name(path):
    """``("net", "cnn", "stacks_0", "n", "scale")`` -> ``"net.img_process.cnn.stacks.0.n.weight"``."""
    name = ".".join(path)
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def _order(path, ndim):
    """The order of our axes in the published array: ours (*window, in, out), torch's (out, in, *window)."""
    axes = tuple(range(ndim))
    return (*axes[::-1][:2], *axes[:-2]) if path[-1] == "kernel" else axes


def to_published(params):
    """Our parameters as ``{published name: numpy array}``."""
    flat = {path: np.asarray(array) for path, array in traverse_util.flatten_dict(params).items()}
    return {published_name(path): array.transpose(_order(path, array.ndim)) for path, array in flat.items()}


def from_published(model, arrays):
    """Parameters of ``model`` from ``{published name: numpy array}``; views, nothing is copied.

    Args:
      model: ``VPTPolicy`` or ``VPTInverseDynamics``.

    Raises:
      ValueError: arrays are missing, have another shape, or have no place; they are named.
    """
    shapes = published_shapes(model)
    wrong = [f"{name} has no place in this network" for name in sorted(arrays.keys() - shapes.keys())]
    for name, shape in shapes.items():
        if name not in arrays:
            wrong.append(f"{name} is missing")
        elif arrays[name].shape != shape:
            wrong.append(f"{name} has shape {arrays[name].shape}, not {shape}")
    if wrong:
        more = f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise ValueError(f"these weights do not fit: {'; '.join(wrong[:5])}{more}")
    params = {}
    for path in _shapes(model):
        array = arrays[published_name(path)]
        params[path] = array.transpose(np.argsort(_order(path, array.ndim)))
    return traverse_util.unflatten_dict(params)


def published_shapes(model):
    """``{published name: shape there}`` of every array of a model; nothing is allocated."""
    ours = {path: leaf.shape for path, leaf in _shapes(model).items()}
    return {
        published_name(path): tuple(shape[axis] for axis in _order(path, len(shape))) for path, shape in ours.items()
    }


@functools.cache  # tracing takes longer than all the rest
def _shapes(model):
    side = model.network.image
    frame_shape = ((side, side, 3),) if isinstance(model, VPTPolicy) else ()
    return traverse_util.flatten_dict(jax.eval_shape(lambda k: model.init(k, *frame_shape), jax.random.key(0)))


def is_inverse_dynamics(arrays):
    """Whether ``{published name: array}`` are those of the inverse dynamics model."""
    return "net.conv3d_layer.layer.weight" in arrays


def model_of(arrays, temperature):
    """The ``VPTPolicy`` or ``VPTInverseDynamics`` that has arrays of these names and shapes.

    Raises:
      ValueError: arrays from which the sizes are read are missing or no such network has them.
    """
    try:
        return _model_of({name: array.shape for name, array in arrays.items()}, temperature)
    except KeyError as error:
        raise ValueError(f"these are not the weights of a VPT network: {error.args[0]} is missing") from None
    except (ValueError, IndexError):
        raise ValueError("these are not the weights of a VPT network: the shapes do not go together") from None


def _model_of(shapes, temperature):
    cnn, block = "net.img_process.cnn.", "net.recurrent_layer.blocks."
    channels = tuple(shapes[f"{cnn}stacks.{i}.firstconv.layer.weight"][0] for i in range(3))
    (flat,), (hidden,) = shapes[cnn + "dense.norm.weight"], shapes["net.final_ln.weight"]
    common = dict(
        channels=channels,
        hidden=hidden,
        heads=shapes[block + "0.r.orc_block.r_layer.bias"][0] // BASIS,
        blocks=sum(re.fullmatch(re.escape(block) + r"\d+\.pre_r_ln\.weight", name) is not None for name in shapes),
        image=8 * round((flat / channels[-1]) ** 0.5),
        temperature=temperature,
    )
    if 0 in (hidden, common["heads"], common["image"]):
        raise ValueError("a size is 0")
    (buttons,), (camera,) = (shapes[f"pi_head.{head}.linear_layer.bias"] for head in ("buttons", "camera"))
    if is_inverse_dynamics(shapes):
        time_channels = shapes["net.conv3d_layer.layer.weight"][0]
        return VPTInverseDynamics(IDMNetwork(**common, time_channels=time_channels, bins=camera // CAMERA_AXES))
    kept = shapes[block + "0.r.orc_block.b_nd"][1]
    return VPTPolicy(VPTNetwork(**common, kept=kept, buttons=buttons, camera=camera))


def save(path, arrays, temperature):
    """Write ``{published name: array}`` as the safetensors file ``path``; it is there whole or not at all."""
    library, path = _safetensors(), pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    library.numpy.save_file(arrays, partial, metadata={"temperature": str(float(temperature))})
    os.replace(partial, path)


def load_policy(path):
    """A published policy: ``(VPTPolicy, params)``, params as numpy arrays.

    Args:
      path: what ``python -m experiments.convert_vpt`` wrote, such as ``foundation-model-1x.safetensors``.

    Raises:
      FileNotFoundError: it is not there; the message says where to get it. ValueError: it holds
      something else. ImportError: safetensors is not installed.
    """
    return _load(path, VPTPolicy)


def load_inverse_dynamics(path):
    """The published inverse dynamics model: ``(VPTInverseDynamics, params)``; see ``load_policy``."""
    return _load(path, VPTInverseDynamics)


def _load(path, kind):
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(how_to_get(path, kind))
    library = _safetensors()
    try:
        with library.safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dict
            metadata = file.metadata() or {}
    except library.SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file ({error}); convert the weights again") from None
    try:
        model = model_of(arrays, float(metadata.get("temperature", "nan")))
        if not isinstance(model, kind):
            raise ValueError(f"these are the weights of a {type(model).__name__}, not of a {kind.__name__}")  # noqa: TRY004
        if not model.network.temperature > 0:
            raise ValueError("no temperature is written in it; convert the weights again")
        return model, from_published(model, arrays)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def how_to_get(path, kind=VPTPolicy):
    """One line for a user without weights: which file, where to get it, where to put it."""
    width = re.search(r"\dx", path.stem)
    if kind is VPTInverseDynamics:
        weights, model = "idm/4x_idm.weights", "idm/4x_idm.model"
    else:
        size = width[0] if width else "1x"
        named = path.stem if width else "foundation-model-1x"
        weights, model = f"models/{named}.weights", f"models/{'' if size == '2x' else 'foundation-model-'}{size}.model"
    return (
        f"no VPT weights at {path}: download {SOURCE}/{weights} and {SOURCE}/{model}, then run "
        f"python -m experiments.convert_vpt --model={pathlib.PurePosixPath(model).name} "
        f"--weights={pathlib.PurePosixPath(weights).name} --output={path.parent}"
    )


def _safetensors():
    try:
        import safetensors
        import safetensors.numpy
    except ImportError as error:
        raise ImportError("VPT's weights need safetensors: pip install 'prowl_jax[vpt]'") from error
    return safetensors
