"""Weights of Wan2.1's transformer to the DiT's parameters and back, under diffusers' names or the original ones.

The files are safetensors and are read as they are, a tensor at a time, in as many shards as there are:
``transformer/`` of Wan-AI/Wan2.1-T2V-1.3B-Diffusers, or ``diffusion_pytorch_model.safetensors`` of
Wan-AI/Wan2.1-T2V-1.3B. Beside names and torch's layouts three things differ:

  patches    a convolution ``[D, C, 1, p, p]`` there, a matrix over (row, column, channel) here;
  tables     of the modulation have a leading axis of 1 there;
  positions  turn the channels (2i, 2i + 1) of a head there and (i, i + d/2) here, so the rows of the self
             attention's query and key, and of their norms, are permuted.

Wan's text embedder is the action adapter of a DiT with a ``text_width``. What Wan does not have, the
embeddings of frames and of action factors, stands in exported files under our names, beside the rest.

The published files themselves were never read: docs/limits.md.
"""

import functools
import json
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from prowl_jax.models.dit.action_adapter import ActionAdapter
from prowl_jax.models.published import torch_layout

SOURCE = "https://huggingface.co/Wan-AI/Wan2.1-T2V-1.3B-Diffusers"
"""Where the published transformer lies, in the folder transformer."""

_ADAPTER = "action_adapter."
_TEXT = "condition_embedder.text_embedder."
_RENAMES = (
    (r"^block_(\d+)\.", r"blocks.\1."),
    (r"^time_embedding_(\d)\.", r"condition_embedder.time_embedder.linear_\1."),
    (r"^time_projection\.", "condition_embedder.time_proj."),
    (r"^head\.", "proj_out."),
    (r"^head_modulation$", "scale_shift_table"),
    (r"\.modulation$", ".scale_shift_table"),
    (r"\.self_attention\.", ".attn1."),
    (r"\.cross_attention\.", ".attn2."),
    (r"\.cross_norm\.", ".norm2."),
    (r"\.to_out\.", ".to_out.0."),
    (r"\.ffn_in\.", ".ffn.net.0.proj."),
    (r"\.ffn_out\.", ".ffn.net.2."),
    torch_layout.WEIGHT,
)
_TEXT_RENAMES = ((r"^action_adapter\.linear_", _TEXT + "linear_"),)

# From diffusers' names to the original's, in this order.
_ORIGINAL = (
    (r"^condition_embedder\.time_embedder\.linear_1\.", "time_embedding.0."),
    (r"^condition_embedder\.time_embedder\.linear_2\.", "time_embedding.2."),
    (r"^condition_embedder\.time_proj\.", "time_projection.1."),
    (r"^condition_embedder\.text_embedder\.linear_1\.", "text_embedding.0."),
    (r"^condition_embedder\.text_embedder\.linear_2\.", "text_embedding.2."),
    (r"^proj_out\.", "head.head."),
    (r"^scale_shift_table$", "head.modulation"),
    (r"\.scale_shift_table$", ".modulation"),
    (r"\.attn1\.", ".self_attn."),
    (r"\.attn2\.", ".cross_attn."),
    (r"\.to_([qkv])\.", r".\1."),
    (r"\.to_out\.0\.", ".o."),
    (r"\.norm2\.", ".norm3."),
    (r"\.ffn\.net\.0\.proj\.", ".ffn.0."),
    (r"\.ffn\.net\.2\.", ".ffn.2."),
)


def original_name(name):
    """The name in Wan-Video's own checkpoints of what diffusers calls ``name``."""
    for pattern, replacement in _ORIGINAL:
        name = re.sub(pattern, replacement, name)
    return name


def published_shapes(dit):
    """``{diffusers' name: shape there}`` of every array of a DiT; nothing is allocated."""
    shapes = torch_layout.published_shapes(_shapes(dit), _renames(dit))
    return {name: _published_shape(dit, name, shape) for name, shape in shapes.items()}


def to_published(dit, params, original=False):
    """The DiT's parameters as ``{name: numpy array}``, under diffusers' names or the original ones."""
    arrays = torch_layout.to_published(params, _renames(dit))
    arrays = {name: _to_layout(dit, name, array) for name, array in arrays.items()}
    return {original_name(name): array for name, array in arrays.items()} if original else arrays


def from_published(dit, arrays, key, place=lambda path, array: array):
    """The DiT's parameters from published ones, one array after the other.

    Args:
      dit: a ``DiT`` of their size.
      arrays: ``{name: numpy array}``, under either names, or ``published.Shards``.
      key: for what Wan does not have: the embeddings of frames and, without a ``text_width``, of action
        factors. What ``export`` wrote has them.
      place: ``f(path, float32 numpy array) -> array``, called as soon as an array is read, for example to
        put it on its devices; ``path`` is a tuple of names.

    Returns:
      A nested dict of what ``place`` returned.

    Raises:
      ValueError: arrays are missing, have another shape, or have no place; they are named.
    """
    named, own = _matched(dit, arrays)
    fresh = {name: array for name, array in _fresh_adapter(dit, key).items() if name in own} if own else {}

    def read(path):
        name = torch_layout.published_name(path, _renames(dit))
        array = fresh[name] if name in fresh else _from_layout(dit, name, arrays[named[name]])
        return place(path, torch_layout.from_layout(path, array).astype(np.float32))

    return traverse_util.unflatten_dict({path: read(path) for path in traverse_util.flatten_dict(_shapes(dit))})


