"""Before any test imports JAX: the CPU unless the caller chose otherwise, and compiled programs kept.

Tests and the processes they start find this folder's ``toy_recordings`` by name. How far ports are from
their originals is told at the end (``summaries``).
"""

import os
import pathlib
import sys

os.environ.setdefault("JAX_PLATFORMS", "cpu")
sys.path.insert(0, str(pathlib.Path(__file__).parent))

# Imported after the platform is chosen.
from summaries import held_to, pytest_terminal_summary, show  # noqa: F401

from prowl_jax.train.compilation_cache import enable_compilation_cache

enable_compilation_cache()
