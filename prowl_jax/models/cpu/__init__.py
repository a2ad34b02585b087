"""What is written for CPUs: a dense layer, convolutions, softmax attention. ``tuned`` is the one switch of all three.

The values are those of JAX's own functions up to rounding, which are used on every other device.
"""

import jax


def tuned():
    """Whether the forms for CPUs are used. Asked while a program is traced: it is the device that programs run on."""
    return jax.default_backend() == "cpu"
