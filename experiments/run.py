"""A run directory: its configuration, its finished stages, its files.

    config.json  metrics.jsonl  stages.json  data/  checkpoints/  evaluation.json  report/
"""

import functools
import json
import os
import pathlib
import time

from experiments import processes
from experiments.command_line import UsageError
from experiments.logging import MetricsLog
from experiments.memory import MemoryWatch


class Run:
    """One run in ``workdir``; opening it writes the configuration or checks it against the one there.

    Of several processes the first one writes. The mesh may differ from the one before: a run goes on
    with other devices than it began with.

    Raises:
      UsageError: the directory belongs to a run of another configuration.
    """

    def __init__(self, workdir, config):
        self.workdir = pathlib.Path(workdir)
        self.config = config
        as_json = json.loads(config.to_json())
        path = self.workdir / "config.json"
        if not processes.is_main():
            processes.meet("config")
        if path.exists():
            _refuse_other(path, json.loads(path.read_text()), as_json)
        else:
            self.workdir.mkdir(parents=True, exist_ok=True)
            write_json(path, as_json)
        if processes.is_main():
            processes.meet("config")
        self.log = MetricsLog(self.workdir, writes=processes.is_main())
        peak_memory_gb()  # starts the watch

    def data(self, name):
        """Where the clip store of a task is, or another file made of the demonstrations."""
        return self.workdir / "data" / name

    def checkpoints(self, stage):
        """Where ``stage`` keeps its checkpoints."""
        return self.workdir / "checkpoints" / stage

    def stages(self):
        """Finished stages: name -> what was noted at their end, ``seconds`` among it."""
        path = self.workdir / "stages.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def run_stage(self, name, function):
        """Do ``function(self) -> dict of figures`` unless it was done before; returns the figures."""
        processes.meet(name)  # what process 0 wrote before is there
        done = self.stages()
        if name in done:
            print(f"{name}: done before ({done[name]['seconds']:.0f} s)", flush=True)
            return done[name]
        start = time.monotonic()
        # A stage that was interrupted has noted how long it had run; its minutes count too.
        spent_path = self.workdir / f".spent_{name.replace('/', '_')}"
        spent = float(spent_path.read_text()) if spent_path.exists() else 0.0
        try:
            figures = function(self) or {}
        except BaseException:
            if processes.is_main():
                spent_path.write_text(str(spent + time.monotonic() - start))
            raise
        if not processes.is_main():
            return figures
        figures = {
            **figures,
            "seconds": round(spent + time.monotonic() - start, 2),
            "peak_memory_gb": round(peak_memory_gb(), 3),
        }
        write_json(self.workdir / "stages.json", {**self.stages(), name: figures})
        spent_path.unlink(missing_ok=True)
        shown = "  ".join(f"{k} {v:.4g}" for k, v in figures.items() if isinstance(v, int | float))
        print(f"{name}: {shown}", flush=True)
        return figures


def write_json(path, value):
    """Write all of it or nothing."""
    temporary = path.with_name(path.name + ".partial")
    temporary.write_text(json.dumps(value, indent=1) + "\n")
    os.replace(temporary, path)


@functools.cache
def _memory_watch():
    return MemoryWatch()


def peak_memory_gb():
    """Peak resident memory of this process and all its descendants since the first ``Run``, in GB.

    An upper bound, see ``MemoryWatch``.
    """
    return _memory_watch().peak_gb()


def _refuse_other(path, there, asked):
    def flat(tree, prefix=""):
        for key, value in tree.items():
            if isinstance(value, dict):
                yield from flat(value, f"{prefix}{key}.")
            else:
                yield f"{prefix}{key}", value

    there, asked = dict(flat(there)), dict(flat(asked))
    other = sorted(k for k in there.keys() | asked.keys() if there.get(k) != asked.get(k) and not k.startswith("mesh."))
    if other:
        key = other[0]
        more = f" (and {len(other) - 1} more keys)" if len(other) > 1 else ""
        raise UsageError(
            f"{path.parent} holds a run with {key}={there.get(key)}, asked was {asked.get(key)}{more}; "
            "choose another --workdir"
        )
