"""A JAX function as an ONNX graph: its jaxpr, evaluated where all is known and written down where something is not.

What the parameters alone decide is computed here, by JAX; what depends on an argument becomes a node
(``onnx_operations``). Broadcasts stay unwritten as long as the operations that take them broadcast by themselves, as
ONNX's elementwise ones do.

The exporters that are kept elsewhere were no help on Python 3.11: jax2onnx 0.17 asks for an orbax-checkpoint below
0.11.37 (and brings equinox, netron and huggingface_hub), jax2tf for TensorFlow.
"""

import jax
import numpy as np

from experiments.live.web.onnx_graph import Graph, Tensor
from experiments.live.web.onnx_operations import operation

INLINED = {"jit": "jaxpr", "custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr"}
"""Primitives that only wrap a function -> their parameter that is it."""


def to_onnx(function, inputs, outputs, weights):
    """``function`` as the bytes of an ONNX file.

    Args:
      function: ``f(*arrays) -> array or tuple of them``, traceable by JAX; what it closes over is known.
      inputs: {name: ``ShapeDtypeStruct``} of its arguments, in their order. outputs: names of what it returns.
      weights: ``Weights``, where the arrays go.

    Raises:
      ValueError: it uses an operation that ``onnx_operations`` has no row for.
    """
    closed = jax.make_jaxpr(function)(*inputs.values())
    graph = Graph(weights)
    given = [Tensor(name, x.shape) for name, x in inputs.items()]
    returned = _evaluate(graph, closed.jaxpr, [np.asarray(x) for x in closed.consts], given)
    made = dict(zip(outputs, zip(returned, closed.out_avals, strict=True), strict=True))
    return graph.serialized(getattr(function, "__name__", "function"), inputs, made)


def _evaluate(graph, jaxpr, known, given):
    """Values of a jaxpr's results: arrays of numpy, or ``Tensor``s."""
    values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*known, *given), strict=True))

    def read(x):
        return np.asarray(x.val, x.aval.dtype) if hasattr(x, "val") else values[x]

    for equation in jaxpr.eqns:
        inputs = [read(x) for x in equation.invars]
        if equation.primitive.name in INLINED:
            inner = equation.params[INLINED[equation.primitive.name]]
            consts = [np.asarray(x) for x in getattr(inner, "consts", ())]
            made = _evaluate(graph, getattr(inner, "jaxpr", inner), consts, inputs)
        elif not any(isinstance(x, Tensor) for x in inputs):
            made = equation.primitive.bind(*inputs, **equation.params)
            made = [np.asarray(x) for x in (made if equation.primitive.multiple_results else [made])]
        else:
            made = operation(graph, equation, inputs)
        values.update(zip(equation.outvars, made, strict=True))
    return [read(x) for x in jaxpr.outvars]
