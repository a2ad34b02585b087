"""Where figures go beside ``metrics.jsonl``: TensorBoard and Weights & Biases, each only where it is asked for.

The configuration's ``log`` says it: ``--config.log.tensorboard=True``, ``--config.log.wandb=PROJECT``. Their packages
are extras of setup.cfg, imported with the first figure. What fails in them ends no run: it is told in one line, and
``metrics.jsonl`` goes on.
"""

import dataclasses
import importlib.util
import math
import pathlib
import sys
import time
import uuid
from typing import Protocol

from prowl_jax.settings import Check, setting

PACKAGES = {"tensorboard": "tensorboardX", "wandb": "wandb"}
"""Key of ``config.log``, which is the name of the extra as well -> the package that it needs."""


class FigureWriter(Protocol):
    """What the rows of ``metrics_log.MetricsLog`` are handed to; a new one is a class and a line in ``writers``."""

    def write(self, row):
        """Take a row: ``stage``, ``arm`` (or None), ``step``, ``wall_time``, and figures, floats or None."""

    def truncate(self, *, stage, arm, step):
        """A stage begins, or goes on, after ``step``: later rows of it that were written will come again."""


def installed(package):
    """Whether a package can be imported; it is not."""
    return package in sys.modules or importlib.util.find_spec(package) is not None


def _installed(key):
    """A ``Check``: what ``log.key`` asks for is there."""
    words = f"needs {PACKAGES[key]}, which is not installed: pip install '.[{key}]'"
    return Check(lambda value: not value or installed(PACKAGES[key]), words)


@dataclasses.dataclass(frozen=True)
class LogSettings:
    """Where figures go beside ``metrics.jsonl``."""

    tensorboard: bool = setting(False, "WORKDIR/tensorboard; needs the extra tensorboard", _installed("tensorboard"))
    wandb: str = setting("", "a project of Weights & Biases; needs the extra wandb", _installed("wandb"))


def writers(config, workdir):
    """The writers that ``config.log`` asks for, of the run in ``workdir``; none has opened anything yet."""
    log, workdir = config.get("log") or {}, pathlib.Path(workdir)
    made = []
    if log.get("tensorboard"):
        made.append(Unfailing("tensorboard", lambda: TensorBoard(workdir / "tensorboard")))
    if log.get("wandb"):
        made.append(Unfailing("wandb", lambda: WeightsAndBiases(log["wandb"], workdir, config)))
    return made


class Unfailing:
    """A writer that fails once at most, with one line on stderr; from then on it does nothing.

    ``make`` is called with the first figure.
    """

    def __init__(self, name, make):
        self._name, self._make, self._writer, self._failed = name, make, None, False

    def write(self, row):
        """See ``FigureWriter``."""
        self._try(lambda writer: writer.write(row))

    def truncate(self, *, stage, arm, step):
        """See ``FigureWriter``."""
        self._try(lambda writer: writer.truncate(stage=stage, arm=arm, step=step))

    def _try(self, do):
        if self._failed:
            return
        try:
            self._writer = self._writer or self._make()
            do(self._writer)
        except Exception as error:  # noqa: BLE001 - a service may fail in any way, and none is worth a run
            self._failed = True
            what = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            print(f"warning: {self._name}: {what}; metrics.jsonl goes on alone", file=sys.stderr, flush=True)


class TensorBoard:
    """Event files under ``folder/STAGE[/ARM]``: arms are TensorBoard's runs, so that its charts lay them over another.

    Rows are on the disk when ``write`` returns. tensorboardX's own ``SummaryWriter`` is not used: it writes from a
    thread, and where that dies of a full disk the program waits for it for ever.
    """

    def __init__(self, folder):
        from tensorboardX import event_file_writer
        from tensorboardX.proto import event_pb2, summary_pb2

        self._folder, self._open = folder, {}
        self._events_writer, self._event, self._summary = event_file_writer.EventsWriter, event_pb2, summary_pb2

    def write(self, row):
        """One event a row; a figure that was not finite is a NaN."""
        value, (stage, arm, step, wall_time, figures) = self._summary.Summary.Value, _parts(row)
        values = [value(tag=name, simple_value=math.nan if x is None else x) for name, x in figures.items()]
        summary = self._summary.Summary(value=values)
        self._put(stage, arm, self._event.Event(wall_time=wall_time, step=step, summary=summary))

    def truncate(self, *, stage, arm, step):
        """TensorBoard hides what it finds of later steps from before a session's start."""
        if step and (self._folder / _path(stage, arm)).exists():
            start = self._event.SessionLog(status=self._event.SessionLog.START)
            self._put(stage, arm, self._event.Event(step=step + 1, session_log=start))

    def _put(self, stage, arm, event):
        folder = self._folder / _path(stage, arm)
        if folder not in self._open:
            folder.mkdir(parents=True, exist_ok=True)
            # Files are named by the second: without more, a second one of it would overwrite the first. They are read
            # in the order of their names.
            self._open[folder] = self._events_writer(str(folder / "events"), f".{time.time_ns()}")
        self._open[folder].write_event(event)
        self._open[folder].flush()


class WeightsAndBiases:
    """A run of the project ``project``, one for each run directory: going on there goes on here.

    Charts are by the step of their own stage and arm. What an interrupted stage does again appears twice: rows cannot
    be taken back. Without a login there is nothing to write to; ``WANDB_MODE=offline`` keeps all in ``workdir/wandb``.
    """

    ID_FILE = ".wandb_run"

    def __init__(self, project, workdir, config):
        import wandb

        from experiments.run.provenance import provenance

        path = workdir / self.ID_FILE
        if not path.exists():
            path.write_text(uuid.uuid4().hex[:12])
        self._run = wandb.init(
            project=project,
            id=path.read_text(),
            resume="allow",
            name=workdir.resolve().name,
            dir=str(workdir),
            config=provenance(config, workdir),
            reinit="create_new",  # the seeds of a study are runs of one process
            settings={"console": "off", "login_timeout": 30},  # nobody may be there to log in
        )
        self._known = set()

    def write(self, row):
        """One row, under ``STAGE/ARM/NAME``."""
        stage, arm, step, _, figures = _parts(row)
        place = _path(stage, arm)
        if place not in self._known:
            self._run.define_metric(f"{place}/*", step_metric=f"{place}/step")
            self._known.add(place)
        shown = {name: math.nan if x is None else x for name, x in figures.items()} | {"step": step}
        self._run.log({f"{place}/{name}": x for name, x in shown.items()})

    def truncate(self, *, stage, arm, step):
        """Nothing can be taken back."""


def _path(stage, arm):
    return f"{stage}/{arm}" if arm else stage


def _parts(row):
    """(stage, arm, step, wall time, figures) of a row."""
    figures = dict(row)
    return *(figures.pop(name) for name in ("stage", "arm", "step", "wall_time")), figures
