"""Before any test imports JAX: the CPU unless the caller chose otherwise, and compiled programs kept.

Tests and the processes they start find this folder's ``toy_recordings`` and ``browsing`` by name. How far ports are
from their originals is told at the end (``summaries``).
"""

import os
import pathlib
import sys
import time

import hypothesis
import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Most of the suite's time is XLA's; half of that makes programs faster than tests need. Processes inherit it.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# XLA's older emitters of fused loops compile in a third of the time (jaxlib 0.10.2). To a version that does not know an
# extra option it is nothing, where an unknown flag would end the process. The caller's own flags come last and count.
os.environ["XLA_FLAGS"] = (
    f"--xla_backend_extra_options=xla_cpu_disable_new_fusion_emitters {os.environ.get('XLA_FLAGS', '')}".strip()
)
sys.path.insert(0, str(pathlib.Path(__file__).parent))

# Imported after the platform is chosen.
from browsing import browser  # noqa: F401
from summaries import held_to, pytest_terminal_summary, show  # noqa: F401

import experiments  # noqa: F401  asks XLA for its kernels: every test has the same ones, whatever it imports and when
from prowl_jax.train.compilation_cache import enable_compilation_cache, forget_programs

enable_compilation_cache()
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")  # what compiles on a busy machine may take its time

LONG = (
    "experiments/test_quickstart_tiny",
    "experiments/test_quickstart_from_weights",
    "experiments/study/test_ablation",
    "experiments/test_voxel_run",
    "methods/test_contract",
    "methods/test_one_program",
    "experiments/test_minecraft_run",
    "experiments/test_wan_run",
    "experiments/evaluation/test_dream_quality",
    "experiments/run/test_processes",
    "experiments/planning/test_dry_run",
    "envs/test_gaps",
    "train/test_sharding",
    "models/unet/test_unet_world_model",
    "models/policies/test_vpt_vectors",
)
"""Files that take minutes, the longest first. They begin in this order, before all others, so that none of them at the
end leaves a process alone."""
COMPILES = 3.0
"""Seconds that a test takes which may have compiled much."""


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="also what is marked slow: whole runs in further forms")


def pytest_collection_modifyitems(config, items):
    """What is marked slow is left out unless asked for, and the longest files come first."""
    if not config.getoption("--slow"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="takes minutes; --slow runs it"))
    tests = pathlib.Path(__file__).parent
    place = {name: i for i, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(str(item.path.relative_to(tests).with_suffix("")), len(LONG)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """After a test that took its time, its programs go where they and those before them take many mappings."""
    began = time.monotonic()
    result = yield
    if time.monotonic() - began > COMPILES:
        forget_programs()
    return result
