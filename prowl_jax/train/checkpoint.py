"""Checkpoints: one Orbax manager a stage, one atomic composite a step.

A composite is a pytree of arrays (``state``) and a small JSON object (``meta``). It appears
under its final name only when all of it is written, and an older one goes only after it has been
read back and its checksums agree.
"""

import contextlib
import math
import pathlib
import sys
import zlib

import jax
import numpy as np
import orbax.checkpoint as ocp

from prowl_jax.spans import span

VERSION = 1


class CheckpointError(ValueError):
    """What is saved cannot be used, or something cannot be saved; one line that says what and where."""


class Checkpoints:
    """Saves and restores one stage's state; use as a context manager.

    Args:
      directory: made if it is not there.
      keep: how many of the latest steps to keep. While a new one is not proven there is one more.
      best: whether the step that was saved with the lowest loss is kept as well.
      alone: of several processes this one reads by itself. Otherwise all of them do everything
        together, each with its part of the arrays, in a directory that all of them see.
    """

    @span("checkpoints")
    def __init__(self, directory, keep=2, best=False, alone=False):
        self._directory = pathlib.Path(directory).absolute()
        self._keep, self._best = keep, best
        self._losses = {}  # step -> loss, where known
        self._unproven = None  # the step that was saved last, not read back yet
        self._several = jax.process_count() > 1
        options = ocp.CheckpointManagerOptions(create=True)  # which deletes nothing by itself
        if alone and self._several:
            me = jax.process_index()
            options = ocp.CheckpointManagerOptions(
                read_only=True,
                multiprocessing_options=ocp.options.MultiprocessingOptions(
                    primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"process_{me}"
                ),
            )
        self._manager = ocp.CheckpointManager(self._directory, options=options, item_names=("state", "meta"))

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        with contextlib.suppress(CheckpointError) if kind is not None else contextlib.nullcontext():
            self.close()

    def steps(self):
        """The complete steps, in order."""
        return sorted(self._manager.all_steps())

    def latest(self):
        """The latest complete step, or None."""
        return self._manager.latest_step()

    @span("checkpoints")
    def save(self, step, state, meta=None, loss=None):
        """Start saving; returns once the arrays are copied. A step that is there is a mistake.

        Before it begins, what was saved last is waited for and proven (``prove``).

        Args:
          meta: a small JSON object. loss: a number, for ``best``.

        Raises:
          ValueError: ``step`` was saved before (Orbax itself would return False silently).
          CheckpointError: this or the last one could not be written; the ones before are kept.
        """
        self.prove()
        arrays = _arrays(state)
        loss = float(loss) if loss is not None and math.isfinite(loss) else None
        tree = {"version": VERSION, "tree": _describe(arrays), "sums": _checksums(arrays), "loss": loss}
        arguments = ocp.args.Composite(
            state=ocp.args.StandardSave(arrays), meta=ocp.args.JsonSave({**tree, "meta": meta or {}})
        )
        if step in self._manager.all_steps():
            raise ValueError(f"{self._directory} holds step {step} already")
        with self._written(step):
            begun = self._manager.save(step, args=arguments)
        if not begun:
            raise ValueError(f"{self._directory} holds step {step} already")
        self._unproven = step
        self._losses[step] = loss

    @span("checkpoints")
    def prove(self):
        """Wait for the last save, read it back, and only then let older steps go.

        Of several processes none can read all arrays: there it counts as proven once it is written.

        Raises:
          CheckpointError: it could not be written, or reads otherwise; the ones before are kept.
        """
        step, self._unproven = self._unproven, None
        if step is None:
            return
        with self._written(step):
            self._manager.wait_until_finished()
        if not self._several:
            self._read(step, None)
        for old in self._superseded():
            self._manager.delete(old)

    def resume(self, example):
        """Where to go on from: (step, state, meta) of the latest step that is whole, or (0, None, {}).

        A step that does not read as it was saved is told on stderr and deleted, and the one before is
        taken: what follows it is computed again.

        Raises:
          CheckpointError: no step is whole, or what is saved has another version, other names, shapes
            or types than ``example``.
        """
        steps, damage = self.steps(), None
        for step in reversed(steps):
            try:
                return step, *self.restore(example, step)
            except _Damaged as error:
                damage = error
                if step != steps[0]:
                    print(f"{error}; going on from the one before", file=sys.stderr, flush=True)
                    self._manager.delete(step)
        if damage is not None:
            raise CheckpointError(f"{damage}; no older one is there: delete {self._directory} to begin this stage anew")
        return 0, None, {}

    def restore(self, example, step=None):
        """The state saved at ``step`` (the latest by default) and its meta.

        Args:
          example: a tree of arrays or ShapeDtypeStructs like the saved one; placement is its own.

        Raises:
          FileNotFoundError: nothing is saved here.
          CheckpointError: what is saved has another version, other names, shapes or types than
            ``example``, or does not read as it was saved.
        """
        step = self.latest() if step is None else step
        if step is None:
            raise FileNotFoundError(f"no checkpoint under {self._directory}")
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, _arrays(example))
        arrays, meta = self._read(step, abstract)
        return jax.tree.unflatten(jax.tree.structure(example), jax.tree.leaves(arrays)), meta

    def read(self, step=None):
        """({name: numpy array}, meta) of a step (the latest by default), whatever was saved there.

        Raises:
          FileNotFoundError: nothing is saved here. CheckpointError: it is of another version, or does not
            read as it was saved.
        """
        step = self.latest() if step is None else step
        if step is None:
            raise FileNotFoundError(f"no checkpoint under {self._directory}")
        return self._read(step, None)

    @span("checkpoints")
    def close(self):
        """Wait until all is written and proven."""
        try:
            self.prove()
        finally:
            with contextlib.suppress(Exception):  # what went wrong has been told
                self._manager.close()

    @contextlib.contextmanager
    def _written(self, step):
        """What goes wrong in writing ``step``, as one line."""
        try:
            yield
        except Exception as error:
            kept = [s for s in self.steps() if s != step]
            left = f"the checkpoint of step {kept[-1]} is kept" if kept else "there is none before it"
            raise CheckpointError(
                f"{self._directory}: the checkpoint of step {step} cannot be written ({_reason(error)}); {left}"
            ) from error

    @span("checkpoints")
    def _read(self, step, abstract):
        """({name: array}, meta) of ``step``; without ``abstract`` as numpy arrays."""
        try:
            stored = self._manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))["meta"]
            tree, meta = stored["tree"], stored["meta"]
        except Exception as error:
            raise self._damaged(step, _reason(error)) from error
        if stored.get("version") != VERSION:
            raise CheckpointError(
                f"{self._directory}: step {step} is of version {stored.get('version')}, this is version {VERSION}"
            )
        if abstract is None:
            abstract = {name: _empty(described) for name, described in tree.items()}
        else:
            self._check(tree, _describe(abstract))
        try:
            arguments = ocp.args.Composite(state=ocp.args.StandardRestore(abstract))
            arrays = self._manager.restore(step, args=arguments)["state"]
        except Exception as error:
            raise self._damaged(step, _reason(error)) from error
        sums = _checksums(arrays)
        for name, expected in stored.get("sums", {}).items():
            if None not in (expected, sums[name]) and sums[name] != expected:
                raise self._damaged(step, f"the checksum of {name} is {sums[name]}, {expected} was saved")
        return arrays, meta

    def _damaged(self, step, why):
        return _Damaged(f"{self._directory}: the checkpoint of step {step} is damaged ({why})")

    def _superseded(self):
        """The steps that are neither among the last ``keep`` nor the best."""
        steps = self.steps()
        kept = set(steps[-self._keep :])
        if self._best:
            losses = {step: self._loss(step) for step in steps}
            known = [step for step, loss in losses.items() if loss is not None]
            kept |= {min(known, key=losses.get)} if known else set()
        return [step for step in steps if step not in kept]

    def _loss(self, step):
        if step not in self._losses:
            stored = self._manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))["meta"]
            self._losses[step] = stored.get("loss")
        return self._losses[step]

    def _check(self, saved, wanted):
        """Orbax casts silently: compare the tree that was saved with the one that is wanted first."""
        for name in sorted(saved.keys() | wanted.keys()):
            if name not in saved or name not in wanted:
                where = "the checkpoint" if name in saved else "the model"
                raise CheckpointError(f"{self._directory}: {name} is only in {where}")
            if saved[name] != wanted[name]:
                raise CheckpointError(
                    f"{self._directory}: {name} is {saved[name]} in the checkpoint and {wanted[name]} in the model"
                )


