"""What each operation of JAX is in ONNX: a row of a table, or a function where it takes more than a name."""

import math

import numpy as np

from experiments.live.web.onnx_graph import Tensor

_SAME = (
    *("Add", "Sub", "Mul", "Div", "Max", "Min", "Pow", "And", "Or", "Not", "Exp", "Log", "Tanh", "Sqrt", "Sin", "Cos"),
    *("Neg", "Abs", "Sign", "Floor", "Erf"),
)
ELEMENTWISE = {name.lower(): name for name in _SAME} | {
    "lt": "Less",
    "gt": "Greater",
    "le": "LessOrEqual",
    "ge": "GreaterOrEqual",
    "eq": "Equal",
    "logistic": "Sigmoid",
    "stop_gradient": "Identity",
    "copy": "Identity",
}
"""Primitive -> the operation of ONNX that does the same, element by element, with the same broadcasting."""


def operation(graph, equation, inputs):
    """The values of one equation whose ``inputs`` (arrays or ``Tensor``s) are not all known: a list.

    Raises:
      ValueError: there is no row for its primitive.
    """
    name = equation.primitive.name
    if name in ELEMENTWISE:
        return [_elementwise(graph, ELEMENTWISE[name], inputs)]
    if name not in OPERATIONS:
        raise ValueError(f"the operation {name!r} of JAX has no row in onnx_operations")
    made = OPERATIONS[name](graph, equation, inputs)
    if isinstance(made, list):
        return made
    return [made if isinstance(made, Tensor) else Tensor(made, tuple(equation.outvars[0].aval.shape))]


def _elementwise(graph, name, inputs, **attributes):
    inputs = [x if isinstance(x, Tensor) else _least(x) for x in inputs]
    shape = np.broadcast_shapes(*(x.shape for x in inputs))
    made = graph.node(name, *(x.name if isinstance(x, Tensor) else x for x in inputs), **attributes)
    return Tensor(made, shape)


def _least(array):
    """The smallest array that broadcasts to this one."""
    for axis, size in enumerate(array.shape):
        first = array.take([0], axis) if size > 1 else array
        if size > 1 and (array == first).all():
            array = first
    return array


def _whole(graph, equation, inputs):
    return [graph.whole(x, place.aval.shape) for x, place in zip(inputs, equation.invars, strict=True)]


def _shaped(graph, name, shape):
    return graph.node("Reshape", name, np.array(shape, np.int64))


def _round(graph, equation, inputs):
    if int(equation.params["rounding_method"]) != 1:
        raise ValueError("only rounding half to even is an operation of ONNX")
    return _elementwise(graph, "Round", inputs)


def _integer_pow(graph, equation, inputs):
    x = inputs[0]
    return _elementwise(graph, "Pow", [x, np.array(equation.params["y"], equation.invars[0].aval.dtype)])


def _square(graph, equation, inputs):
    return _elementwise(graph, "Mul", [inputs[0], inputs[0]])


def _rsqrt(graph, equation, inputs):
    return _elementwise(graph, "Reciprocal", [_elementwise(graph, "Sqrt", inputs)])


def _cast(graph, equation, inputs):
    return _elementwise(graph, "Cast", inputs, to=graph.kind(equation.params["new_dtype"]))


def _select(graph, equation, inputs):
    which, no, yes = inputs
    if equation.invars[0].aval.dtype != bool:
        raise ValueError("a choice among more than two is no operation of ONNX")
    return _elementwise(graph, "Where", [which, yes, no])


def _clamp(graph, equation, inputs):
    low, x, high = inputs
    return _elementwise(graph, "Min", [_elementwise(graph, "Max", [x, low]), high])


def _broadcast(graph, equation, inputs):
    """Axes of size 1 where there will be more: who takes it broadcasts."""
    value = inputs[0]
    shape = [1] * len(equation.outvars[0].aval.shape)
    for axis, size in zip(equation.params["broadcast_dimensions"], value.shape, strict=True):
        shape[axis] = size
    return Tensor(_shaped(graph, value.name, shape), tuple(shape))


def _reshape(graph, equation, inputs):
    return _shaped(graph, *_whole(graph, equation, inputs[:1]), equation.outvars[0].aval.shape)


def _transpose(graph, equation, inputs):
    return graph.node("Transpose", *_whole(graph, equation, inputs), perm=equation.params["permutation"])


def _concatenate(graph, equation, inputs):
    return graph.node("Concat", *_whole(graph, equation, inputs), axis=equation.params["dimension"])


def _stack(graph, equation, inputs):
    axis, shape = equation.params["axis"], list(equation.outvars[0].aval.shape)
    shape[axis] = 1
    parts = [_shaped(graph, name, shape) for name in _whole(graph, equation, inputs)]
    return graph.node("Concat", *parts, axis=axis)


def _split(graph, equation, inputs):
    sizes = np.array(equation.params["sizes"], np.int64)
    (x,) = _whole(graph, equation, inputs)
    made = graph.node("Split", x, sizes, outputs=len(sizes), axis=equation.params["axis"])
    return [Tensor(name, place.aval.shape) for name, place in zip(made, equation.outvars, strict=True)]


