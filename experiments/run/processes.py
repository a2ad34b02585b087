"""Several processes, one or more on each host: how they find each other and who does what.

All of them train, each with its own rows. Process 0 alone records demonstrations, writes figures,
encodes, evaluates and reports; what it writes the others read from a directory that all see.
"""

import dataclasses
import itertools
import os
import sys

import jax
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from experiments.run.config_file import UsageError
from experiments.run.progress import Progress
from prowl_jax.data.feeder import process_share
from prowl_jax.settings import setting

PATIENCE = 7 * 24 * 3600
"""Seconds that the others wait for process 0, which may record for days."""

_meetings = itertools.count()


@dataclasses.dataclass(frozen=True)
class ProcessSettings:
    """Whether there are others."""

    distributed: bool = setting(False, "several processes, docs/scaling.md")


def start(config):
    """Join the other processes where ``mesh.distributed`` says so; call before JAX sees a device.

    A cluster that JAX knows (TPU pod, Slurm, Open MPI, Kubernetes) is detected. Elsewhere the
    environment says it: JAX_COORDINATOR_ADDRESS (host:port of process 0), JAX_NUM_PROCESSES and
    JAX_PROCESS_ID.

    Raises:
      UsageError: it is not known who the others are, or they cannot be reached.
    """
    if not config.mesh.distributed:
        return
    try:
        jax.distributed.initialize(
            num_processes=_number("JAX_NUM_PROCESSES"), process_id=_number("JAX_PROCESS_ID")
        )
    except (ValueError, RuntimeError) as error:
        raise UsageError(
            f"mesh.distributed=True, but the processes do not find each other ({str(error).splitlines()[0]}); "
            "set JAX_COORDINATOR_ADDRESS=HOST:PORT, JAX_NUM_PROCESSES and JAX_PROCESS_ID (docs/scaling.md)"
        ) from None
    if not is_main():
        Progress.muted = True
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for as long as the process lives


def _number(name):
    text = os.environ.get(name)
    if text is None:
        return None
    if not text.isdecimal():
        raise UsageError(f"{name}={text} is not a whole number")
    return int(text)


def is_main():
    """Whether this is process 0, or the only one."""
    return jax.process_index() == 0


def main_only(function):
    """``function(run)``, done by process 0; the others return no figures."""
    return lambda run: function(run) if is_main() else {}


def wait_for_all(name):
    """Wait until every process is here."""
    if jax.process_count() > 1:
        everyone = set(range(jax.process_count()))
        ocp.multihost.sync_global_processes(f"{name}/{next(_meetings)}", timeout=PATIENCE, processes=everyone)


def own_rows(rows):
    """The slice of ``rows`` rows that this process feeds."""
    return process_share(rows, jax.process_index(), jax.process_count())


def own_key(key):
    """A key of this process's own; with one process ``key`` itself."""
    return jax.random.fold_in(key, jax.process_index()) if jax.process_count() > 1 else key


def all_rows(tree):
    """Every process's rows together, as numpy arrays, on every process."""
    return multihost_utils.process_allgather(tree, tiled=True) if jax.process_count() > 1 else tree
