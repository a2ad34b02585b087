"""The implementations in torch that tests/fixtures holds the outputs of: that they made the files, and are right."""

import importlib.util
import pathlib

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the second implementations of VPT and SEA-RAFT need torch")

ROOT = pathlib.Path(__file__).parents[3]
FIXTURES, ORIGINAL = ROOT / "tests" / "fixtures", ROOT.parent / "shared" / "vectors"


@pytest.fixture(params=["make_vpt", "make_sea_raft"])
def script(request, monkeypatch):
    monkeypatch.syspath_prepend(FIXTURES)  # a script finds its network beside it
    spec = importlib.util.spec_from_file_location(request.param, FIXTURES / f"{request.param}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_files_are_what_their_scripts_make(script):
    for name, (_, make) in script.MAKERS.items():
        made = make()
        with np.load(FIXTURES / f"{name}_small.npz") as z:
            assert set(z.files) == set(made)
            for key in z.files:
                if key.startswith("f64/"):
                    np.testing.assert_allclose(made[key], z[key], rtol=0, atol=1e-9, err_msg=key)
                else:
                    np.testing.assert_array_equal(made[key], z[key], err_msg=key)
                    assert made[key].dtype == z[key].dtype, key


def test_they_say_what_the_original_code_says(script):
    if not ORIGINAL.exists():
        pytest.skip("the vectors of the original code are not beside this checkout")
    apart = script.check(ORIGINAL)
    assert set(apart) == set(script.MAKERS) and max(apart.values()) < 1e-10, apart
