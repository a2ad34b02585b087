"""SEA-RAFT gives the numbers of the original code, array by array (tests/fixtures/README.md)."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import sea_raft_vectors

ROOT = pathlib.Path(__file__).parents[3]
SMALL = ROOT / "tests" / "fixtures" / "sea_raft_small.npz"
ORIGINAL = ROOT.parent / "shared" / "vectors" / "sea_raft_tiny.npz"
SOURCE = {SMALL: "a second implementation", ORIGINAL: "the original's vectors"}
COUNTS = {SMALL: (10, 10), ORIGINAL: (50, 18)}
"""Arrays to reproduce, and those of them in double precision."""


@pytest.fixture(params=SOURCE, ids=lambda path: path.stem)
def path(request):
    if not request.param.exists() and request.param == ORIGINAL:
        pytest.skip("the vectors of the original code are not beside this checkout")
    return request.param


def tolerance(name):
    """Of a float32 port: looser for what is as large as a flow in full size."""
    in_pixels = name.removeprefix("f64/")[2:].startswith("flow")
    return 1e-3 if in_pixels and "inner" not in name else 2e-4


def port_of(path, name, precision):
    """What the summary of deviations calls the array ``name``: its case in the file is its first component."""
    return f"SEA-RAFT in {precision}, case {name.removeprefix('f64/').split('/')[0]}: {SOURCE[path]}"


def test_every_array_in_single_precision(path, held_to):
    with np.load(path) as z:
        found = sea_raft_vectors.arrays(z)
        expected = sea_raft_vectors.outputs(z)
        assert expected <= found.keys(), expected - found.keys()
        names = [name for name in z.files if name.removeprefix("f64/") in expected]
        assert len(names) == COUNTS[path][0]
        for name in names:
            held_to(port_of(path, name, "float32"), found[name.removeprefix("f64/")], z[name], tolerance(name))


def test_every_array_in_double_precision(path, held_to):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_ENABLE_X64": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, pathlib.Path(sea_raft_vectors.__file__), path],
        env=environment, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    apart = json.loads(done.stdout.splitlines()[-1])
    assert len(apart) == COUNTS[path][1]
    for name, largest in apart.items():
        held_to(port_of(path, name, "float64"), largest, 0.0, 1e-8)
