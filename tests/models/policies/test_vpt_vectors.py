"""VPT's networks give the numbers of the original code, array by array (tests/fixtures/README.md)."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import vpt_vectors

ROOT = pathlib.Path(__file__).parents[3]
SMALL, ORIGINAL = ROOT / "tests" / "fixtures", ROOT.parent / "shared" / "vectors"
SOURCE = {SMALL: "a second implementation", ORIGINAL: "the original's vectors"}
PORTS = {"vpt_policy": "VPT policy", "vpt_idm": "VPT inverse dynamics"}
# File -> (arrays to reproduce, those of them in double precision).
FILES = {
    SMALL / "vpt_policy_small.npz": (72, 65),
    SMALL / "vpt_idm_small.npz": (17, 15),
    ORIGINAL / "vpt_policy_tiny.npz": (169, 54),
    ORIGINAL / "vpt_idm_tiny.npz": (42, 15),
}


def port_of(path, precision):
    """What the summary of deviations calls the comparison with ``path``."""
    return f"{PORTS[path.name.rsplit('_', 1)[0]]} in {precision}: {SOURCE[path.parent]}"


def tolerance(name):
    """Of a float32 port; ``name`` with ``f64/`` where the file has double precision.

    That the port computes the same is held in double precision, to 1e-8. These networks make rounding grow, in values
    up to 10 to some 1e-3; by how much differs with the kernels of a processor.
    """
    of_logits = any(part in name for part in ("logits_raw", "logp/"))
    if name.startswith("f64/"):
        return 5e-3 if of_logits or any(part in name for part in ("entropy", "logprob", "kl_")) else 2e-3
    # Against float32 the original's own rounding comes on top.
    return 1e-2 if of_logits else 5e-3


def skip_unless_there(path):
    if path.parent == ORIGINAL and not path.exists():
        pytest.skip("the vectors of the original code are not beside this checkout")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_array_in_single_precision(path, held_to):
    skip_unless_there(path)
    with np.load(path) as z:
        found, expected = vpt_vectors.arrays(z), vpt_vectors.outputs(z)
        assert expected <= found.keys(), "not everything in the file is compared"
        names = [name for name in z.files if name.removeprefix("f64/") in expected]
        assert len(names) == FILES[path][0]
        for name in names:
            ours, theirs = found[name.removeprefix("f64/")], z[name]
            if theirs.dtype.kind == "f":
                held_to(port_of(path, "float32"), ours, theirs, tolerance(name))
            else:
                np.testing.assert_array_equal(ours, theirs, err_msg=name)
                assert ours.shape == theirs.shape, name


@pytest.mark.parametrize("folder", SOURCE, ids=lambda folder: folder.name)
def test_every_array_in_double_precision(folder, held_to):
    paths = [path for path in FILES if path.parent == folder]
    for path in paths:
        skip_unless_there(path)
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_ENABLE_X64": "1", "PYTHONPATH": str(ROOT)}
    script = pathlib.Path(vpt_vectors.__file__)
    done = subprocess.run(
        [sys.executable, script, *paths],
        env=environment, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    apart = json.loads(done.stdout.splitlines()[-1])
    for path in paths:
        assert len(apart[path.name]) == FILES[path][1]
        for largest in apart[path.name].values():
            held_to(port_of(path, "float64"), largest, 0.0, 1e-8)
