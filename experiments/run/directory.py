"""A run directory: its configuration, its finished stages, its files.

    config.json  provenance.json  metrics.jsonl  stages.json  data/  checkpoints/  evaluation.json  report/  .lock
"""

import contextlib
import dataclasses
import json
import pathlib
import threading
import time

from experiments.run import figure_writers, lock, processes, provenance
from experiments.run.command_line import UsageError
from experiments.run.config_file import SHOWN
from experiments.run.files import write_json, write_text
from experiments.run.memory import peak_memory_gb
from experiments.run.metrics_log import MetricsLog
from experiments.run.places import folder_to_write, read_json, read_stages
from prowl_jax import spans
from prowl_jax.settings import FILE_NAME, NATURAL, setting
from prowl_jax.train.compilation_cache import forget_programs


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """Which run this is."""

    name: str = setting("run", "of the run's folder in runs/, unless --workdir says otherwise", FILE_NAME)
    seed: int = setting(0, "of all chance", NATURAL)
    quiet: bool = setting(False, "no lines of progress; results, warnings and errors stay")
    dry_run: bool = setting(
        False, "compile every step for a mesh of pretended devices and say what it needs", source="docs/wan.md"
    )


class Run:
    """One run in ``workdir``; opening it writes the configuration or checks it against the one there.

    Of several processes the first one writes. A run that is not ``owned`` is only read, while another process
    may be at work in it. The mesh may differ from the one before: a run goes on with other devices than it
    began with; and so may what is done when something breaks, and where figures are shown.

    ``anew`` names finished stages that are to be done again, of ``ANEW``: nothing is trained on what they make. Keys
    that are read by them alone may then differ from the ones before.

    Raises:
      UsageError: the directory belongs to a run of another configuration, another process is at work in it, it cannot
      be written, or what it holds was not written by a run.
    """

    NOTE_SECONDS = 2.0
    """How much of a stage's time a kill may lose."""

    def __init__(self, workdir, config, owned=True, anew=()):
        self.workdir = pathlib.Path(workdir)
        self.config = config
        self.owned = owned
        as_json = json.loads(config.to_json())
        path = self.workdir / "config.json"
        if not processes.is_main():
            processes.wait_for_all("config")
        elif owned:
            folder_to_write(self.workdir, "--workdir")
            self._lock = lock.take(self.workdir)
        if path.exists():
            there = read_json(path)
            _refuse_other(path, there, as_json, bool(anew))
            if anew and owned and processes.is_main():
                self._forget(anew, as_json)
        elif owned:
            write_json(path, as_json)
        self.stages()  # damaged, it is to be told now
        if processes.is_main():
            processes.wait_for_all("config")
        others = figure_writers.writers(config, self.workdir)
        self.log = MetricsLog(self.workdir, owned and processes.is_main(), others)
        peak_memory_gb()  # starts the watch

    def _forget(self, anew, as_json):
        """Stages are to be done again; the configuration goes first, so that a kill in between leaves a way on."""
        done = self.stages()
        if missing := [name for name in anew if name not in done]:
            raise UsageError(
                f"{self.workdir} has not finished {missing[0]} yet; the same command without --stages goes on"
            )
        write_json(self.workdir / "config.json", as_json)
        write_json(self.workdir / "stages.json", {k: v for k, v in done.items() if k not in anew})

    def data(self, name):
        """Where the clip store of a task is, or another file made of the demonstrations."""
        return self.workdir / "data" / name

    def checkpoints(self, stage):
        """Where ``stage`` keeps its checkpoints."""
        return self.workdir / "checkpoints" / stage

    def stages(self):
        """Finished stages: name -> what was noted at their end, ``seconds`` among it."""
        return read_stages(self.workdir)

    def run_stage(self, name, function):
        """Do ``function(self) -> dict of figures`` unless it was done before; returns the figures."""
        processes.wait_for_all(name)  # what process 0 wrote before is there
        done = self.stages()
        if name in done:
            print(f"{name}: done before ({done[name]['seconds']:.0f} s)", flush=True)
            return done[name]
        if processes.is_main():
            provenance.note_stage(self.workdir, name)
        spent_path = self.workdir / f".spent_{name.replace('/', '_')}"
        with (
            spans.span(spans.STAGE, name),
            _Stopwatch(spent_path, self.NOTE_SECONDS, writes=processes.is_main()) as stopwatch,
        ):
            figures = function(self) or {}
        forget_programs()
        if not processes.is_main():
            return figures
        figures = {
            **figures,
            "seconds": round(stopwatch.seconds(), 2),
            "peak_memory_gb": round(peak_memory_gb(), 3),
        }
        write_json(self.workdir / "stages.json", {**self.stages(), name: figures})
        spent_path.unlink(missing_ok=True)
        shown = "  ".join(f"{k} {v:.4g}" for k, v in figures.items() if isinstance(v, int | float))
        print(f"{name}: {shown}", flush=True)
        return figures


