"""A frame of a dream as ONNX, for each number of Euler steps: the model's own ``next_chunk``, over one file of weights.

A frame goes in and out as it is seen, 8 bits a colour. A model over pixels loses nothing by that: what it keeps of its
past is the frames that it showed (``UNetWorldModel.shown``).
"""

import jax
import jax.numpy as jnp

from experiments.live.programs import Sampling, own_sampling, sampled
from experiments.live.web.jax_to_onnx import to_onnx
from experiments.live.web.onnx_graph import Weights
from experiments.run.config_file import UsageError
from prowl_jax.models.autoencoders.pixels import Pixels
from prowl_jax.models.unet.world_model import Recent, UNetWorldModel

STEPS = (1, 2, 4)
"""Euler steps that a visitor may choose, beside the model's own number."""
WEIGHTS = "weights.bin"


def steps_of(model):
    """Numbers of Euler steps that are exported, ascending, the model's own among them."""
    return tuple(sorted({*STEPS, own_sampling(model).steps}))


def graph_name(steps):
    """Name of the file for so many Euler steps."""
    return f"frame_{steps}.onnx"


def graphs(model, params, frame_shape):
    """{name of a file: its bytes}: a graph for each of ``steps_of(model)``, and the weights that they share.

    A graph's inputs are ``noise`` float ``[1, 1, h, w, C]``, ``frames`` uint8 ``[1, n, H, W, 3]``, the last that were
    seen, and ``actions`` int32 ``[1, n, A]``, the last of which leads to the frame asked for; its output is ``frame``
    uint8 ``[H, W, 3]``.

    Raises:
      UsageError: the model goes on from more than the frames that it shows, or uses what cannot be written as ONNX.
    """
    if not isinstance(model, UNetWorldModel) or not isinstance(model.autoencoder, Pixels):
        raise UsageError("only a convolutional world model over pixels can be exported (network=unet, kind=pixels)")
    weights, files, shape = Weights(WEIGHTS), {}, jax.ShapeDtypeStruct
    inputs = {
        "noise": shape((1, 1, *model.latent_shape(frame_shape)), jnp.float32),
        "frames": shape((1, model.context, *frame_shape), jnp.uint8),
        "actions": shape((1, model.context, len(model.action_sizes)), jnp.int32),
    }
    for steps in steps_of(model):
        dreamer = sampled(model, Sampling(steps, own_sampling(model).context_noise))
        try:
            files[graph_name(steps)] = to_onnx(next_frame(dreamer, params), inputs, ("frame",), weights)
        except ValueError as error:
            raise UsageError(f"this world model cannot be written as ONNX: {error}") from None
    files[WEIGHTS] = weights.content()
    return files


def next_frame(model, params):
    """``f(noise, frames, actions) -> frame``, as ``graphs`` writes it."""

    def frame(noise, frames, actions):
        seen = Recent(model.encode(params, frames), actions[:, :-1])
        latent, _ = model.next_chunk(params, noise, seen, actions[:, -1:])
        return jnp.round(model.decode(params, latent)[0, 0] * 255.0).astype(jnp.uint8)

    return frame