def _matched(dit, arrays):
    """(diffusers' name -> name in ``arrays``, names of the adapter's that are not there); ValueError as above."""
    shapes = dict(getattr(arrays, "shapes", None) or {name: array.shape for name, array in arrays.items()})
    expected, named = published_shapes(dit), {name: name for name in shapes}
    if "head.modulation" in shapes:
        ours = {original_name(name): name for name in (*expected, *_text_names())}
        named = {ours.get(name, name): name for name in shapes}
        shapes = {ours.get(name, name): shape for name, shape in shapes.items()}
    if not dit.text_width:
        shapes = {name: shape for name, shape in shapes.items() if not name.startswith(_TEXT)}
    own = {name for name in expected if name.startswith(_ADAPTER)} - shapes.keys()
    torch_layout.check_shapes(expected, shapes | {name: expected[name] for name in own})
    dtypes = getattr(arrays, "dtypes", None) or {name: array.dtype for name, array in arrays.items()}
    torch_layout.check_real({there: dtypes[there] for name, there in named.items() if name in expected})
    return named, own


def load_wan_dit(path, dit, key, place=lambda path, array: array):
    """The parameters of ``dit`` from a published or exported file; see ``from_published``.

    Args:
      path: a safetensors file, an index of several, or a folder with either.

    Raises:
      FileNotFoundError: it is not there; the message says where to get it. ValueError: it holds
      something else. ImportError: safetensors is not installed.
    """
    try:
        return from_published(dit, _open(path), key, place)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def check(path, dit):
    """What ``load_wan_dit`` would raise, from the files' headers: no array is read."""
    try:
        _matched(dit, _open(path))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _open(path):
    if not pathlib.Path(path).exists():
        raise FileNotFoundError(
            f"no weights of Wan2.1's transformer at {path}: download the folder transformer of {SOURCE}"
        )
    return torch_layout.Shards(path)


def export(folder, dit, params):
    """Write the DiT's parameters as diffusers keeps a transformer: a safetensors file and its ``config.json``.

    ``load_wan_dit`` reads the same numbers back. ``WanTransformer3DModel.from_pretrained`` leaves out what Wan does not
    have and, where there is no ``text_width``, will miss the text embedder.
    Low-rank updates belong into ``params`` before (``train.state.merge``).
    """
    folder = pathlib.Path(folder)
    torch_layout.save(folder / "diffusion_pytorch_model.safetensors", to_published(dit, params), {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(diffusers_config(dit), indent=2) + "\n")


def diffusers_config(dit):
    """The arguments of ``WanTransformer3DModel`` for a model of the DiT's size."""
    return {
        "_class_name": "WanTransformer3DModel",
        "patch_size": [1, dit.patch, dit.patch],
        "num_attention_heads": dit.heads,
        "attention_head_dim": dit.width // dit.heads,
        "in_channels": dit.channels,
        "out_channels": dit.channels,
        "text_dim": dit.text_width or 4096,
        "freq_dim": dit.frequency_width,
        "ffn_dim": dit.ffn,
        "num_layers": dit.depth,
        "cross_attn_norm": True,
        "qk_norm": "rms_norm_across_heads",
        "eps": 1e-6,
        "rope_max_seq_len": 1024,
    }


def _renames(dit):
    return (*(_TEXT_RENAMES if dit.text_width else ()), *_RENAMES)


def _text_names():
    return [f"{_TEXT}linear_{i}.{kind}" for i in (1, 2) for kind in ("weight", "bias")]


def _fresh_adapter(dit, key):
    """``{published name: array}`` of a newly made adapter."""
    adapter = ActionAdapter(dit.action_sizes, dit.width, dit.action_frames, jnp.float32, dit.text_width)
    actions = jnp.zeros((1, 1, dit.action_frames, len(dit.action_sizes)), jnp.int32)
    if dit.text_width:
        actions = jnp.zeros((1, 1, dit.action_frames, 1, dit.text_width))
    params = {"action_adapter": jax.jit(adapter.init)(key, actions)["params"]}
    return torch_layout.to_published(params, _renames(dit))


def _turned(name):
    """Whether positions turn this array's rows."""
    return re.search(r"\.attn1\.(to|norm)_[qk]\.", name) is not None


def _published_shape(dit, name, shape):
    if name == "patch_embedding.weight":
        return (dit.width, dit.channels, 1, dit.patch, dit.patch)
    return (1, *shape) if name.endswith("scale_shift_table") else shape


def _to_layout(dit, name, array):
    """An array of ours, its axes in torch's order already, as it is published."""
    if name == "patch_embedding.weight":
        return array.reshape(dit.width, dit.patch, dit.patch, dit.channels).transpose(0, 3, 1, 2)[:, :, None]
    if _turned(name):
        return array.reshape(dit.heads, 2, -1, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)
    return array[None] if name.endswith("scale_shift_table") else array


def _from_layout(dit, name, array):
    """The inverse of ``_to_layout``."""
    if name == "patch_embedding.weight":
        return array[:, :, 0].transpose(0, 2, 3, 1).reshape(dit.width, -1)
    if _turned(name):
        return array.reshape(dit.heads, -1, 2, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)
    return array[0] if name.endswith("scale_shift_table") else array


@functools.cache
def _shapes(dit):
    z = jax.ShapeDtypeStruct((1, dit.chunk, dit.patch, dit.patch, dit.channels), jnp.float32)
    sigma = jax.ShapeDtypeStruct((1, 1), jnp.float32)
    led_to = (1, dit.chunk, dit.action_frames)
    actions = jax.ShapeDtypeStruct((*led_to, len(dit.action_sizes)), jnp.int32)
    if dit.text_width:
        actions = jax.ShapeDtypeStruct((*led_to, 1, dit.text_width), jnp.float32)
    return jax.eval_shape(dit.init, jax.random.key(0), z, sigma, actions)["params"]
