"""Before any test imports JAX: the CPU unless the caller chose otherwise, and compiled programs kept.

Tests and the processes they start find this folder's ``toy_recordings`` and ``browsing`` by name. How far ports are
from their originals is told at the end (``summaries``).
"""

import gc
import os
import pathlib
import sys

import hypothesis
import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Most of the suite's time is XLA's; half of that makes programs faster than tests need. Processes inherit it.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
sys.path.insert(0, str(pathlib.Path(__file__).parent))

# Imported after the platform is chosen.
from browsing import browser  # noqa: F401
from summaries import held_to, pytest_terminal_summary, show  # noqa: F401

from prowl_jax.train.compilation_cache import enable_compilation_cache

enable_compilation_cache()
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")  # what compiles on a busy machine may take its time

MAPPINGS = 25_000
"""Of a process's memory; Linux allows 65,530, each compiled program takes some, and the compiler crashes without."""


@pytest.fixture(autouse=True, scope="module")
def _programs_of_earlier_modules_go():
    """Before a module, where the programs of those before it have taken many mappings."""
    import jax

    maps = pathlib.Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > MAPPINGS:
        jax.clear_caches()
        gc.collect()
