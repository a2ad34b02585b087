"""The watch sees this process and its children, also those of children, and what is gone again."""

import gc
import mmap
import platform
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from experiments.run.memory import MemoryWatch, heap_bytes

MB = 1e-3  # GB

HOLD = "import sys; block = bytearray({size}); print('held', flush=True); sys.stdin.read()"
NESTED = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {HOLD!r}.format(size={{size}})])"


@pytest.fixture
def watch():
    watch = MemoryWatch(interval=0.02)
    yield watch
    watch.close()


@pytest.mark.parametrize("program", [HOLD, NESTED], ids=["child", "child of a child"])
def test_children_count_while_they_live_and_the_peak_stays(watch, program):
    gc.collect()
    before = psutil.Process().memory_info().rss / 1e9
    child = subprocess.Popen(
        [sys.executable, "-c", program.format(size=100_000_000)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdout.readline() == b"held\n"
    deadline = time.monotonic() + 10  # the thread looks by itself, nobody asks here
    while watch._peak / 1e9 < before + 90 * MB and time.monotonic() < deadline:
        time.sleep(0.02)
    assert 90 * MB < watch._peak / 1e9 - before < 250 * MB
    child.stdin.close()
    child.wait()
    child.stdout.close()
    assert watch.peak_gb() > before + 90 * MB


def test_own_memory_counts_at_the_moment_of_asking():
    watch = MemoryWatch(interval=1000.0)
    before = watch.peak_gb()
    block = mmap.mmap(-1, 80_000_000)  # pages of its own, where malloc might reuse freed ones
    np.frombuffer(block, np.uint8)[:] = 1
    with_block = watch.peak_gb()
    block.close()
    assert 60 * MB < with_block - before < 200 * MB
    assert watch.peak_gb() == pytest.approx(with_block, abs=10 * MB)
    start = time.monotonic()
    watch.close()
    watch.close()
    assert time.monotonic() - start < 5


def test_a_new_child_is_not_taken_for_a_copy_of_this_process():
    """Between fork and exec a child seems to hold all that its parent holds."""
    block = bytearray(300_000_000)
    watch = MemoryWatch(interval=0.001)
    held = watch.peak_gb()
    for _ in range(20):
        subprocess.run([sys.executable, "-S", "-c", "pass"], check=True)
    assert watch.peak_gb() < held + 150 * MB
    watch.close()
    del block


def test_the_heap_counts_what_is_in_use_and_lets_go_of_it():
    before, _ = heap_bytes()
    block = np.ones(40_000_000, np.uint8)
    used, held = heap_bytes()
    assert used - before == pytest.approx(40e6, abs=4e6) and held >= used  # other threads come and go meanwhile
    del block
    assert heap_bytes()[0] - before < 4e6


CALLS = """
import resource
from experiments.run.memory import keep_freed_memory
assert keep_freed_memory()
import jax, jax.numpy as jnp

step = jax.jit(lambda x: jnp.outer(x, jnp.sin(x)) @ x)
for call in range(40):
    if call == 30:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    step(jnp.ones(3000)).block_until_ready()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 10)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="freed memory is kept by glibc's settings alone")
def test_a_step_finds_the_memory_of_the_step_before():
    pages_of_one_array = 3000 * 3000 * 4 / 4096
    said = subprocess.run([sys.executable, "-c", CALLS], capture_output=True, text=True, check=True)
    assert float(said.stdout) < 0.2 * pages_of_one_array


FIRST = """
import pathlib
from experiments.stages import pipeline
from experiments.study import grid
from {configs} import get_config

def threads():
    names = [(task / "comm").read_text().strip() for task in pathlib.Path("/proc/self/task").iterdir()]
    print("JAX's threads:", sum("XLA" in name for name in names))
    raise SystemExit

{module}.keep_freed_memory = threads
{module}.{function}(get_config("tiny"), {workdir!r})
"""


@pytest.mark.skipif(sys.platform != "linux", reason="threads are read from /proc")
@pytest.mark.parametrize(
    ("configs", "module", "function"),
    [
        ("experiments.configs.quickstart", "pipeline", "run_all"),
        ("experiments.configs.study", "grid", "run_study"),
    ],
)
def test_memory_is_kept_before_jax_starts_its_threads(configs, module, function, tmp_path):
    """Threads that are there already keep to heaps of their own, in which nothing large is kept."""
    program = FIRST.format(configs=configs, module=module, function=function, workdir=str(tmp_path / "run"))
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert said.stdout.strip() == "JAX's threads: 0", said.stderr
