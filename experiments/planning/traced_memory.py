"""Memory of a traced program, from shapes: the most bytes that stand at once beside its arguments.

An upper estimate: the equations run in the order of the trace, every result stands from where it is made to
its last use, and nothing is fused or written in place. What is recomputed for the gradient (remat) stands only
while it is needed, which a compiler for the CPU undoes. Nothing is compiled or allocated.
"""

import jax
import jax.extend

from experiments.planning.traced_flops import inner


def traced_peak(function, *arguments, size=lambda aval: aval.size * aval.dtype.itemsize):
    """Bytes that ``function`` needs at most beside its arguments, its results among them.

    Args:
      function: traceable. arguments: arrays or their shapes.
      size: bytes of an array of a shape and type, for example those on one device of several.
    """
    return _peak(jax.make_jaxpr(function)(*arguments).jaxpr, size)


def _peak(jaxpr, size, returned=False):
    """Of a program; with ``returned`` its results stand where it is called and are not counted again."""
    given = {*jaxpr.invars, *jaxpr.constvars, *(jaxpr.outvars if returned else ())}
    last = {var: i for i, equation in enumerate(jaxpr.eqns) for var in _variables(equation.invars)}
    last |= dict.fromkeys(_variables(jaxpr.outvars), len(jaxpr.eqns))
    standing, peak = 0, 0
    for i, equation in enumerate(jaxpr.eqns):
        standing += sum(size(var.aval) for var in equation.outvars if var not in given)
        within = max((_peak(program, size, returned=True) for program in inner(equation.params)), default=0)
        peak = max(peak, standing + within)
        gone = {var for var in (*_variables(equation.invars), *equation.outvars) if last.get(var, i) == i}
        standing -= sum(size(var.aval) for var in gone - given)
    return peak


def _variables(atoms):
    return [atom for atom in atoms if not isinstance(atom, jax.extend.core.Literal)]
