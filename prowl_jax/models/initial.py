"""Parameters of a network as they begin."""

import functools

import jax


@functools.partial(jax.jit, static_argnums=0)
def initial(network, key, *inputs):
    """Parameters of a Flax ``network`` (hashable) for inputs of such shapes, by one program.

    Called without ``jit``, ``network.init`` computes the whole forward pass, and compiles every step of it by itself:
    four times as long for a small transformer on a CPU. Compiled, what no parameter needs is never computed.
    """
    return network.init(key, *inputs)["params"]
