"""Where a figure comes from: commit, versions, devices, machine and the whole configuration, beside the figure.

The provenance of a file of results is ``{"config": ..., "starts": [...]}``: a start is a process that worked on it,
what ``this_process`` says and, in a run, the ``stages`` it worked at. A run directory keeps its starts in
``provenance.json``, so that a run that went on elsewhere says so. Stages older than these notes are named in
``not_noted``; whole files that are older have no provenance: ``in_words`` of None says that.
"""

import datetime
import functools
import json
import os
import pathlib
import platform
import subprocess
from importlib import metadata

import jax
import psutil

import prowl_jax
from experiments.run.files import write_json
from experiments.run.places import read_json, read_stages

FILE = "provenance.json"
ROOT = pathlib.Path(__file__).parents[2]
CODE = ("prowl_jax", "experiments")
"""What has to be as it was committed for a figure to belong to the commit; results that are rewritten are no code."""
PACKAGES = ("jax", "jaxlib", "flax", "numpy")
FLAGS = ("XLA_FLAGS", "JAX_ENABLE_X64", "JAX_DEFAULT_MATMUL_PRECISION")
"""Variables of the environment that change what the same program computes, or how fast."""
NOT_NOTED = "Not noted: these figures are older than the notes of where figures come from."


@functools.cache
def this_process():
    """Of this process, as JSON holds it; asked once, since the code that runs is that of the start.

    Returns:
      ``began`` (UTC); ``commit``, with ``dirty`` (whether the code differs from it), both None outside of git with
      the reason in ``no_commit``; ``versions``; ``flags``, those of ``FLAGS`` that are set; ``devices``, their
      ``kind`` and ``count``; ``machine``, its ``cores`` that this process may use, ``memory_gb`` (1e9 bytes) and
      ``cpu``.
    """
    began = datetime.datetime.fromtimestamp(psutil.Process().create_time(), datetime.UTC)
    versions = {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "began": began.isoformat(timespec="milliseconds"),
        **commit_of(ROOT),
        "versions": versions,
        "flags": {name: os.environ[name] for name in FLAGS if name in os.environ},
        "devices": {"kind": jax.devices()[0].device_kind, "count": jax.device_count()},
        "machine": {
            "cores": cores,
            "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
            "cpu": _cpu_model(),
        },
    }


def version():
    """Which code this process runs, in one line: ``prowl_jax 0.1.0 (commit 0123456789ab), jax 0.10.2, ...``."""
    here = this_process()
    commit = f"commit {here['commit'][:12]}{', changed' if here['dirty'] else ''}" if here["commit"] else "no commit"
    versions = ", ".join(f"{name} {number}" for name, number in here["versions"].items())
    return f"prowl_jax {prowl_jax.__version__} ({commit}), {versions}"


def commit_of(folder):
    """``commit``, ``dirty`` and, where there is none, ``no_commit`` of the checkout whose top is ``folder``."""

    def git(*arguments):
        # These, which a hook is run with, would name another repository.
        others = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")
        clean = {name: value for name, value in os.environ.items() if name not in others}
        command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env=clean).stdout

    try:
        top, commit = git("rev-parse", "--show-toplevel", "HEAD").split("\n")[:2]
        if pathlib.Path(top).resolve() != pathlib.Path(folder).resolve():
            return {"commit": None, "dirty": None, "no_commit": "the code is no git checkout of its own"}
        return {"commit": commit, "dirty": bool(git("status", "--porcelain", "--", *CODE).strip())}
    except subprocess.CalledProcessError as error:
        reason = next(iter(error.stderr.strip().splitlines()), f"git ended with code {error.returncode}")
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = f"git cannot be asked: {error}"
    return {"commit": None, "dirty": None, "no_commit": reason}


def _cpu_model():
    """The processor's name, as far as the system tells it."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def note_stage(workdir, stage):
    """Note in ``workdir`` that this process works at ``stage`` from now on."""
    starts = starts_of(workdir)
    if not starts or {**starts[-1], "stages": None} != {**this_process(), "stages": None}:
        starts.append({**this_process(), "stages": []})
    if stage not in starts[-1]["stages"]:
        starts[-1]["stages"].append(stage)
        write_json(pathlib.Path(workdir) / FILE, starts)


def starts_of(workdir):
    """The starts that a run directory has noted; none where it is older than these notes, or no stage was begun."""
    path = pathlib.Path(workdir) / FILE
    return read_json(path, list) if path.exists() else []


def stages_not_noted(workdir):
    """The finished stages of a run directory of which nobody noted who did them."""
    noted = {stage for start in starts_of(workdir) for stage in start["stages"]}
    return [stage for stage in read_stages(workdir) if stage not in noted]


def provenance(config, workdir=None):
    """The provenance of what this process writes, as JSON holds it.

    Args:
      config: the whole configuration, a ConfigDict or, where there are flags alone, a dict.
      workdir: the run directory whose files were measured; its starts come first.
    """
    starts = starts_of(workdir) if workdir is not None else []
    if not any(start["began"] == this_process()["began"] for start in starts):
        starts.append(this_process())
    whole = json.loads(config.to_json()) if hasattr(config, "to_json") else config
    older = stages_not_noted(workdir) if workdir is not None else []
    return {"config": whole, "starts": starts} | ({"not_noted": older} if older else {})


def without_folders(noted):
    """JSON in which every absolute path is its last part alone: the rest says nothing beyond the machine it was on."""
    if isinstance(noted, dict):
        return {name: without_folders(value) for name, value in noted.items()}
    if isinstance(noted, list | tuple):
        return type(noted)(map(without_folders, noted))
    absolute = isinstance(noted, str | pathlib.PurePath) and pathlib.PurePath(noted).is_absolute()
    return pathlib.PurePath(noted).name if absolute else noted


def in_words(noted):
    """A provenance as sentences, one for each commit, versions and machine there was; None says that it is missing."""
    noted = noted or {}
    older = noted.get("not_noted")
    sentences = dict.fromkeys(map(_start_in_words, noted.get("starts") or ()))
    return [*([f"Not noted for {', '.join(older)}."] if older else []), *sentences] or [NOT_NOTED]


def _start_in_words(start):
    changed = ", with changes that are not committed" if start["dirty"] else ""
    commit = f"Commit {start['commit'][:12]}{changed}" if start["commit"] else f"No commit ({start['no_commit']})"
    versions = ", ".join(f"{name} {version}" for name, version in start["versions"].items())
    devices, machine = start["devices"], start["machine"]
    cores = "core" if machine["cores"] == 1 else "cores"
    return (
        f"{commit}; {versions}; {devices['count']} x {devices['kind']}; "
        f"{machine['cores']} {cores} of {machine['cpu']}, {machine['memory_gb']:g} GB."
    )
