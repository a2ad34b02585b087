"""Checkpoints: one Orbax manager a stage, one atomic composite a step.

A composite is a pytree of arrays (``state``) and a small JSON object (``meta``). It appears
under its final name only when all of it is written.
"""

import pathlib

import jax
import numpy as np
import orbax.checkpoint as ocp


class Checkpoints:
    """Saves and restores one stage's state; use as a context manager.

    Args:
      directory: made if it is not there.
      keep: how many of the latest steps to keep.
      alone: of several processes this one reads by itself. Otherwise all of them do everything
        together, each with its part of the arrays, in a directory that all of them see.
    """

    def __init__(self, directory, keep=2, alone=False):
        self._directory = pathlib.Path(directory).absolute()
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True)
        if alone and jax.process_count() > 1:
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

    def __exit__(self, *exception):
        self.close()

    def latest(self):
        """The latest complete step, or None."""
        return self._manager.latest_step()

    def save(self, step, state, meta=None):
        """Start saving; returns once the arrays are copied. A step that is there is a mistake.

        Raises:
          ValueError: ``step`` was saved before (Orbax itself would return False silently).
        """
        arrays = _arrays(state)
        arguments = ocp.args.Composite(
            state=ocp.args.StandardSave(arrays),
            meta=ocp.args.JsonSave({"tree": _describe(arrays), "meta": meta or {}}),
        )
        if step in self._manager.all_steps() or not self._manager.save(step, args=arguments):
            raise ValueError(f"{self._directory} holds step {step} already")

    def restore(self, example, step=None):
        """The state saved at ``step`` (the latest by default) and its meta.

        Args:
          example: a tree of arrays or ShapeDtypeStructs like the saved one; placement is its own.

        Raises:
          FileNotFoundError: nothing is saved here.
          ValueError: what is saved has other names, shapes or types than ``example``.
        """
        step = self.latest() if step is None else step
        if step is None:
            raise FileNotFoundError(f"no checkpoint under {self._directory}")
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, _arrays(example))
        meta = self._manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))["meta"]
        self._check(meta["tree"], _describe(abstract))
        arguments = ocp.args.Composite(state=ocp.args.StandardRestore(abstract))
        leaves = jax.tree.leaves(self._manager.restore(step, args=arguments)["state"])
        return jax.tree.unflatten(jax.tree.structure(example), leaves), meta["meta"]

    def close(self):
        """Wait until all is written."""
        self._manager.wait_until_finished()
        self._manager.close()

    def _check(self, saved, wanted):
        """Orbax casts silently: compare the tree that was saved with the one that is wanted first."""
        for name in sorted(saved.keys() | wanted.keys()):
            if name not in saved or name not in wanted:
                where = "the checkpoint" if name in saved else "the model"
                raise ValueError(f"{self._directory}: {name} is only in {where}")
            if saved[name] != wanted[name]:
                raise ValueError(
                    f"{self._directory}: {name} is {saved[name]} in the checkpoint and {wanted[name]} in the model"
                )


def _describe(arrays):
    return {name: f"{np.dtype(leaf.dtype)}{list(leaf.shape)}" for name, leaf in arrays.items()}


def _arrays(tree):
    """``tree`` as a flat dict from path to leaf, so that any pytree can be saved."""
    paths, _ = jax.tree_util.tree_flatten_with_path(tree)
    # Dict keys come back sorted: number them, so that leaves keep their order.
    return {f"{i:05d}{jax.tree_util.keystr(path)}": leaf for i, (path, leaf) in enumerate(paths)}