class _Damaged(CheckpointError):
    """Another step may be whole."""


def _reason(error):
    """The first line of an error, and of an OSError only what the system says."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def _describe(arrays):
    return {name: f"{np.dtype(leaf.dtype)}{list(leaf.shape)}" for name, leaf in arrays.items()}


def _empty(described):
    """An array that ``_describe`` describes so: ``"float32[2, 3]"``."""
    dtype, _, shape = described.partition("[")
    sizes = [int(n) for n in shape.rstrip("]").split(",") if n.strip()]
    return np.empty(sizes, jax.numpy.dtype(dtype))


@span("checksums")
def _checksums(arrays):
    """{name: CRC-32 of the bytes}; None for an array of which this process holds a part only."""
    return {name: _crc(leaf) if getattr(leaf, "is_fully_addressable", True) else None for name, leaf in arrays.items()}


def _crc(leaf):
    return zlib.crc32(np.ascontiguousarray(leaf).reshape(-1).view(np.uint8))


def _arrays(tree):
    """``tree`` as a flat dict from path to leaf, so that any pytree can be saved."""
    paths, _ = jax.tree_util.tree_flatten_with_path(tree)
    # Dict keys come back sorted: number them, so that leaves keep their order.
    return {f"{i:05d}{jax.tree_util.keystr(path)}": leaf for i, (path, leaf) in enumerate(paths)}
