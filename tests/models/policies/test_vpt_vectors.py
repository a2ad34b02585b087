"""VPT's networks give the numbers of the original code, array by array (../shared/vectors/README.md)."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import vpt_vectors

ROOT = pathlib.Path(__file__).parents[3]
VECTORS = ROOT.parent / "shared" / "vectors"
PORTS = {vpt_vectors.POLICY: "VPT policy", vpt_vectors.IDM: "VPT inverse dynamics"}
FILES = {vpt_vectors.POLICY: vpt_vectors.policy_arrays, vpt_vectors.IDM: vpt_vectors.idm_arrays}
pytestmark = pytest.mark.skipif(
    not all((VECTORS / file).exists() for file in FILES), reason="the parity vectors are not beside this checkout"
)


def tolerance(name):
    """Of a float32 port, by the README's table; ``name`` with ``f64/`` where it is double precision."""
    of_logits = any(part in name for part in ("logits_raw", "logp/"))
    if name.startswith("f64/"):
        return 5e-4 if of_logits or any(part in name for part in ("entropy", "logprob", "kl_")) else 2e-4
    # Against float32 the original's own rounding comes on top.
    return 1e-3 if of_logits else 5e-4


@pytest.mark.parametrize("file", FILES)
def test_every_array_in_single_precision(file, held_to):
    with np.load(VECTORS / file) as z:
        found = FILES[file](z)
        assert vpt_vectors.outputs(z) <= found.keys(), "not everything in the file is compared"
        names = [name for name in z.files if name.removeprefix("f64/") in vpt_vectors.outputs(z)]
        assert len(names) == {vpt_vectors.POLICY: 169, vpt_vectors.IDM: 42}[file]
        for name in names:
            ours, theirs = found[name.removeprefix("f64/")], z[name]
            if theirs.dtype.kind == "f":
                held_to(f"{PORTS[file]} in float32: the original's vectors", ours, theirs, tolerance(name))
            else:
                np.testing.assert_array_equal(ours, theirs, err_msg=name)
                assert ours.shape == theirs.shape, name


def test_every_array_in_double_precision(held_to):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_ENABLE_X64": "1", "PYTHONPATH": str(ROOT)}
    script = pathlib.Path(vpt_vectors.__file__)
    done = subprocess.run(
        [sys.executable, script, VECTORS],
        env=environment, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    apart = json.loads(done.stdout.splitlines()[-1])
    assert [len(apart[file]) for file in FILES] == [54, 15]
    for file in FILES:
        for largest in apart[file].values():
            held_to(f"{PORTS[file]} in float64: the original's vectors", largest, 0.0, 1e-8)
