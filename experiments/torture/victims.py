"""Runs that are attacked: started as processes, ended by signals, and held against one that nothing disturbed."""

import contextlib
import functools
import io
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading

import numpy as np
from flax import traverse_util

from experiments.run.directory import Run
from experiments.run.metrics_log import read_metrics
from experiments.torture import toy_training
from prowl_jax.train.checkpoint import Checkpoints

CONFIG, SHIPPED = "experiments/torture/smallest.py", "experiments/torture/smallest_shipped.py"
ROOT = pathlib.Path(__file__).parents[2]


@contextlib.contextmanager
def folder_for_a_while():
    """A temporary folder, as a ``Path``."""
    folder = tempfile.mkdtemp(prefix="prowl-torture-")
    try:
        yield pathlib.Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@functools.cache
def undisturbed_run(config=CONFIG):
    """A run that nothing disturbs, once for all."""
    folder = tempfile.TemporaryDirectory(prefix="prowl-torture-unbroken-")
    _kept.append(folder)
    print("an undisturbed run, to compare with", flush=True)
    process = start("experiments.prowl_main", f"--config={config}", f"--workdir={folder.name}/run")
    code, said = ended(process, None, None)
    if code != 0:
        raise RuntimeError(f"the undisturbed run ended with code {code}: {said[-1000:]}")
    return pathlib.Path(folder.name) / "run"


@functools.cache
def undisturbed_training():
    """The same of ``toy_training``."""
    folder = tempfile.TemporaryDirectory(prefix="prowl-torture-unbroken-")
    _kept.append(folder)
    run = Run(pathlib.Path(folder.name) / "run", toy_training.config())
    with contextlib.redirect_stderr(io.StringIO()):
        toy_training.stage(run)
    return run.workdir


_kept = []  # folders that go with the process


def start(module, *arguments):
    """A process of this package. It may be killed while it writes its compilation cache, the torture's own."""
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "prowl_jax" / "torture"
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": str(cache)}
    environment |= {"PYTHONFAULTHANDLER": "1", "PYTHONUNBUFFERED": "1"}  # a crash shall say where
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True,
    )  # fmt: skip


@contextlib.contextmanager
def killed_at_last(process):
    """However the block is left, the process has ended then."""
    try:
        yield
    finally:
        process.kill()
        process.wait()


PATIENCE = 3600.0  # seconds that a signal, or an undisturbed end, may take; machines stand still at times


def ended(process, how, wait):
    """(exit code, what it said) of a process that is sent ``how`` after ``wait()``; None leaves it alone."""
    with tempfile.TemporaryFile("w+") as said:
        reader = threading.Thread(target=shutil.copyfileobj, args=(process.stdout, said), daemon=True)
        try:
            with killed_at_last(process):
                reader.start()  # a full pipe would stop it
                if how is not None:
                    wait()
                    process.send_signal(how)
                try:
                    code = process.wait(PATIENCE)
                except subprocess.TimeoutExpired:
                    code = None
        finally:
            reader.join(10.0)  # it writes to the file as long as the process speaks
        said.seek(0)
        return code, said.read()


def wait_for(process, seconds):
    """Return when the process has ended, or after so long."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)


def differences(whole, other):
    """Lines: what two finished run directories do not share, but for times and memory."""
    lost = []
    rows, others = (
        [{k: v for k, v in row.items() if k != "collection_wait_s"} for row in read_metrics(d)] for d in (whole, other)
    )
    if rows != others:
        lost.append(f"metrics.jsonl: {len(rows)} and {len(others)} rows, or other numbers in them")
    for folder in sorted(
        {p.parent for p in (whole / "checkpoints").rglob("_CHECKPOINT_METADATA") if p.parent.name.isdigit()}
    ):
        stage = folder.parent.relative_to(whole)
        with Checkpoints(whole / stage) as a, Checkpoints(other / stage) as b:
            if a.latest() != b.latest():
                lost.append(f"{stage}: step {a.latest()} and {b.latest()}")
                continue
            ours, theirs = a.read()[0], b.read()[0]
        different = [n for n in ours if n not in theirs or not np.array_equal(ours[n], theirs[n], equal_nan=False)]
        if different or ours.keys() != theirs.keys():
            lost.append(f"{stage}: {len(different)} arrays differ, {different[:1]}")
    for path in sorted((whole / "actions").glob("*.npy")):
        if path.read_bytes() != (other / "actions" / path.name).read_bytes():
            lost.append(f"actions/{path.name} differs")
    if (whole / "evaluation.json").exists():
        ours, theirs = (_figures(json.loads((d / "evaluation.json").read_text())["arms"]) for d in (whole, other))
        different = sorted(k for k in ours.keys() | theirs.keys() if ours.get(k) != theirs.get(k))
        if different:
            lost.append(f"evaluation.json: {len(different)} figures of the arms differ, {'/'.join(different[0])}")
    return lost


def _figures(tree):
    """(names) -> figure of a nested dict, but for how long anything took; one that is no number equals itself."""
    flat = traverse_util.flatten_dict(tree, keep_empty_nodes=True)
    return {names: repr(value) for names, value in flat.items() if "seconds" not in names}