def _unstack(graph, equation, inputs):
    (x,), axis = _whole(graph, equation, inputs), equation.params["axis"]
    return [
        Tensor(graph.node("Gather", x, np.array(i, np.int64), axis=axis), place.aval.shape)
        for i, place in enumerate(equation.outvars)
    ]


def _slice(graph, equation, inputs):
    params, rank = equation.params, len(equation.invars[0].aval.shape)
    steps = params["strides"] or (1,) * rank
    bounds = (params["start_indices"], params["limit_indices"], range(rank), steps)
    return graph.node("Slice", *_whole(graph, equation, inputs), *(np.array(x, np.int64) for x in bounds))


def _reverse(graph, equation, inputs):
    axes = equation.params["dimensions"]
    ends = ([-1] * len(axes), [np.iinfo(np.int64).min + 1] * len(axes), axes, [-1] * len(axes))
    return graph.node("Slice", *_whole(graph, equation, inputs), *(np.array(x, np.int64) for x in ends))


def _reduce(name):
    def reduce(graph, equation, inputs):
        axes = np.array(equation.params["axes"], np.int64)
        return graph.node(name, *_whole(graph, equation, inputs), axes, keepdims=0)

    return reduce


def _gather(graph, equation, inputs):
    """Rows of a table; other ways of gathering are not needed here."""
    numbers, (table, places) = equation.params["dimension_numbers"], (x.aval.shape for x in equation.invars)
    rows = numbers.collapsed_slice_dims == numbers.start_index_map == (0,) and not numbers.operand_batching_dims
    behind = tuple(range(len(places) - 1, len(places) + len(table) - 2))
    if not rows or numbers.offset_dims != behind or tuple(equation.params["slice_sizes"]) != (1, *table[1:]):
        raise ValueError("only rows of a table can be gathered")
    table, places = _whole(graph, equation, inputs)
    places = _shaped(graph, places, equation.invars[1].aval.shape[:-1])
    return graph.node("Gather", table, places, axis=0)


def _convolution(graph, equation, inputs):
    p, (x, kernel) = equation.params, inputs
    left, right, out = p["dimension_numbers"]
    if p["batch_group_count"] != 1 or {*p["lhs_dilation"], *p["rhs_dilation"]} != {1}:
        raise ValueError("a convolution with dilation has no row in onnx_operations")
    x, kernel = (graph.whole(v, place.aval.shape) if isinstance(v, Tensor) else v
                 for v, place in zip((x, kernel), equation.invars, strict=True))  # fmt: skip
    x = graph.node("Transpose", x, perm=left)
    kernel = graph.node("Transpose", kernel, perm=right) if isinstance(kernel, str) else kernel.transpose(right)
    pads = [*(low for low, _ in p["padding"]), *(high for _, high in p["padding"])]
    made = graph.node("Conv", x, kernel, strides=p["window_strides"], pads=pads, group=p["feature_group_count"])
    return graph.node("Transpose", made, perm=np.argsort(out).tolist())


def _product(graph, equation, inputs):
    """``dot_general`` as a product of matrices: batches first, what is summed in the middle."""
    summed_axes, batch_axes = equation.params["dimension_numbers"]
    shapes, sides = [place.aval.shape for place in equation.invars], []
    for side, (value, shape) in enumerate(zip(inputs, shapes, strict=True)):
        summed, batch = summed_axes[side], batch_axes[side]
        free = [i for i in range(len(shape)) if i not in (*summed, *batch)]
        order = [*batch, *free, *summed] if side == 0 else [*batch, *summed, *free]
        count = [math.prod(shape[i] for i in axes) for axes in (free, summed)]
        matrix = [*(shape[i] for i in batch), *(count if side == 0 else count[::-1])]
        sides.append(_arranged(graph, value, shape, order, matrix))
    return _shaped(graph, graph.node("MatMul", *sides), equation.outvars[0].aval.shape)


def _arranged(graph, value, shape, order, matrix):
    if not isinstance(value, Tensor):
        return np.broadcast_to(value, shape).transpose(order).reshape(matrix)
    name = graph.whole(value, shape)
    if order != sorted(order):
        name = graph.node("Transpose", name, perm=order)
    return name if tuple(matrix) == tuple(shape[i] for i in order) else _shaped(graph, name, matrix)


OPERATIONS = {
    "round": _round,
    "integer_pow": _integer_pow,
    "square": _square,
    "rsqrt": _rsqrt,
    "convert_element_type": _cast,
    "select_n": _select,
    "clamp": _clamp,
    "broadcast_in_dim": _broadcast,
    "reshape": _reshape,
    "squeeze": _reshape,
    "expand_dims": _reshape,
    "transpose": _transpose,
    "concatenate": _concatenate,
    "stack": _stack,
    "split": _split,
    "unstack": _unstack,
    "slice": _slice,
    "rev": _reverse,
    "reduce_sum": _reduce("ReduceSum"),
    "reduce_max": _reduce("ReduceMax"),
    "gather": _gather,
    "conv_general_dilated": _convolution,
    "dot_general": _product,
}
"""Primitive -> ``f(graph, equation, inputs)``: a name of the one value, a ``Tensor``, or a list of several."""
