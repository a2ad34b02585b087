"""Published VPT weights to our trees and back, by name.

``python -m experiments.convert vpt`` turns OpenAI's ``.weights`` (a pickle of torch tensors) into a safetensors
file, once. That file keeps the published names and layouts, so neither torch nor pickle is needed to
run, and it outlives changes of our trees. The architecture is read off the shapes of its arrays; its
metadata say what the shapes cannot, the temperature.
"""

import functools
import pathlib
import re

import jax

from prowl_jax.models.policies.vpt_idm import CAMERA_AXES, IDMNetwork, VPTInverseDynamics
from prowl_jax.models.policies.vpt_policy import VPTNetwork, VPTPolicy
from prowl_jax.models.policies.vpt_trunk import BASIS
from prowl_jax.models.published import torch_layout

SOURCE = "https://openaipublic.blob.core.windows.net/minecraft-rl"
"""Where the files lie that the README of openai/Video-Pre-Training lists."""

# From a path of our tree, joined by dots, to the published name; in this order.
_RENAMES = (
    torch_layout.NUMBERED,
    (r"^net\.(cnn|linear)\.", r"net.img_process.\1."),
    (r"^net\.blocks\.", "net.recurrent_layer.blocks."),
    (r"\.attention\.", ".r.orc_block."),
    (r"\.mlp1\.", ".mlp1.layer."),
    (r"^conv3d_layer\.", "net.conv3d_layer.layer."),
    (r"^pi_head\.(\w+)\.", r"pi_head.\1.linear_layer."),
    torch_layout.WEIGHT,
)


def to_published(params):
    """Our parameters as ``{published name: numpy array}``."""
    return torch_layout.to_published(params, _RENAMES)


def from_published(model, arrays):
    """Parameters of ``model`` from ``{published name: numpy array}``; views, nothing is copied.

    Args:
      model: ``VPTPolicy`` or ``VPTInverseDynamics``.

    Raises:
      ValueError: arrays are missing, have another shape, or have no place; they are named.
    """
    return torch_layout.from_published(_shapes(model), arrays, _RENAMES)


def published_shapes(model):
    """``{published name: shape there}`` of every array of a model; nothing is allocated."""
    return torch_layout.published_shapes(_shapes(model), _RENAMES)


@functools.cache  # tracing takes longer than all the rest
def _shapes(model):
    side = model.network.image
    frame_shape = ((side, side, 3),) if isinstance(model, VPTPolicy) else ()
    return jax.eval_shape(lambda k: model.init(k, *frame_shape), jax.random.key(0))


def is_inverse_dynamics(arrays):
    """Whether ``{published name: array}`` are those of the inverse dynamics model."""
    return "net.conv3d_layer.layer.weight" in arrays


def model_of(arrays, temperature):
    """The ``VPTPolicy`` or ``VPTInverseDynamics`` that has arrays of these names and shapes.

    Raises:
      ValueError: arrays from which the sizes are read are missing or no such network has them.
    """
    with torch_layout.sizes_of("a VPT network"):
        return _model_of({name: array.shape for name, array in arrays.items()}, temperature)


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
    if 0 in (hidden, common["heads"], common["image"], *channels):
        raise ValueError("a size is 0")
    (buttons,), (camera,) = (shapes[f"pi_head.{head}.linear_layer.bias"] for head in ("buttons", "camera"))
    if is_inverse_dynamics(shapes):
        time_channels = shapes["net.conv3d_layer.layer.weight"][0]
        return VPTInverseDynamics(IDMNetwork(**common, time_channels=time_channels, bins=camera // CAMERA_AXES))
    kept = shapes[block + "0.r.orc_block.b_nd"][1]
    return VPTPolicy(VPTNetwork(**common, kept=kept, buttons=buttons, camera=camera))


def save(path, arrays, temperature):
    """Write ``{published name: array}`` as the safetensors file ``path``; it is there whole or not at all."""
    torch_layout.save(path, arrays, {"temperature": float(temperature)})


def load_policy(path):
    """A published policy: ``(VPTPolicy, params)``, params as numpy arrays.

    Args:
      path: what ``python -m experiments.convert vpt`` wrote, such as ``foundation-model-1x.safetensors``.

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
    arrays, metadata = torch_layout.load_arrays(path)
    try:
        model = model_of(arrays, float(metadata.get("temperature", "nan")))
        if not isinstance(model, kind):
            raise ValueError(f"these are the weights of a {type(model).__name__}, not of a {kind.__name__}")
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
        f"python -m experiments.convert vpt --model={pathlib.PurePosixPath(model).name} "
        f"--weights={pathlib.PurePosixPath(weights).name} --output={path.parent}"
    )
