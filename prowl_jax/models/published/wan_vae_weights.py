"""Published weights of Wan2.1's autoencoder to our parameters, under diffusers' names or the original ones.

The files are safetensors and are read as they are: diffusers' ``vae/diffusion_pytorch_model.safetensors``
of Wan-AI/Wan2.1-T2V-1.3B-Diffusers, or the tensors of the original ``Wan2.1_VAE.pth`` under their own
names. The sizes are read off the shapes.
"""

import functools
import pathlib
import re

import jax

from prowl_jax.models.autoencoders.wan import LATENT_MEAN, WanVAE, WanVAENetwork
from prowl_jax.models.published import torch_layout

SOURCE = "https://huggingface.co/Wan-AI/Wan2.1-T2V-1.3B-Diffusers"
"""Where the published autoencoder lies, in the folder vae."""

_RENAMES = (torch_layout.NUMBERED, torch_layout.WEIGHT)

# From the original's names to diffusers', in this order; the decoder's flat list of layers comes after.
_ORIGINAL = (
    (r"^conv1\.", "quant_conv."),
    (r"^conv2\.", "post_quant_conv."),
    (r"^(\w+)\.conv1\.", r"\1.conv_in."),
    (r"^(\w+)\.head\.0\.", r"\1.norm_out."),
    (r"^(\w+)\.head\.2\.", r"\1.conv_out."),
    (r"\.middle\.0\.", ".mid_block.resnets.0."),
    (r"\.middle\.1\.", ".mid_block.attentions.0."),
    (r"\.middle\.2\.", ".mid_block.resnets.1."),
    (r"\.downsamples\.", ".down_blocks."),
    (r"\.residual\.0\.", ".norm1."),
    (r"\.residual\.2\.", ".conv1."),
    (r"\.residual\.3\.", ".norm2."),
    (r"\.residual\.6\.", ".conv2."),
    (r"\.shortcut\.", ".conv_shortcut."),
)


def from_original(arrays):
    """Arrays under the original's names -> the same under diffusers'."""
    resampled = [re.match(r"decoder\.upsamples\.(\d+)\.resample\.", name) for name in arrays]
    stage = 1 + min((int(match[1]) for match in resampled if match), default=0)  # layers of a stage

    def layer(match):
        block, place = divmod(int(match[1]), stage)
        return f"decoder.up_blocks.{block}." + ("upsamplers.0." if place == stage - 1 else f"resnets.{place}.")

    def name_of(name):
        for pattern, replacement in _ORIGINAL:
            name = re.sub(pattern, replacement, name)
        return re.sub(r"^decoder\.upsamples\.(\d+)\.", layer, name)

    return {name_of(name): array for name, array in arrays.items()}


def clean(arrays):
    """Diffusers' names, whichever came; gammas, which are published with axes for time and space, flat."""
    if "encoder.conv1.weight" in arrays:
        arrays = from_original(arrays)
    return {name: array.reshape(-1) if name.endswith(".gamma") else array for name, array in arrays.items()}


def model_of(arrays):
    """The ``WanVAE`` that has cleaned arrays of these names and shapes; ValueError where there is none."""
    with torch_layout.sizes_of("Wan2.1's autoencoder"):
        base = arrays["encoder.conv_in.bias"].shape[0]
        layers = range(_count(arrays, r"encoder\.down_blocks\.\d+\.(conv1|resample\.1)\.bias"))
        halving = [i for i in layers if f"encoder.down_blocks.{i}.resample.1.bias" in arrays]
        last = [i - 1 for i in (*halving, len(layers))]
        network = WanVAENetwork(
            channels=arrays["post_quant_conv.bias"].shape[0],
            base=base,
            multiples=tuple(arrays[f"encoder.down_blocks.{i}.conv2.bias"].shape[0] // base for i in last),
            blocks=halving[0],
            in_time=tuple(f"encoder.down_blocks.{i}.time_conv.bias" in arrays for i in halving),
        )
        if not min(network.channels, *network.multiples) > 0:
            raise ValueError("a size is 0")
    if network.channels == len(LATENT_MEAN):
        return WanVAE(network)
    # Nobody has published the statistics of another one.
    return WanVAE(network, (0.0,) * network.channels, (1.0,) * network.channels)


def from_published(model, arrays):
    """Parameters of ``model`` from cleaned arrays; ValueError names what does not fit."""
    return torch_layout.from_published(_shapes(model), arrays, _RENAMES)


def published_shapes(model):
    """``{diffusers' name: shape}``, gammas flat; nothing is allocated."""
    return torch_layout.published_shapes(_shapes(model), _RENAMES)


def load_wan_vae(path):
    """The published autoencoder: ``(WanVAE, params)``, params as numpy arrays.

    Raises:
      FileNotFoundError: it is not there; the message says where to get it. ValueError: it holds
      something else. ImportError: safetensors is not installed.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"no weights of Wan2.1's autoencoder at {path}: download "
            f"vae/diffusion_pytorch_model.safetensors from {SOURCE}"
        )
    arrays = clean(torch_layout.load_arrays(path)[0])
    try:
        model = model_of(arrays)
        return model, from_published(model, arrays)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _count(arrays, pattern):
    return sum(re.fullmatch(pattern, name) is not None for name in arrays)


@functools.cache
def _shapes(model):
    return jax.eval_shape(model.init_params, jax.random.key(0))
