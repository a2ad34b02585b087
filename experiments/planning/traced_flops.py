"""Floating-point operations of a traced program: its matrix products and convolutions; a multiply-add is two.

Norms, softmax and the optimiser are left out, as is usual for model FLOP/s. Nothing is compiled or
allocated; the compiler's own count takes the body of a loop once and cannot be used for a rollout.
"""

import math

import jax


def traced_flops(function, *arguments, loops=1):
    """FLOPs of ``function`` on arguments of these shapes.

    Args:
      function: traceable; jitted or not. What it recomputes for the gradient (remat) counts as often as it is done.
      loops: how often the body of a ``while`` loop runs; that of a ``scan`` is known.
    """
    return _flops(jax.make_jaxpr(function)(*arguments).jaxpr, loops)


def _flops(jaxpr, loops):
    return sum(_of_equation(equation, loops) for equation in jaxpr.eqns)


def _of_equation(equation, loops):
    name = equation.primitive.name
    if name == "dot_general":
        return _dot_general(equation)
    if name == "conv_general_dilated":
        return _convolution(equation)
    within = [_flops(jaxpr, loops) for jaxpr in inner(equation.params)]
    if name == "cond":
        return max(within)
    times = {"scan": equation.params.get("length"), "while": loops}.get(name, 1)
    return times * sum(within)


def inner(params):
    """The programs among an equation's parameters."""
    for value in params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            jaxpr = getattr(item, "jaxpr", item)
            if hasattr(jaxpr, "eqns"):
                yield jaxpr


def _dot_general(equation):
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    return 2 * math.prod(equation.outvars[0].aval.shape) * math.prod(left[axis] for axis in contracted)


def _convolution(equation):
    kernel, numbers = equation.invars[1].aval.shape, equation.params["dimension_numbers"]
    features = kernel[numbers.rhs_spec[0]]
    # A dilated input is mostly zeros, which nobody multiplies.
    useful = math.prod(equation.params["lhs_dilation"]) * equation.params["batch_group_count"]
    return 2 * math.prod(equation.outvars[0].aval.shape) * math.prod(kernel) // features // useful
