import os
import subprocess
import sys
from importlib import metadata

import pytest

from experiments.run import xla_flags

ASKS = xla_flags.EIGEN_CONVOLUTIONS


def asked(monkeypatch, flags=None, version="0.10.2"):
    monkeypatch.setattr(xla_flags.metadata, "version", lambda name: version)
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    if flags is not None:
        monkeypatch.setenv("XLA_FLAGS", flags)
    return xla_flags.prefer_eigen_convolutions(), os.environ.get("XLA_FLAGS")


def test_the_flag_stands_beside_the_users_own(monkeypatch):
    assert asked(monkeypatch) == (True, ASKS)
    own = "--xla_force_host_platform_device_count=2"
    assert asked(monkeypatch, own) == (True, f"{own} {ASKS}")
    assert asked(monkeypatch, ASKS) == (True, ASKS)  # as a child process inherits it


def test_what_the_user_says_of_these_kernels_counts(monkeypatch):
    own = f"--{xla_flags.KERNELS}=LIBRARY_FUSION_TYPE_DOT"
    assert asked(monkeypatch, own) == (False, own)


@pytest.mark.parametrize("version", ["0.9.2", "0.13.0", "1.0.dev20270101"])
def test_a_jaxlib_that_might_not_know_the_flag_is_not_told(monkeypatch, version):
    """XLA ends the process at a flag that it does not know."""
    assert asked(monkeypatch, version=version) == (False, None)


def test_without_jaxlib_the_commands_that_need_none_still_run(monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(xla_flags.metadata, "version", missing)
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    assert xla_flags.prefer_eigen_convolutions() is False
    assert "XLA_FLAGS" not in os.environ


def test_a_command_compiles_under_the_flag():
    """The jaxlib that is installed knows it, and it is set before JAX reads the flags."""
    code = "import experiments, os, jax; jax.jit(lambda x: x + 1)(1); print(os.environ['XLA_FLAGS'])"
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"} | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ASKS


def test_the_installed_jaxlib_is_one_that_was_tried():
    """requirements.txt admits no other; who widens it tries the flag there too."""
    version = tuple(int(part) for part in metadata.version("jaxlib").split(".")[:2])
    assert xla_flags.TRIED[0] <= version < xla_flags.TRIED[1]
