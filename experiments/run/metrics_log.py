"""The figures of a run while it runs: ``metrics.jsonl``, a row a line, and what else they are written to."""

import json
import math
import pathlib
import time

from experiments.run.files import write_json_lines

FILE = "metrics.jsonl"


class MetricsLog:
    """Appends figures to ``workdir/metrics.jsonl``, one JSON object a line, and hands them to ``others``.

    A row is ``{"stage": str, "arm": str or None, "step": int, "wall_time": float, name: float or None, ...}``;
    ``wall_time`` is seconds since 1970; None stands for a figure that was not finite, so that a divergence can be
    seen in the file.

    Args:
      workdir: the run directory. writes: False in all but one of several processes, which then do nothing.
      others: ``figure_writers.FigureWriter``s.
    """

    def __init__(self, workdir, writes=True, others=()):
        self._writes, self._others = writes, tuple(others)
        if not writes:
            return
        self._path = pathlib.Path(workdir) / FILE
        self._path.parent.mkdir(parents=True, exist_ok=True)
        _drop_torn_line(self._path)

    def write(self, *, stage, step, arm=None, **figures):
        """Append one row and flush it. ``figures`` are numbers, or arrays of one number."""
        if not self._writes:
            return
        row = {"stage": stage, "arm": arm, "step": int(step), "wall_time": round(time.time(), 3)}
        for name, value in figures.items():
            value = float(value)
            row[name] = value if math.isfinite(value) else None
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        for writer in self._others:
            writer.write(row)

    def truncate(self, *, stage, step, arm=None):
        """Drop this stage's and arm's rows after ``step``, as a resumed stage writes them again.

        The file is replaced as a whole: an interrupt leaves the old or the new one.
        """
        if not self._writes:
            return
        for writer in self._others:
            writer.truncate(stage=stage, arm=arm, step=step)
        rows = read_metrics(self._path.parent, wall_time=True)
        kept = [r for r in rows if (r["stage"], r.get("arm")) != (stage, arm) or r["step"] <= step]
        if len(kept) == len(rows):
            return
        write_json_lines(self._path, kept)


def read_metrics(workdir, wall_time=False):
    """The rows of ``workdir/metrics.jsonl``, in order; none where there is no file.

    A last line that an interrupt cut off is left out. Without their ``wall_time`` the rows of a run are the same
    whenever it ran and however often it was stopped.

    Raises:
      ValueError: names any other line that is not JSON.
    """
    path = pathlib.Path(workdir) / FILE
    if not path.exists():
        return []
    lines = path.read_text().split("\n")
    rows = []
    for number, line in enumerate(lines[:-1], 1):  # what follows the last newline is torn, or empty
        if line.strip():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise ValueError(f"{path}, line {number} is not JSON: {error.msg}") from error
    return rows if wall_time else [{k: v for k, v in row.items() if k != "wall_time"} for row in rows]


def _drop_torn_line(path):
    """Cut off a last line without its newline, or the next row would be glued to it."""
    if path.exists():
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            with path.open("r+b") as file:
                file.truncate(whole)
