"""Networks and settings as JSON and back: what a file of weights says of the networks that they belong to."""

import dataclasses

import flax.linen as nn

from prowl_jax.models.autoencoders.pixels import Pixels
from prowl_jax.models.autoencoders.small import Autoencoder
from prowl_jax.models.dit.dit import DiT
from prowl_jax.models.inverse_dynamics import InverseDynamics, InverseDynamicsNetwork
from prowl_jax.models.policies.small import Policy, PolicyNetwork
from prowl_jax.models.unet.unet import UNet
from prowl_jax.models.unet.world_model import UNetWorldModel
from prowl_jax.models.world_model import WorldModel

KINDS = {
    cls.__name__: cls
    for cls in (
        *(Autoencoder, DiT, InverseDynamics, InverseDynamicsNetwork, Pixels, Policy, PolicyNetwork, UNet),
        *(UNetWorldModel, WorldModel),
    )
}
"""Name -> class; a new network that is shipped has a row here."""


def settings_of(thing):
    """The fields of a network or a dataclass around one: name -> value."""
    skipped = ("parent", "name") if isinstance(thing, nn.Module) else ()
    return {f.name: getattr(thing, f.name) for f in dataclasses.fields(thing) if f.name not in skipped and f.init}


def to_json(thing):
    """What ``from_json`` makes an equal thing of: numbers, strings, lists and dicts with a ``kind``.

    Raises:
      ValueError: a part that has no row in ``KINDS``.
    """
    if thing is None or isinstance(thing, bool | int | float | str):
        return thing
    if isinstance(thing, list | tuple):
        return [to_json(value) for value in thing]
    kind = type(thing).__name__
    if KINDS.get(kind) is type(thing):
        return {"kind": kind, **{name: to_json(value) for name, value in settings_of(thing).items()}}
    if getattr(thing, "__name__", "") in ("float32", "bfloat16", "float16") or hasattr(thing, "itemsize"):
        return {"dtype": getattr(thing, "name", None) or thing.__name__}
    raise ValueError(f"a {kind} cannot be written to a file of weights")


def from_json(value):
    """The inverse of ``to_json``; ValueError names a kind or a setting that is not known here."""
    if isinstance(value, list):
        return tuple(from_json(item) for item in value)
    if not isinstance(value, dict):
        return value
    if set(value) == {"dtype"}:
        import jax.numpy as jnp

        return jnp.dtype(value["dtype"])
    settings = dict(value)
    kind = settings.pop("kind", None)
    if kind not in KINDS:
        raise ValueError(f"no network {kind!r} is known; there are {', '.join(KINDS)}")
    cls = KINDS[kind]
    unknown = set(settings) - {field.name for field in dataclasses.fields(cls)}
    if unknown:
        raise ValueError(f"{kind} has no setting {sorted(unknown)[0]!r}: the file is of another version")
    return cls(**{name: from_json(item) for name, item in settings.items()})
