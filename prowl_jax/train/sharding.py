"""Which arrays are split over the mesh: an ordered table from the path of a leaf to a PartitionSpec.

    rules = ((r"/kernel$", PartitionSpec(None, "fsdp")), (r".*", PartitionSpec()))

A path is the names on the way to a leaf, joined by "/": ``params/block_0/ffn_in/kernel``. The
optimiser's moments and the average have the parameter's path inside their own
(``opt_state/1/0/mu/block_0/ffn_in/kernel``), so one table places them all alike.
"""

import dataclasses
import re

import flax.linen as nn
import jax
from jax.sharding import NamedSharding, PartitionSpec

from prowl_jax import spans
from prowl_jax.train.mesh import put, replicated, split_rows

REPLICATED = ((r".*", PartitionSpec()),)
"""A whole copy everywhere: the autoencoder and the policies, which are small."""

DIT_RULES = (
    # What a matrix writes into is split where the next one reads split, so each pair splits the ffn
    # or the heads alike; where a width does not divide, the matrix stays whole.
    (r"/(self|cross)_attention/to_[qkv]/kernel$", PartitionSpec(None, "fsdp")),
    (r"/(self|cross)_attention/to_out/kernel$", PartitionSpec("fsdp")),
    # Their low-rank factors (``lora``) as their matrix is, so that the product of the two lies where it is added.
    (r"/(self|cross)_attention/to_[qkv]/lora_out$", PartitionSpec(None, "fsdp")),
    (r"/(self|cross)_attention/to_out/lora_in$", PartitionSpec("fsdp")),
    (r"/(self|cross)_attention/to_([qkv]/lora_in|out/lora_out)$", PartitionSpec()),  # the rank is never split
    (r"/ffn_in/kernel$", PartitionSpec(None, "fsdp")),
    (r"/ffn_out/kernel$", PartitionSpec("fsdp")),
    (r"/time_(embedding_[12]|projection)/kernel$", PartitionSpec(None, "fsdp")),
    (r"/action_adapter/linear_[12]/kernel$", PartitionSpec(None, "fsdp")),
    (r"/patch_embedding/kernel$", PartitionSpec(None, "fsdp")),
    (r"/head/kernel$", PartitionSpec("fsdp")),
    (r".*", PartitionSpec()),
)
"""The DiT in training: its matrices over ``fsdp``, biases, norms and small tables whole."""

WORLD_MODEL_RULES = (*((f"^(dit|oracle)/.*{pattern[1:]}", spec) for pattern, spec in DIT_RULES[:-1]), *REPLICATED)
"""``WorldModel``'s parameters: the DiT, and an oracle's, as in training, autoencoder and statistics whole."""

LOOP_RULES = (
    (r"^buffer/items/", PartitionSpec(("data", "fsdp"))),
    *((f"^(theta|before|old)/.*{pattern}", spec) for pattern, spec in DIT_RULES[:-1]),
    *REPLICATED,
)
"""The state of a method: items of a buffer by slot, theta and what is kept of an earlier one as in phase 1, the rest
whole."""


