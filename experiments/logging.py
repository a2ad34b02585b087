"""What a run says while it runs: figures to ``metrics.jsonl``, one line of progress to the terminal."""

import json
import math
import os
import pathlib
import shutil
import sys
import time

FILE = "metrics.jsonl"


class MetricsLog:
    """Appends figures to ``workdir/metrics.jsonl``, one JSON object a line.

    A row is ``{"stage": str, "arm": str or None, "step": int, name: float or None, ...}``; None
    stands for a figure that was not finite, so that a divergence can be seen in the file.
    """

    def __init__(self, workdir, writes=True):
        self._writes = writes
        if not writes:  # of several processes one does
            return
        self._path = pathlib.Path(workdir) / FILE
        self._path.parent.mkdir(parents=True, exist_ok=True)
        _drop_torn_line(self._path)

    def write(self, *, stage, step, arm=None, **figures):
        """Append one row and flush it. ``figures`` are numbers, or arrays of one number."""
        if not self._writes:
            return
        row = {"stage": stage, "arm": arm, "step": int(step)}
        for name, value in figures.items():
            value = float(value)
            row[name] = value if math.isfinite(value) else None
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")

    def truncate(self, *, stage, step, arm=None):
        """Drop this stage's and arm's rows after ``step``, as a resumed stage writes them again.

        The file is replaced as a whole: an interrupt leaves the old or the new one.
        """
        if not self._writes:
            return
        rows = read_metrics(self._path.parent)
        kept = [r for r in rows if (r["stage"], r.get("arm")) != (stage, arm) or r["step"] <= step]
        if len(kept) == len(rows):
            return
        temporary = self._path.with_suffix(".tmp")
        with temporary.open("w") as file:
            file.writelines(json.dumps(row) + "\n" for row in kept)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self._path)


def read_metrics(workdir):
    """The rows of ``workdir/metrics.jsonl``, in order; none where there is no file.

    A last line that an interrupt cut off is left out. ValueError names any other line that is
    not JSON.
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
    return rows


def _drop_torn_line(path):
    """Cut off a last line without its newline, or the next row would be glued to it."""
    if path.exists():
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            with path.open("r+b") as file:
                file.truncate(whole)


class Progress:
    """One line of progress: ``name  123/1500  loss 0.123  psnr 25.1  12.3 it/s  1:23 left``.

    A terminal sees the line rewritten in place; a pipe or a file gets a fresh line about every
    ten seconds and a last one. Lines are under 80 columns, or the terminal's width: figures that
    find no room are left out, the last ones first. Use it as a context manager; it ends its line
    also when the work is interrupted.

    The rate and the time left count from the first ``update``, so a resumed stage shows its own.
    """

    COLUMNS = 79
    TERMINAL_SECONDS = 0.1
    muted = False  # of several processes one shows its progress
    PIPE_SECONDS = 10.0

    def __init__(self, name, total, out=None, clock=time.monotonic):
        """Args: name, shown first; total, the last step; out, a text file (default stderr)."""
        self._name, self._total, self._clock = name, total, clock
        self._out = sys.stderr if out is None else out
        self._terminal = bool(getattr(self._out, "isatty", lambda: False)())
        # One column stays free, or some terminals go to a new line.
        self._columns = (
            min(self.COLUMNS, shutil.get_terminal_size().columns - 1) if self._terminal else self.COLUMNS
        )
        self._began = clock()
        self._first = None  # (step, time) of the first update
        self._shown_at = None
        self._line = ""
        self._unshown = False

    def __enter__(self):
        self._began = self._clock()
        return self

    def update(self, step, **figures):
        """Say that ``step`` of ``total`` is done; ``figures`` are numbers, shown in their order."""
        now = self._clock()
        if self._first is None:
            self._first = (step, now)
        self._line = self._compose(step, figures, now)
        self._unshown = True
        wait = self.TERMINAL_SECONDS if self._terminal else self.PIPE_SECONDS
        if self._shown_at is None or now - self._shown_at >= wait:
            self._show(now)

    def __exit__(self, kind, value, trace):
        if self._unshown:
            self._show(self._clock())
        if self._terminal and self._line:
            self._write("\n")
        return False

    def _compose(self, step, figures, now):
        first_step, first_time = self._first
        done, seconds = step - first_step, now - first_time
        head = f"{self._name}  {step}/{self._total}"
        tail = ""
        if step >= self._total:
            tail = f"  took {_clock_face(now - self._began)}"
        elif done > 0 and seconds > 0:
            rate = done / seconds
            pace = f"{rate:.1f} it/s" if rate >= 1 else f"{1 / rate:.1f} s/it"
            tail = f"  {pace}  {_clock_face((self._total - step) / rate)} left"
        middle = ""
        for name, value in figures.items():
            part = f"  {name} {_figure(value)}"
            if len(head) + len(middle) + len(part) + len(tail) > self._columns:
                break
            middle += part
        return (head + middle + tail)[: self._columns]

    def _show(self, now):
        # On a terminal, spaces wipe what a longer line before it left.
        self._write(f"\r{self._line:<{self._columns}}" if self._terminal else self._line + "\n")
        self._shown_at, self._unshown = now, False

    def _write(self, text):
        if self.muted:
            return
        try:
            self._out.write(text)
            self._out.flush()
        except (OSError, ValueError):
            pass  # a reader that went away must not end the training


def _figure(value):
    """A number in about four digits: 0.1234, 25.12, 1234, 1.2e-05."""
    value = float(value)
    if not math.isfinite(value):
        return str(value)
    size = abs(value)
    if size >= 1e5 or 0 < size < 1e-3:
        return f"{value:.1e}"
    return f"{value:.{4 if size < 1 else 3 if size < 10 else 2 if size < 100 else 0}f}"


def _clock_face(seconds):
    """Seconds as ``m:ss`` or ``h:mm:ss``."""
    minutes, seconds = divmod(round(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
