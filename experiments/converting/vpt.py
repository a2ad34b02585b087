"""OpenAI's published VPT weights as safetensors, once:

    python -m experiments.convert vpt --model=foundation-model-1x.model --weights=foundation-model-1x.weights \
        --output=DIR

writes ``DIR/foundation-model-1x.safetensors``, which ``prowl_jax.models.published.vpt_weights.load_policy``
reads without torch. The inverse dynamics model (``4x_idm.model``, ``4x_idm.weights``) likewise. Needs the extra
``convert``. ``--temperature=2.0`` instead of ``--model`` where that file is not at hand.

Both files are pickles, which can run code where they are loaded carelessly. The weights go through
torch's own loader of nothing but tensors; the ``.model`` file through one that knows no names at all.
"""

import io
import pathlib
import pickle

import numpy as np

from experiments.converting.tensors import read_tensors
from experiments.run.config_file import UsageError

# What the network here does, under the names of the ``.model`` file's arguments. Arguments that give
# sizes are held against the shapes of the weights instead.
FIXED = {
    "recurrence_type": "transformer",
    "recurrence_is_residual": True,
    "use_pointwise_layer": True,
    "pointwise_ratio": 4,
    "pointwise_use_activation": False,
    "use_pre_lstm_ln": False,
    "init_norm_kwargs.group_norm_groups": 1,
    "impala_kwargs.post_pool_groups": 1,
}


def add_flags(parser):
    """Give ``parser`` the flags of this conversion, and what does it with them."""
    parser.add_argument("--weights", required=True, metavar="FILE", help="such as foundation-model-1x.weights")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--model", metavar="FILE", help="such as foundation-model-1x.model")
    source.add_argument("--temperature", type=float, metavar="NUMBER", help="of the logits, instead of --model")
    parser.add_argument("--output", required=True, metavar="DIR", help="where the safetensors file goes")
    parser.set_defaults(convert=lambda flags: convert(flags.weights, flags.model, flags.temperature, flags.output))


def convert(weights, model, temperature, output):
    """Write ``output/<stem of weights>.safetensors``; returns lines that say what it holds.

    Args:
      weights: path of the published ``.weights``. output: a folder, made where there is none.
      model: path of the published ``.model``, or None and ``temperature``, what logits are divided by.

    Raises:
      UsageError, ValueError, ImportError, OSError: one line that says what is wrong; nothing is written.
    """
    arguments = None
    if model is not None:
        arguments, temperature = read_model(model)
    if not temperature > 0:
        raise UsageError(f"the temperature must be positive, not {temperature}")
    target = pathlib.Path(output) / f"{pathlib.Path(weights).stem}.safetensors"
    if target.exists():
        raise UsageError(f"{target} exists already; name another --output or remove it")
    arrays = read_weights(weights)
    # After the cheap mistakes, since it imports JAX.
    from prowl_jax.models.published import vpt_weights as library

    network = library.model_of(arrays, temperature)
    if arguments is not None:
        check(arguments, network.network, model, weights)
    said = fit(library.published_shapes(network), arrays)
    library.from_published(network, arrays)  # says what is still missing or of another shape
    library.save(target, arrays, temperature)
    millions = sum(array.size for array in arrays.values()) / 1e6
    kind = "inverse dynamics model" if library.is_inverse_dynamics(arrays) else "policy"
    return "\n".join([*said, f"wrote {target}: a {kind}, {millions:.1f} M numbers, temperature {temperature:g}"])


class _PlainUnpickler(pickle.Unpickler):
    """Dicts, lists, tuples, texts and numbers need no name to be looked up; so no name is."""

    def find_class(self, module, name):
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def read_model(path):
    """The network's arguments (a dict) and the temperature in a published ``.model`` file.

    Raises:
      UsageError: it is not there, or asks to load anything but plain data, or has another structure.
    """
    content = _file(path, "--model").read_bytes()
    instead = "give --temperature=2.0 instead of --model (4.0 for 4x_idm) if you trust the weights"
    try:
        loaded = _PlainUnpickler(io.BytesIO(content)).load()
    except Exception as error:  # noqa: BLE001, a broken pickle raises anything
        raise UsageError(f"{path} is refused, it is not plain data: {error}; {instead}") from None
    try:
        arguments = loaded["model"]["args"]["net"]["args"]
        return dict(arguments), float(loaded["model"]["args"]["pi_head_opts"]["temperature"])
    except (KeyError, TypeError, ValueError, IndexError):
        raise UsageError(
            f"{path} is not a VPT .model file: it has no ['model']['args'] of the kind; {instead}"
        ) from None


def read_weights(path):
    """``{name: numpy array}`` of a published ``.weights`` file, by torch's loader of tensors only."""
    return read_tensors(_file(path, "--weights"), "VPT's")


def check(arguments, network, model, weights):
    """UsageError where a ``.model`` file's arguments are not those of the network its weights make."""
    ours = FIXED | {
        "hidsize": network.hidden,
        "attention_heads": network.heads,
        "n_recurrence_layers": network.blocks,
        "attention_mask_style": "clipped_causal" if hasattr(network, "kept") else "none",
    }
    given = dict(arguments)
    for group, inner in arguments.items():
        if isinstance(inner, dict):
            given |= {f"{group}.{name}": value for name, value in inner.items()}
    for name, value in ours.items():
        if given.get(name, value) != value:
            raise UsageError(
                f"{model} says {name} = {given[name]!r}, but the network of {weights} has {value!r}: "
                "another model's file?"
            )


def fit(shapes, arrays):
    """Make ``arrays`` fit ``{name: shape}`` where that loses nothing of the policy; returns what was done.

    As the original's loader does, which is not strict: arrays without a place (training by reinforcement
    leaves auxiliary heads) are taken out, and a value head that is missing altogether starts at 0.
    """
    said = []
    extra = sorted(arrays.keys() - shapes.keys())
    if extra:
        said.append(f"left out, without a place in the network: {', '.join(extra)}")
        for name in extra:
            del arrays[name]
    value_head = {name: shape for name, shape in shapes.items() if name.startswith("value_head.")}
    if value_head and not arrays.keys() & value_head.keys():
        said.append("there is no value head: it starts at 0")
        arrays |= {name: np.zeros(shape, np.float32) for name, shape in value_head.items()}
    return said


def _file(path, flag):
    path = pathlib.Path(path)
    if not path.is_file():
        raise UsageError(f"{flag}={path}: no such file; the README of openai/Video-Pre-Training links to all of them")
    return path
