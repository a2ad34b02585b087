"""One safetensors file a model: half-precision arrays by name, and JSON of the networks that they belong to."""

import dataclasses
import hashlib
import json
import pathlib
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from prowl_jax.actions import ActionSpec
from prowl_jax.models.published.tensor_file import open_tensors
from prowl_jax.models.published.torch_layout import check_real
from prowl_jax.zoo.parts import from_json, settings_of, to_json

WEIGHTS = pathlib.Path(__file__).parent / "weights"
FORMAT = "1"
PARTS = ("world_model", "policy", "inverse_dynamics")


@dataclasses.dataclass(frozen=True)
class Model:
    """A world model and what belongs to it.

    Attributes:
      world_model: ``UNetWorldModel`` or ``WorldModel``. params: its parameters, float32 numpy arrays.
      spec: ``ActionSpec``. frame_shape: ``(H, W, 3)``.
      environment: what it was trained on, as keys of a configuration: name -> value.
      policy, policy_params: the reference policy, cloned from the same demonstrations; None where there is none.
      inverse_dynamics, inverse_dynamics_params: reads actions off frames; None where there is none.
    """

    world_model: Any
    params: dict
    spec: ActionSpec
    frame_shape: tuple
    environment: dict = dataclasses.field(default_factory=dict)
    policy: Any = None
    policy_params: dict | None = None
    inverse_dynamics: Any = None
    inverse_dynamics_params: dict | None = None


def names():
    """The shipped models."""
    return sorted(path.stem for path in WEIGHTS.glob("*.safetensors"))


def path_of(name):
    """Where a shipped model, or one of your own, lies; ValueError names those there are."""
    shipped, own = WEIGHTS / f"{name}.safetensors", pathlib.Path(name)
    if shipped.exists():
        return shipped
    if own.suffix == ".safetensors":
        if own.exists():
            return own
        raise ValueError(f"{name} is not there; name a file of weights or one of {', '.join(names())}")
    raise ValueError(f"no weights {name!r}; there are {', '.join(names()) or 'none'}, or name a .safetensors file")


def save(path, model, *, half=True):
    """Write a ``Model``: float arrays as float16 where ``half``. Returns the file's SHA-256.

    Raises:
      ValueError: an array is not finite, or too large for float16.
    """
    from safetensors.numpy import save_file

    arrays = {}
    params = dict(zip(PARTS, (model.params, model.policy_params, model.inverse_dynamics_params), strict=True))
    for part in PARTS:
        for keys, array in traverse_util.flatten_dict(params[part] or {}).items():
            array = np.asarray(array)
            with np.errstate(over="ignore"):  # what does not fit is found below
                kept = array.astype(np.float16) if half and array.dtype == np.float32 else array
            if not np.isfinite(kept).all():
                raise ValueError(f"{part}/{'/'.join(keys)} is not finite in {kept.dtype}")
            arrays["/".join((part, *keys))] = np.ascontiguousarray(kept)
    described = {
        "format": FORMAT,
        "frame_shape": list(model.frame_shape),
        "spec": model.spec.to_json(),
        "environment": model.environment,
        **{part: to_json(getattr(model, part)) for part in PARTS},
    }
    save_file(arrays, path, metadata={"prowl_jax": json.dumps(described)})
    return sha256(path)


def load(name):
    """The ``Model`` that is shipped as ``name``, or that lies in the file ``name``.

    Raises:
      ValueError: one line: there is none, it is damaged, of another version, or not what its card says.
    """
    path = path_of(str(name))
    described, arrays = _read(path)
    try:
        model = Model(
            world_model=from_json(described["world_model"]),
            params={},
            spec=ActionSpec.from_json(described["spec"]),
            frame_shape=tuple(described["frame_shape"]),
            environment=described["environment"],
            policy=from_json(described["policy"]),
            inverse_dynamics=from_json(described["inverse_dynamics"]),
        )
        trees = {part: _tree(arrays, part) for part in PARTS}
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"{path} does not say what its weights belong to ({error}): another version made it") from None
    trees["world_model"].setdefault("autoencoder", {})
    for part in PARTS:
        network = getattr(model, part)
        if network is not None:
            sizes = (model.frame_shape, 2 * network.chunk) if part == "world_model" else (model.frame_shape,)
            try:
                expected = jax.eval_shape(lambda key, n=network, s=sizes: n.init(key, *s), jax.random.key(0))
            except Exception as error:  # noqa: BLE001 - sizes that go together nowhere raise whatever a layer raises
                words = str(error).splitlines()[0] if str(error) else type(error).__name__
                raise ValueError(f"{path}: no {part} has the sizes that it names ({words[:120]})") from None
            _check_shapes(path, part, expected, trees[part])
    try:
        check_real({name: array.dtype for name, array in arrays.items()})
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return dataclasses.replace(
        model, params=trees["world_model"], policy_params=trees["policy"] or None,
        inverse_dynamics_params=trees["inverse_dynamics"] or None,
    )  # fmt: skip


def read_card(name):
    """The card beside a file of weights, a dict; empty where there is none, and ValueError where it is no such card."""
    card = path_of(str(name)).with_suffix(".json")
    if not card.exists():
        return {}
    try:
        read = json.loads(card.read_text())
    except (ValueError, RecursionError, OSError):
        read = None
    if not isinstance(read, dict):
        raise ValueError(f"{card} is no card of weights: it is not a dict in JSON")
    return read


def differences(one, other):
    """Lines ``setting: this, not that`` in which two networks, or dataclasses around them, differ."""
    if type(one) is not type(other):
        return [f"{type(one).__name__}, not {type(other).__name__}"]
    lines = []
    theirs = settings_of(other)
    for name, value in settings_of(one).items():
        if dataclasses.is_dataclass(value) and type(value) is type(theirs[name]):
            lines += differences(value, theirs[name])
        elif value != theirs[name]:
            lines.append(f"{name}: {value}, not {theirs[name]}")
    return lines


def sha256(path):
    """Of a file's content, in hexadecimal."""
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def _read(path):
    expected = read_card(path).get("sha256")
    if expected and expected != sha256(path):
        raise ValueError(f"{path} is damaged: its checksum is not the one of {path.stem}.json; get it anew")
    try:
        file = open_tensors(path)
        described = json.loads(file.metadata.get("prowl_jax", "null"))
        arrays = {name: file.read(name) for name in file.shapes}
    except ImportError:
        raise ValueError(f"reading {path} needs safetensors: pip install 'safetensors>=0.5'") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged or no file of weights: {error}") from None
    if not isinstance(described, dict) or described.get("format") != FORMAT:
        raise ValueError(f"{path} holds no weights of prowl_jax's format {FORMAT}")
    return described, arrays


def _tree(arrays, part):
    return traverse_util.unflatten_dict(
        {tuple(n.split("/")[1:]): array for n, array in arrays.items() if n.startswith(f"{part}/")}
    )


def _check_shapes(path, part, expected, found):
    expected, found = (traverse_util.flatten_dict(tree) for tree in (expected, found))
    for keys in expected.keys() | found.keys():
        want, have = (tree[keys].shape if keys in tree else None for tree in (expected, found))
        if want != have:
            raise ValueError(f"{path}: {part}/{'/'.join(keys)} has shape {have}, the network asks for {want}")
