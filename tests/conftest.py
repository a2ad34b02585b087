"""Before any test imports JAX: the CPU unless the caller chose otherwise, and compiled programs kept."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

# Imported after the platform is chosen.
from prowl_jax.train.compilation_cache import enable_compilation_cache

enable_compilation_cache()
