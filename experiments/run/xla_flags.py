"""XLA's kernels on a CPU: which of them the experiments ask for, unless the user's XLA_FLAGS say otherwise."""

import os
from importlib import metadata

KERNELS = "xla_cpu_experimental_ynn_fusion_type"
EIGEN_CONVOLUTIONS = f"--{KERNELS}=LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"
"""Products of matrices by YNNPACK, as by default, but convolutions by Eigen."""
TRIED = ((0, 10), (0, 13))
"""From which jaxlib to below which the flag has been tried; one that does not know a flag ends the process."""


def prefer_eigen_convolutions():
    """Puts ``EIGEN_CONVOLUTIONS`` into XLA_FLAGS; to be called before JAX first compiles, later it does nothing.

    With YNNPACK's convolutions, its default, jaxlib 0.10.2 takes twice as long for a convolution of 64 channels with
    its gradients on two AVX-512 cores (docs/performance.md).

    Returns:
      Whether the flag is set now; where the user set it to something, or jaxlib is another, it is left alone.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    try:
        version = tuple(int(part) for part in metadata.version("jaxlib").split(".")[:2])
    except metadata.PackageNotFoundError:
        return False  # whoever imports JAX says what is missing
    if KERNELS in flags or not TRIED[0] <= version < TRIED[1]:
        return EIGEN_CONVOLUTIONS in flags
    os.environ["XLA_FLAGS"] = f"{flags} {EIGEN_CONVOLUTIONS}".strip()
    return True