class _Stopwatch:
    """Seconds of a stage, those before an interruption included.

    They are noted in ``path`` every ``interval`` seconds and where the ``with`` block is left by an
    exception, so that a kill loses no more than that of them.
    """

    def __init__(self, path, interval, writes=True):
        self._path, self._interval, self._writes = path, interval, writes
        self._before, self._start = _number_in(path), time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stage-seconds", daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, kind, *_):
        self._ended.set()
        self._thread.join()
        if kind is not None:
            self._note()

    def seconds(self):
        """So far, in this call and the ones before."""
        return self._before + time.monotonic() - self._start

    def _run(self):
        while not self._ended.wait(self._interval):
            self._note()

    def _note(self):
        if self._writes:
            with contextlib.suppress(OSError):  # a full disk is told by who has more to lose
                write_text(self._path, str(self.seconds()))


def _number_in(path):
    """The number that a file holds; 0 where there is none."""
    try:
        return float(path.read_text())
    except (OSError, ValueError):
        return 0.0


ANEW = {"dream_quality": ("report",), "evaluation": ("report",), "report": ()}
"""Stages on which no training stands, and those that show what they made."""
_MEASURED = ("evaluation.", "metrics.lpips_weights", "metrics.frechet")
"""Keys that these stages alone read."""
_FREE = ("on_nan", "rewinds", "checkpoint_keep", "checkpoint_best", "env.restarts", "demonstrations.verify")
_FREE_GROUPS = ("mesh.", *SHOWN)
"""What may change from one call to the next: it changes no number of an undisturbed run."""


def with_shown(stages):
    """``stages`` of ``ANEW``, and those that show what they made, each once."""
    return tuple(dict.fromkeys(name for stage in stages for name in (stage, *ANEW[stage])))


def _refuse_other(path, there, asked, measured_anew):
    def flat(tree, prefix=""):
        for key, value in tree.items():
            if isinstance(value, dict):
                yield from flat(value, f"{prefix}{key}.")
            else:
                yield f"{prefix}{key}", value

    there, asked = dict(flat(there)), dict(flat(asked))
    differ = (k for k in there.keys() | asked.keys() if there.get(k) != asked.get(k))
    other = sorted(k for k in differ if not k.startswith(_FREE_GROUPS) and k not in _FREE)
    trained = [k for k in other if not k.startswith(_MEASURED)]
    cure = "choose another --workdir"
    if trained:
        other = trained
    else:
        cure = f"--stages=evaluation,report makes these anew, or {cure}"
    if other and (trained or not measured_anew):
        key = other[0]
        more = f" (and {len(other) - 1} more keys)" if len(other) > 1 else ""
        raise UsageError(
            f"{path.parent} holds a run with {key}={there.get(key)}, asked was {asked.get(key)}{more}; {cure}"
        )