def path_name(path):
    """``params/block_0/ffn_in/kernel`` from a key path of ``jax.tree_util``."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def shardings(mesh, tree, rules):
    """A ``NamedSharding`` for every leaf, by the first rule whose pattern is found in its path.

    A dimension that does not divide by the extent of its axes is not split.

    Args:
      mesh: a ``Mesh``.
      tree: pytree of arrays or shapes.
      rules: ordered pairs (regular expression, ``PartitionSpec``).

    Raises:
      ValueError: no rule fits a leaf, or the one that does has more dimensions than the leaf or
        names an axis that the mesh has not.
    """

    def place(path, leaf):
        name = path_name(path)
        spec = next((spec for pattern, spec in rules if re.search(pattern, name)), None)
        if spec is None:
            raise ValueError(f"no sharding rule fits {name}; end the table with ('.*', PartitionSpec())")
        if len(spec) > len(leaf.shape):
            raise ValueError(f"{name} has shape {list(leaf.shape)}, its sharding rule {spec} more dimensions")
        parts = (_part(mesh, name, part, size) for part, size in zip(spec, leaf.shape, strict=False))
        return NamedSharding(mesh, PartitionSpec(*parts))

    return jax.tree_util.tree_map_with_path(place, tree)


def _part(mesh, name, part, size):
    """``part`` of a spec, or None where ``size`` does not divide by it."""
    axes = () if part is None else (part,) if isinstance(part, str) else part
    extent = 1
    for axis in axes:
        if axis not in mesh.shape:
            raise ValueError(f"the sharding rule of {name} names axis {axis!r}; the mesh has {mesh.axis_names}")
        extent *= mesh.shape[axis]
    return None if extent == 1 or size % extent else part


def shard_state(mesh, tree, rules):
    """The tree on the devices, placed by ``rules``; every process passes the same values."""
    return put(tree, shardings(mesh, tree, rules))


def init_on_mesh(mesh, init, rules):
    """What ``init()`` returns, computed where ``rules`` place it: no device ever holds all of it."""
    return jax.jit(init, out_shardings=shardings(mesh, jax.eval_shape(init), rules))()


def abstract(mesh, function, rules):
    """Shapes and placement of what ``function()`` returns, without computing it."""
    shapes = jax.eval_shape(function)
    return jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        shapes,
        shardings(mesh, shapes, rules),
    )


def keep_placement(step_fn, state):
    """``step_fn(state, *rest) -> (state, metrics)`` compiled to give the state back where it lay.

    Left to itself the compiler may place the new state elsewhere, and the next step would be
    another program. ``state`` is donated; the metrics are whole on every device.
    """
    placement = jax.tree.map(lambda x: x.sharding, state)
    mesh = jax.tree.leaves(placement)[0].mesh
    return spans.program(
        jax.jit(_by_rows(mesh, step_fn), donate_argnums=0, out_shardings=(placement, replicated(mesh)))
    )


def program(gives, donates=()):
    """A field of a dataclass of programs: where what it returns lies on a mesh, and which arguments it takes over.

    Args:
      gives: ``"rows"`` (split over the devices by its leading axis), ``"batches"`` (by its second), ``"whole"`` (a copy
        everywhere) or a field of the method's state (as that lies); a tuple for a program that returns one.
      donates: positions of donated arguments.
    """
    return dataclasses.field(metadata={"gives": gives, "donates": donates})


def compiled(programs):
    """A dataclass of ``program`` fields, each function of it jitted; None stays None."""
    return _each(programs, lambda function, field: jax.jit(function, donate_argnums=field.metadata["donates"]))


def on_mesh(mesh, programs, state):
    """A dataclass of ``program`` fields, each compiled to leave everything where it lies in ``state``.

    Raises:
      ValueError: a field that does not say what it gives: left alone, its results would lie wherever.
    """
    where = jax.tree.map(lambda x: x.sharding, state)
    named = {"rows": split_rows(mesh), "batches": split_rows(mesh, 1), "whole": replicated(mesh)}

    def place(name):
        return named[name] if name in named else getattr(where, name)

    def compile_one(function, field):
        gives = field.metadata["gives"]
        out = place(gives) if isinstance(gives, str) else tuple(place(name) for name in gives)
        return jax.jit(_by_rows(mesh, function), donate_argnums=field.metadata["donates"], out_shardings=out)

    return _each(programs, compile_one)


def _each(programs, compile_one):
    fields = dataclasses.fields(programs)
    if silent := [field.name for field in fields if "gives" not in field.metadata]:
        raise ValueError(f"{type(programs).__name__}.{', '.join(silent)}: declare with sharding.program what it gives")
    functions = {field.name: getattr(programs, field.name) for field in fields}
    return type(programs)(
        **{f.name: functions[f.name] and spans.program(compile_one(functions[f.name], f)) for f in fields}
    )


def _by_rows(mesh, function):
    """``function``, traced so that what every layer returns is split by rows.

    Where the rows of the activations and a matrix are split over the same devices, the compiler must
    choose which of them to move. Held so, it fetches the matrix when it is needed.
    """
    if mesh.size == 1:
        return function

    def hold(call, arguments, keywords, context):
        out = call(*arguments, **keywords)
        layer = isinstance(context.module, nn.Dense | nn.Conv) and context.method_name == "__call__"
        if layer and out.shape[0] % mesh.size == 0:
            out = jax.lax.with_sharding_constraint(out, split_rows(mesh))
        return out

    def traced(*arguments):
        with nn.intercept_methods(hold):
            return function(*arguments)

    return traced
