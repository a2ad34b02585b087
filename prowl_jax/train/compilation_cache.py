"""Keeps compiled programs between runs, so that only the first run waits for XLA, and not too many in one process."""

import gc
import hashlib
import os
import pathlib
import platform

import jax

MAPPINGS = 20_000
"""Of a process's memory; Linux allows 65,530 (``vm.max_map_count``). On a CPU every compiled program takes some, and
where the next finds none left, XLA ends the process with a segmentation fault."""


def forget_programs(most=MAPPINGS):
    """Let the compiled programs of this process go where they take more than ``most`` mappings of its memory.

    What is needed again is read from the persistent cache. To be called between pieces of work, such as the stages
    of a run: a program in use stays until it is done.

    Returns:
      Whether they went.
    """
    maps = pathlib.Path("/proc/self/maps")
    if not maps.exists() or maps.read_bytes().count(b"\n") <= most:
        return False
    jax.clear_caches()
    gc.collect()
    return True


def enable_compilation_cache():
    """Turn JAX's persistent compilation cache on for this user.

    ``JAX_COMPILATION_CACHE_DIR`` is honoured where it is set; otherwise the programs lie under
    ``$XDG_CACHE_HOME/prowl_jax/xla`` (``~/.cache`` without it), in one folder per kind of
    processor, because a CPU program compiled for one machine may not run on another. The folder
    can be deleted at any time.

    Returns:
      The folder as a ``pathlib.Path``, or None where it cannot be written; then nothing is cached.
    """
    chosen = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    try:
        folder = pathlib.Path(chosen) if chosen else _user_folder() / _processor()
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: a user without a home folder
        return None
    if not os.access(folder, os.W_OK):
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    # JAX's own thresholds (1 s, and a size) would leave out most programs of a small CPU run.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return folder


def _user_folder():
    base = os.environ.get("XDG_CACHE_HOME")
    return (pathlib.Path(base) if base else pathlib.Path.home() / ".cache") / "prowl_jax" / "xla"


def _processor():
    """A short name for what this machine's processor can do, such as ``"x86_64-1a2b3c4d"``."""
    features = platform.processor()
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        # x86 lists "flags", ARM "Features"; every core of a machine has the same.
        features = next((line for line in lines if line.lower().startswith(("flags", "features"))), features)
    return f"{platform.machine()}-{hashlib.sha256(features.encode()).hexdigest()[:8]}"
